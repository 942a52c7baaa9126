//! `drv show`: derivations as JSON.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use nix_base::StorePath;
use nix_drv::json::{self, JsonForm};
use nix_store_core::StoreLayout;
use serde_json::Value;

use super::files::Files;
use crate::cli::drv_args::{Form, ShowArgs};
use crate::cli::output::Output;

/// Prints one object with all derivations.
pub(super) fn run(args: &ShowArgs, layout: StoreLayout) -> anyhow::Result<ExitCode> {
    let mut files = Files::new(layout);
    let mut shown = BTreeMap::new();
    let mut todo: BTreeSet<StorePath> = BTreeSet::new();
    for file in &args.files {
        let found = files.find(file)?;
        if args.recursive {
            todo.extend(found.drv.input_drvs.keys().cloned());
        }
        shown.insert(found.path, found.drv);
    }
    while let Some(path) = todo.pop_first() {
        if let Entry::Vacant(entry) = shown.entry(path) {
            let drv = files.derivation(entry.key())?;
            todo.extend(drv.input_drvs.keys().cloned());
            entry.insert(drv);
        }
    }
    let drvs = shown.iter().map(|(path, drv)| (path, &**drv));
    let value = json::show(drvs, files.store_dir(), form(args.form))?;
    print(&value)
}

/// Prints JSON for people to read.
pub(super) fn print(value: &Value) -> anyhow::Result<ExitCode> {
    Output::of_process()?.line(&serde_json::to_string_pretty(value)?)?;
    Ok(ExitCode::SUCCESS)
}

fn form(form: Form) -> JsonForm {
    match form {
        Form::Early => JsonForm::Early,
        Form::Unversioned => JsonForm::Unversioned,
        Form::V3 => JsonForm::V3,
        Form::V4 => JsonForm::V4,
    }
}
