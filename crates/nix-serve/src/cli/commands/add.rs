//! `add`: copies files and directories into the store.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use nix_base::StorePathName;

use crate::cli::context::{Context, Purpose};
use crate::cli::low_args::AddArgs;
use crate::cli::output::Output;
use crate::cli::signals::SignalWatch;

/// Adds each file and prints its store path.
pub(crate) fn run(args: &AddArgs, context: &Context) -> anyhow::Result<ExitCode> {
    if args.name.is_some() && args.files.len() > 1 {
        bail!(
            "option '--name' goes with one file, not with {}",
            args.files.len()
        );
    }
    // All names first: a bad one is no reason to stop half-way.
    let named = args
        .files
        .iter()
        .map(|file| Ok((file, name_of(file, args.name.as_deref())?)))
        .collect::<anyhow::Result<Vec<(&PathBuf, StorePathName)>>>()?;
    let watch = SignalWatch::install(std::sync::Arc::default())?;
    let store = context.open_store("add", Purpose::Write)?;
    let mut output = Output::of_process()?;
    for (file, name) in named {
        watch.check()?;
        let path = store
            .add_source(file, &name)
            .with_context(|| format!("cannot add '{}'", file.display()))?;
        output.line(&store.store_dir().print(&path))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The name of the store path for `file`.
pub(super) fn name_of(file: &Path, given: Option<&str>) -> anyhow::Result<StorePathName> {
    let name = match given {
        Some(name) => name.to_owned(),
        None => {
            let absolute = std::path::absolute(file)
                .with_context(|| format!("cannot add '{}'", file.display()))?;
            let name = absolute.file_name().with_context(|| {
                format!(
                    "'{}' has no name: give one with '--name NAME'",
                    file.display()
                )
            })?;
            name.to_string_lossy().into_owned()
        }
    };
    StorePathName::new(&name).with_context(|| {
        format!(
            "cannot add '{}' as '{name}': give another name with '--name NAME'",
            file.display()
        )
    })
}
