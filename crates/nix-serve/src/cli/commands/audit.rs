//! `audit`: what clients did, or were refused.

use std::process::ExitCode;

use anyhow::Context as _;

use crate::audit_log::{Wanted, directory, read_all};
use crate::cli::context::Context;
use crate::cli::low_args::AuditArgs;
use crate::cli::output::Output;

/// Prints the wanted entries, earliest first.
pub(crate) fn run(args: &AuditArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let dir = directory(&context.layout("audit")?.state);
    let wanted = Wanted {
        key: args.key.clone(),
        refused: args.refused,
        since: args.since,
    };
    let mut output = Output::of_process()?;
    read_all(&dir, &wanted, |line, entry| match args.json {
        true => output.line(line),
        false => output.line(&entry.summary()),
    })
    .with_context(|| format!("cannot read the audit log in '{}'", dir.display()))?;
    Ok(ExitCode::SUCCESS)
}
