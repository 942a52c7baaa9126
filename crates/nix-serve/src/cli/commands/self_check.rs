//! `--self-check`: whether this build of the program finds users and hosts, which static
//! programs may fail at.

use std::net::ToSocketAddrs;
use std::process::ExitCode;

use anyhow::Context as _;
use posix::unistd::User;

use crate::cli::output::Output;

/// Looks up the user of this process and the name `localhost`.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let mut output = Output::of_process()?;
    let uid = rustix::process::getuid().as_raw();
    let user = User::from_uid(uid.into())
        .with_context(|| format!("cannot look up user {uid}"))?
        .with_context(|| format!("user {uid} is not in the user database"))?;
    tracing::info!("user {uid} is '{}'", user.name);
    output.line("user: ok")?;
    let address = ("localhost", 0)
        .to_socket_addrs()
        .context("cannot resolve 'localhost'")?
        .next()
        .context("'localhost' has no address")?;
    tracing::info!("'localhost' is {}", address.ip());
    output.line("dns: ok")?;
    Ok(ExitCode::SUCCESS)
}
