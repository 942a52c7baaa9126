//! `serve`: the serve protocol on stdin and stdout.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use nix_store_core::LocalStore;

use crate::cli::context::{Context, Purpose};
use crate::cli::low_args::Role;
use crate::cli::report::one_line;
use crate::cli::serve_builds::ServeBuilds;
use crate::cli::signals::{Interrupted, SignalWatch};
use crate::server::{ServeError, ServeOptions, serve};

/// Serves one connection.
pub(crate) fn run(role: Role, context: &Context) -> anyhow::Result<ExitCode> {
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    if input.is_terminal() {
        tracing::warn!("the serve protocol is for programs: a client such as ssh starts this");
    }
    let output = protocol_output().context("cannot use stdout")?;
    let options = ServeOptions {
        write: role == Role::Write,
        ..ServeOptions::default()
    };
    // Everything that takes time comes after the greeting.
    let open = || {
        SignalWatch::install(Arc::clone(&options.stop))
            .context("cannot watch for signals")
            .and_then(|_| open_store(role, context))
            .map_err(|error| ServeError::Open(one_line(&error)))
    };
    let builds = ServeBuilds::new(context);
    match serve(&options, open, &builds, input, output) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(ServeError::Interrupted) => Err(Interrupted.into()),
        Err(error) => Err(error.into()),
    }
}

fn open_store(role: Role, context: &Context) -> anyhow::Result<LocalStore> {
    let purpose = match role {
        Role::Read => Purpose::Read,
        Role::Write => Purpose::Write,
    };
    context.open_store("serve", purpose)
}

/// Takes stdout for the protocol alone: whatever else is printed there, by a child or a
/// library, goes to stderr from now on.
fn protocol_output() -> io::Result<File> {
    // The duplicate is closed in children.
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdout(io::stderr().as_fd())?;
    Ok(output.into())
}
