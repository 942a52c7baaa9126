//! `verify`: compares the database with what is on disk.

use std::process::ExitCode;

use nix_store_core::CheckContents;

use crate::cli::context::{Context, Purpose};
use crate::cli::low_args::Contents;
use crate::cli::report::one_line;

/// Says on stderr what is wrong.
pub(crate) fn run(contents: Contents, context: &Context) -> anyhow::Result<ExitCode> {
    let store = context.open_store("verify", Purpose::Read)?;
    let check = match contents {
        Contents::Trust => CheckContents::No,
        Contents::Check => CheckContents::Yes,
    };
    // Nix compat: its words.
    tracing::info!("reading the Nix store...");
    let report = store.verify(check, &mut |path| {
        if contents == Contents::Check {
            tracing::debug!("checking contents of '{}'", store.store_dir().display(path));
        }
    })?;
    let is_clean = report.is_clean();
    for problem in report.problems {
        tracing::error!("{}", one_line(&problem.into()));
    }
    if !is_clean {
        // Nix compat: the verdict that scripts look for.
        anyhow::bail!("not all store errors were fixed");
    }
    tracing::info!("{} paths, nothing is wrong", report.paths);
    Ok(ExitCode::SUCCESS)
}
