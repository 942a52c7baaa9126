//! `drv tree`: the tree of input derivations.

use std::collections::HashSet;
use std::process::ExitCode;

use nix_base::StorePath;
use nix_drv::InputNode;
use nix_store_core::StoreLayout;

use super::files::Files;
use crate::cli::drv_args::TreeArgs;
use crate::cli::output::Output;

/// Prints a line for each derivation; what was shown already isn't taken apart again.
pub(super) fn run(args: &TreeArgs, layout: StoreLayout) -> anyhow::Result<ExitCode> {
    let mut files = Files::new(layout);
    let mut output = Output::of_process()?;
    let mut shown = HashSet::new();
    for file in &args.files {
        let top = files.find(file)?;
        output.line(&files.store_dir().print(&top.path))?;
        let mut levels = vec![inputs(&top.drv.input_drvs)];
        shown.insert(top.path);
        // One list of siblings for each level, so that depth costs no stack.
        while let Some(siblings) = levels.last_mut() {
            let Some((path, wanted)) = siblings.pop() else {
                levels.pop();
                continue;
            };
            let drv = files.derivation(&path)?;
            let is_new = shown.insert(path.clone());
            let has_more = !drv.input_drvs.is_empty();
            let note = if !is_new && has_more { " …" } else { "" };
            output.line(&format!("{}{path} [{wanted}]{note}", branches(&levels)))?;
            if is_new && has_more && args.depth.is_none_or(|depth| levels.len() < depth) {
                levels.push(inputs(&drv.input_drvs));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

type Inputs = Vec<(StorePath, String)>;

/// The inputs with what is wanted of them, the first one last.
fn inputs(drvs: &std::collections::BTreeMap<StorePath, InputNode>) -> Inputs {
    let wanted = |node: &InputNode| {
        let own = node.outputs.iter().map(ToString::to_string);
        let children = node.children.keys().map(|name| format!("{name}!…"));
        own.chain(children).collect::<Vec<_>>().join(", ")
    };
    drvs.iter()
        .rev()
        .map(|(path, node)| (path.clone(), wanted(node)))
        .collect()
}

/// The lines that lead to the item that was just taken from the last level.
fn branches(levels: &[Inputs]) -> String {
    let Some((last, above)) = levels.split_last() else {
        return String::new();
    };
    let mut text: String = above
        .iter()
        .map(|rest| if rest.is_empty() { "    " } else { "│   " })
        .collect();
    text.push_str(if last.is_empty() {
        "└── "
    } else {
        "├── "
    });
    text
}
