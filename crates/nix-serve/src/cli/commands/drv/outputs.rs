//! `drv outputs`: the paths of outputs, as far as they are known.

use std::fmt::Write as _;
use std::process::ExitCode;

use nix_base::{OutputName, StorePath};
use nix_drv::{Derivation, HashMemo, check_derivation};
use nix_store_core::StoreLayout;
use serde_json::{Map, Value};

use super::files::Files;
use crate::cli::drv_args::OutputsArgs;
use crate::cli::output::Output;

mod graph;

/// Prints a line for each output.
pub(super) fn run(args: &OutputsArgs, layout: StoreLayout) -> anyhow::Result<ExitCode> {
    let mut files = Files::new(layout);
    if args.recursive {
        return graph::run(args, files);
    }
    let mut memo = HashMemo::new();
    let mut lines = String::new();
    let mut objects = Map::new();
    for file in &args.files {
        let found = files.find(file)?;
        let dir = files.store_dir();
        if args.check {
            check_derivation(&found.drv, &found.path, dir, &mut memo, |path| {
                files.text(path)
            })?;
        }
        let mut object = Map::new();
        for (name, path) in outputs(&found.drv, &files)? {
            let path = path.map(|path| dir.print(&path));
            let shown = path.as_deref().unwrap_or("not known before it is built");
            match args.files.len() {
                1 => writeln!(lines, "{name} {shown}")?,
                _ => writeln!(lines, "{}!{name} {shown}", dir.display(&found.path))?,
            }
            object.insert(name.to_string(), path.into());
        }
        objects.insert(dir.print(&found.path), object.into());
    }
    if args.json {
        return super::show::print(&Value::Object(objects));
    }
    Output::of_process()?.print(&lines)?;
    Ok(ExitCode::SUCCESS)
}

type Outputs = Vec<(OutputName, Option<StorePath>)>;

fn outputs(drv: &Derivation, files: &Files) -> nix_drv::Result<Outputs> {
    let known = |(name, output): (&OutputName, &nix_drv::DerivationOutput)| {
        Ok((
            name.clone(),
            output.known_path(files.store_dir(), &drv.name, name)?,
        ))
    };
    drv.outputs.iter().map(known).collect()
}
