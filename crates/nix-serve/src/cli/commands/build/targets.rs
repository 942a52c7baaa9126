//! What the command line names to be built.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use nix_store_core::StoreLayout;

use crate::cli::path_arg::store_path;
use crate::proto::BuildTarget;

/// The targets that `arguments` mean: store paths or links to them, with outputs behind `^`
/// or `!`.
pub(super) fn parse(
    arguments: &[PathBuf],
    layout: &StoreLayout,
) -> anyhow::Result<Vec<BuildTarget>> {
    arguments
        .iter()
        .map(|argument| parse_one(argument, layout))
        .collect()
}

fn parse_one(argument: &Path, layout: &StoreLayout) -> anyhow::Result<BuildTarget> {
    let text = argument
        .to_str()
        .with_context(|| format!("'{}' is not UTF-8", argument.display()))?;
    let bad = || format!("cannot build '{text}'");
    let (path, outputs) = split(text);
    let path = store_path(Path::new(path), layout).with_context(bad)?;
    match outputs {
        Some(outputs) => {
            ensure!(!outputs.is_empty(), "{}: no output is named", bad());
            BuildTarget::with_outputs(path, outputs, &layout.store_dir).with_context(bad)
        }
        None => Ok(BuildTarget::of_path(path)),
    }
}

/// A separator counts in the last component only: directories may have any name.
fn split(text: &str) -> (&str, Option<&str>) {
    let start = text.rfind('/').map_or(0, |slash| slash + 1);
    match text[start..].find(['!', '^']) {
        Some(at) => (&text[..start + at], Some(&text[start + at + 1..])),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_behind_the_last_component() {
        assert_eq!(split("/a!b/x.drv^out,dev"), ("/a!b/x.drv", Some("out,dev")));
        assert_eq!(split("./result"), ("./result", None));
        assert_eq!(split("x.drv!*"), ("x.drv", Some("*")));
    }
}
