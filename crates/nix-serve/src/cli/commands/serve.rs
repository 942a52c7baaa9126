//! `serve`: the serve protocol on stdin and stdout.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use nix_store_core::{LocalStore, StoreLayout};

use crate::audit_log::AuditLog;
use crate::cli::context::{Context, Purpose};
use crate::cli::low_args::ServeArgs;
use crate::cli::path_arg::store_path;
use crate::cli::report::one_line;
use crate::cli::serve_builds::ServeBuilds;
use crate::cli::signals::{Interrupted, SignalWatch};
use crate::policy::{PolicyFile, Role, Surroundings, Wish, settle};
use crate::server::{Audit, NoAudit, ServeError, ServeOptions, serve};

/// Serves one connection.
pub(crate) fn run(args: &ServeArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    if input.is_terminal() {
        tracing::warn!("the serve protocol is for programs: a client such as ssh starts this");
    }
    let output = protocol_output().context("cannot use stdout")?;
    let (role, audit) = in_force(args, context)?;
    let options = ServeOptions {
        role,
        audit,
        ..ServeOptions::default()
    };
    // Everything that takes time comes after the greeting.
    let open = || {
        SignalWatch::install(Arc::clone(&options.stop))
            .context("cannot watch for signals")
            .and_then(|_| open_store(args, context))
            .map_err(|error| ServeError::Open(one_line(&error)))
    };
    let builds = ServeBuilds::new(context);
    match serve(&options, open, &builds, input, output) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(ServeError::Interrupted) => Err(Interrupted.into()),
        Err(error) => Err(error.into()),
    }
}

/// What the client may do, and who is told what it does. With flags of upstream alone,
/// nothing is looked up.
fn in_force(args: &ServeArgs, context: &Context) -> anyhow::Result<(Role, Arc<dyn Audit>)> {
    if args.is_plain() {
        let role = match args.write {
            true => Role::full(),
            false => Role::read_only(),
        };
        return Ok((role, Arc::new(NoAudit)));
    }
    let layout = context.layout("serve")?;
    let role = role(args, context, &layout)?;
    tracing::debug!(?role, "policy");
    let audit = match AuditLog::open(&layout.state, layout.store_dir.clone()) {
        Ok(log) => Arc::new(log) as Arc<dyn Audit>,
        Err(error) if role.writes() => {
            let state = layout.state.display();
            let problem = format!("cannot keep an audit log in '{state}'");
            return Err(anyhow::Error::from(error).context(problem));
        }
        // Stores that can only be read are served as well.
        Err(error) => {
            tracing::warn!("cannot keep an audit log: {error}");
            Arc::new(NoAudit)
        }
    };
    Ok((role, audit))
}

/// The role that flags and the policy file give together.
pub(super) fn role(
    args: &ServeArgs,
    context: &Context,
    layout: &StoreLayout,
) -> anyhow::Result<Role> {
    let roots = args.expose.iter();
    let wish = Wish {
        write: args.write,
        untrusted: args.untrusted,
        allow: args.allow.clone(),
        key: args.key.clone(),
        expose: roots
            .map(|root| store_path(root, layout))
            .collect::<anyhow::Result<_>>()?,
    };
    wish.check()?;
    let location = PolicyFile::location(&layout.state);
    let policy = PolicyFile::read(&location)?;
    let around = Surroundings {
        location: &location,
        policy: policy.as_ref(),
        store_dir: &layout.store_dir,
        trusted_keys: context.trusted_keys()?,
    };
    Ok(settle(&wish, around)?)
}

fn open_store(args: &ServeArgs, context: &Context) -> anyhow::Result<LocalStore> {
    let purpose = match args.write {
        true => Purpose::Write,
        false => Purpose::Read,
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
