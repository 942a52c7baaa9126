//! From a command to its exit status.

use std::process::ExitCode;

use super::commands;
use super::context::Context;
use super::low_args::Command;

/// Does what the command line says.
pub(crate) fn run(command: Command, context: &Context) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => commands::serve::run(&args, context),
        Command::Authorize(args) => commands::authorize::run(&args, context),
        Command::Audit(args) => commands::audit::run(&args, context),
        Command::Quota(args) => commands::quota::run(&args, context),
        Command::Build(args) => commands::build::run(&args, context),
        Command::Log(paths) => commands::log::run(&paths, context),
        Command::Doctor { json } => commands::doctor::run(json, context),
        Command::SuperviseBuild(dir) => commands::supervise_build::run(&dir, context),
        Command::Copy(args) => commands::copy::run(&args, context),
        Command::Add(args) => commands::add::run(&args, context),
        Command::Dump(path) => commands::dump::run(&path),
        Command::Restore(path) => commands::restore::run(&path),
        Command::PathInfo(args) => commands::path_info::run(&args, context),
        Command::Init => commands::init::run(context),
        Command::Verify(args) => commands::verify::run(&args, context),
        Command::Optimise(args) => commands::optimise::run(&args, context),
        Command::Key(command) => commands::key::run(&command, context),
        Command::Sign(args) => commands::sign::run(&args, context),
        Command::CheckSigs(args) => commands::check_sigs::run(&args, context),
        Command::WhyDepends(args) => commands::why_depends::run(&args, context),
        Command::Du(args) => commands::du::run(&args, context),
        Command::Gc(args) => commands::gc::run(&args, context),
        Command::LoadDb => commands::load_db::run(context),
        Command::DumpDb(paths) => commands::dump_db::run(&paths, context),
        Command::Query(args) => commands::query::run(&args, context),
        Command::Store(operation) => commands::nix_store::run(&operation, context),
        Command::CollectGarbage(args) => commands::collect_garbage::run(&args, context),
        Command::CheckValidity(args) => commands::check_validity::run(&args, context),
        Command::Export(paths) => commands::export::run(&paths, context),
        Command::Import => commands::import::run(context),
        Command::Drv(command) => commands::drv::run(&command, context),
        Command::Completions(shell) => commands::completions::run(shell),
        Command::Man(dir) => commands::man::run(dir.as_deref()),
        Command::SelfCheck => commands::self_check::run(),
        Command::Print(text) => commands::print::run(&text),
    }
}
