//! `drv`: questions about derivations, answered from their files alone.

use std::process::ExitCode;

use crate::cli::context::Context;
use crate::cli::drv_args::DrvCommand;

mod diff;
mod files;
mod outputs;
mod resolve;
mod show;
mod tree;

/// Answers a question.
pub(crate) fn run(command: &DrvCommand, context: &Context) -> anyhow::Result<ExitCode> {
    let layout = context.layout("drv")?;
    match command {
        DrvCommand::Show(args) => show::run(args, layout),
        DrvCommand::Outputs(args) => outputs::run(args, layout),
        DrvCommand::Resolve(args) => resolve::run(args, layout),
        DrvCommand::Tree(args) => tree::run(args, layout),
        DrvCommand::Diff(args) => diff::run(args, layout),
    }
}
