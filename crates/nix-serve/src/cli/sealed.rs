//! Servers under a policy know nothing of their environment.
//!
//! `sshd` may be set up to accept variables from clients. Rather than to list which of them
//! some library might look at, such a server starts anew without any.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::anyhow;

use super::context::OWN_PROGRAM;
use super::env::Environment;

/// Goes on without environment variables. If there are some, this returns only when the
/// program can't be started anew.
pub(crate) fn drop_environment(argv: &[OsString]) -> anyhow::Result<()> {
    if Environment::variables_of_process().is_empty() {
        return Ok(());
    }
    let (name, arguments) = argv
        .split_first()
        .ok_or_else(|| anyhow!("the program was started without its name"))?;
    let error = Command::new(OWN_PROGRAM)
        .arg0(name)
        .args(arguments)
        .env_clear()
        .exec();
    let error = anyhow::Error::new(error);
    Err(error.context(format!(
        "cannot start '{OWN_PROGRAM}' anew without the client's environment"
    )))
}
