//! What was built: links and lines.

use nix_base::{OutputName, StorePath};
use nix_store_core::LocalStore;
use serde_json::json;

use crate::cli::build_args::{BuildArgs, Links, Print};
use crate::cli::gc_root::add_root;
use crate::cli::output::Output;

/// A target that is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Built {
    /// The derivation, if the target is one.
    pub(super) drv: Option<StorePath>,
    /// The outputs that were asked for, in the order of their names; without a name if the
    /// target is a path.
    pub(super) outputs: Vec<(Option<OutputName>, StorePath)>,
}

/// Makes the links, and prints what is to be printed.
pub(super) fn deliver(args: &BuildArgs, store: &LocalStore, built: &[Built]) -> anyhow::Result<()> {
    if args.warn_of_no_root && args.links == Links::None {
        // Nix compat: its words.
        tracing::warn!(
            "you did not specify '--add-root'; the result might be removed by the garbage collector"
        );
    }
    let dir = store.store_dir();
    let mut lines = Vec::new();
    for (number, target) in built.iter().enumerate() {
        let start = lines.len();
        for (name, path) in &target.outputs {
            let link = match args
                .links
                .name(number, name.as_ref().map(OutputName::as_str))
            {
                Some(link) => Some(add_root(store, &link, path)?),
                None => None,
            };
            let link = link.map(|link| link.display().to_string());
            lines.push((dir.print(path), link));
        }
        if args.print == Print::Links {
            // Nix compat: sorted for each argument by what is printed.
            lines[start..].sort_by(|a, b| printed(a).cmp(printed(b)));
        }
    }
    let mut output = Output::of_process()?;
    match args.print {
        Print::Nothing => Ok(()),
        Print::Paths => lines.iter().try_for_each(|(path, _)| output.line(path)),
        Print::Links => lines.iter().try_for_each(|line| output.line(printed(line))),
        Print::Json => {
            let json: Vec<_> = built.iter().map(|target| as_json(store, target)).collect();
            output.line(&format!("{:#}", serde_json::Value::from(json)))
        }
    }
}

/// The link, or the path if there is none.
fn printed((path, link): &(String, Option<String>)) -> &str {
    link.as_deref().unwrap_or(path)
}

fn as_json(store: &LocalStore, target: &Built) -> serde_json::Value {
    let dir = store.store_dir();
    match &target.drv {
        Some(drv) => {
            let outputs: serde_json::Map<_, _> = target
                .outputs
                .iter()
                .filter_map(|(name, path)| {
                    Some((name.as_ref()?.to_string(), dir.print(path).into()))
                })
                .collect();
            json!({ "drvPath": dir.print(drv), "outputs": outputs })
        }
        None => json!({
            "path": target.outputs.first().map(|(_, path)| dir.print(path)),
        }),
    }
}
