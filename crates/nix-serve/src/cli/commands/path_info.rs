//! `path-info`: what a store knows of paths.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Arc;

use nix_base::json::path_info::{PathInfoFormat, StoreFacts, path_info_to_json};
use nix_base::{StoreDir, StorePath, StorePathSet, ValidPathInfo};
use nix_store_core::{Error, IncludeOutputs, Store, StoreLayout};
use serde_json::{Map, Value};

use crate::cli::address::Address;
use crate::cli::context::{Context, Purpose};
use crate::cli::low_args::PathInfoArgs;
use crate::cli::output::Output;
use crate::cli::path_arg::store_paths;
use crate::cli::remote::{Compress, connect};
use crate::cli::signals::SignalWatch;
use crate::client::order::references_first;
use crate::client::{ClientError, RemoteStore};
use crate::proto::request::QueryClosure;

type Infos = BTreeMap<StorePath, ValidPathInfo>;

/// Prints a line for each path, or one JSON object.
pub(crate) fn run(args: &PathInfoArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let settings = context.settings()?;
    let (dir, asked, infos) = match context.address(&settings)? {
        Address::Local(_) => {
            let store = context.open_store("path-info", Purpose::Read)?;
            let asked = store_paths(&args.paths, store.layout())?;
            let infos = of_local(&store, args, &asked)?;
            (store.store_dir().clone(), asked, infos)
        }
        Address::Remote(_, address) => {
            let layout = StoreLayout::new(context.store_dir()?, "", "");
            let asked = store_paths(&args.paths, &layout)?;
            let dir = layout.store_dir;
            let watch = SignalWatch::install(Arc::default())?;
            let connection = connect(&address, &dir, Compress::AsAddressed, context, &watch)?;
            let infos = of_remote(RemoteStore::new(connection), args, &asked);
            watch.check()?;
            let infos = infos?;
            (dir, asked, infos)
        }
    };
    let shown = if args.recursive {
        infos.keys().cloned().collect()
    } else {
        asked
    };
    if let Some(path) = shown.iter().find(|path| !infos.contains_key(path)) {
        return Err(Error::not_valid(&dir, path).into());
    }
    let text = match args.json {
        true => as_json(&dir, args, &shown, &infos),
        false => as_lines(&dir, args, &shown, &infos)?,
    };
    Output::of_process()?.print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The paths asked for, and with them what they refer to where that is needed.
fn of_local(store: &dyn Store, args: &PathInfoArgs, asked: &StorePathSet) -> Result<Infos, Error> {
    let mut wanted = asked.clone();
    if needs_closure(args) {
        wanted = store.closure(asked, IncludeOutputs::No)?;
    }
    let mut infos = Infos::new();
    store.query_path_infos(&wanted, &mut |info| {
        infos.insert(info.path.clone(), info);
        Ok(())
    })?;
    Ok(infos)
}

fn of_remote(
    mut store: RemoteStore,
    args: &PathInfoArgs,
    asked: &StorePathSet,
) -> Result<Infos, ClientError> {
    let mut wanted = asked.clone();
    if needs_closure(args) {
        wanted = store.query_closure(&QueryClosure {
            include_outputs: false,
            paths: wanted,
        })?;
    }
    let infos = store.query_path_infos(&wanted)?;
    store.finish();
    Ok(infos
        .into_iter()
        .map(|info| (info.path.clone(), info))
        .collect())
}

fn needs_closure(args: &PathInfoArgs) -> bool {
    args.recursive || args.closure_size
}

fn as_json(dir: &StoreDir, args: &PathInfoArgs, shown: &StorePathSet, infos: &Infos) -> String {
    let mut all = Map::new();
    for (path, info) in infos.iter().filter(|(path, _)| shown.contains(path)) {
        let mut json = path_info_to_json(dir, info, PathInfoFormat::V1, StoreFacts::Impure);
        if args.closure_size
            && let Value::Object(fields) = &mut json
        {
            fields.insert("closureSize".into(), closure_size(path, infos).into());
        }
        all.insert(dir.print(path), json);
    }
    format!("{:#}\n", Value::Object(all))
}

fn as_lines(
    dir: &StoreDir,
    args: &PathInfoArgs,
    shown: &StorePathSet,
    infos: &Infos,
) -> anyhow::Result<String> {
    let shown = infos.values().filter(|info| shown.contains(&info.path));
    let sorted = references_first(dir, shown.cloned().collect())?;
    let mut text = String::new();
    for info in sorted {
        text.push_str(&dir.print(&info.path));
        if args.size {
            text.push_str(&format!("\t{}", info.nar_size));
        }
        if args.closure_size {
            text.push_str(&format!("\t{}", closure_size(&info.path, infos)));
        }
        text.push('\n');
    }
    Ok(text)
}

/// The sizes of `path` and all that it refers to, in bytes.
fn closure_size(path: &StorePath, infos: &Infos) -> u64 {
    let mut seen = BTreeSet::from([path]);
    let mut todo = vec![path];
    let mut size = 0_u64;
    while let Some(info) = todo.pop().and_then(|path| infos.get(path)) {
        size = size.saturating_add(info.nar_size);
        todo.extend(info.references.iter().filter(|path| seen.insert(path)));
    }
    size
}
