//! `nix-store --check-validity`.

use std::process::ExitCode;

use nix_store_core::{Error, Lock, Store};

use crate::cli::context::{Context, Purpose};
use crate::cli::low_args::CheckValidityArgs;
use crate::cli::output::Output;
use crate::cli::path_arg::store_path;

/// Fails at the first path that isn't valid, or prints all that aren't.
pub(crate) fn run(args: &CheckValidityArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let store = context.open_store("--check-validity", Purpose::Read)?;
    // Nix compat: in the order of the arguments.
    let asked = args
        .paths
        .iter()
        .map(|path| store_path(path, store.layout()));
    let asked = asked.collect::<anyhow::Result<Vec<_>>>()?;
    let valid = store.query_valid_paths(&asked.iter().cloned().collect(), Lock::No)?;
    let mut output = Output::of_process()?;
    for path in asked.iter().filter(|path| !valid.contains(path)) {
        if !args.print_invalid {
            return Err(Error::not_valid(store.store_dir(), path).into());
        }
        output.line(&store.store_dir().print(path))?;
    }
    Ok(ExitCode::SUCCESS)
}
