//! `drv resolve`: a derivation with its inputs replaced by what they made.

use std::collections::HashMap;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use nix_base::{OutputName, StoreDir, StorePath};
use nix_drv::{Derivation, json};
use nix_store_core::StoreLayout;

use super::files::Files;
use crate::cli::drv_args::ResolveArgs;
use crate::cli::output::Output;

/// Prints the resolved derivation.
pub(super) fn run(args: &ResolveArgs, layout: StoreLayout) -> anyhow::Result<ExitCode> {
    let mut files = Files::new(layout);
    let found = files.find(&args.file)?;
    let dir = files.store_dir().clone();
    let mut realised = HashMap::new();
    for text in &args.realised {
        let (key, path) = parse_realised(text, &dir)
            .with_context(|| format!("'{text}' is not of the form DERIVATION!OUTPUT=PATH"))?;
        realised.insert(key, path);
    }
    let find = |drv: &StorePath, output: &OutputName| -> Result<Option<StorePath>, _> {
        if let Some(path) = realised.get(&(drv.clone(), output.clone())) {
            return Ok(Some(path.clone()));
        }
        let input = files.derivation(drv).map_err(std::io::Error::other)?;
        let known = input.outputs.get(output);
        let path = known.map(|known| known.known_path(&dir, &input.name, output));
        path.transpose()
            .map(Option::flatten)
            .map_err(std::io::Error::other)
    };
    let resolved = found.drv.resolve(&dir, find)?;
    if args.aterm {
        let text = Derivation::from(resolved).to_aterm(&dir)?;
        Output::of_process()?
            .write_all(&text)
            .context("cannot write to stdout")?;
        return Ok(ExitCode::SUCCESS);
    }
    super::show::print(&json::basic_to_json(&resolved, &dir)?)
}

fn parse_realised(
    text: &str,
    dir: &StoreDir,
) -> anyhow::Result<((StorePath, OutputName), StorePath)> {
    let (key, path) = text.rsplit_once('=').context("no '='")?;
    let (drv, output) = key.split_once('!').context("no '!'")?;
    Ok(((dir.parse(drv)?, output.parse()?), dir.parse(path)?))
}
