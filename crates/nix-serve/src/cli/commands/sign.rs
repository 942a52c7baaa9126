//! `sign`: adds signatures to paths.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use nix_store_core::Error;

use crate::cli::context::{Context, Purpose};
use crate::cli::key_args::SignArgs;
use crate::cli::secret_keys::read_secret_key;
use crate::cli::signals::SignalWatch;
use crate::cli::signed_paths::signed_paths;

/// Signs each path that the key hasn't signed yet.
pub(crate) fn run(args: &SignArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let key = read_secret_key(&args.key_file, context.environment())
        .with_context(|| format!("cannot use key file '{}'", args.key_file.display()))?;
    let watch = SignalWatch::install(Arc::default())?;
    let store = context.open_store("sign", Purpose::Write)?;
    let dir = store.store_dir().clone();
    let paths = signed_paths(&args.paths, &store)?;
    // What is found below stays until it is signed.
    store.add_temp_roots(&paths)?;
    let mut added = Vec::new();
    let mut found = 0;
    store.db().query_infos(&paths, |info| {
        found += 1;
        let signature = key.sign(info.fingerprint(&dir).as_bytes());
        if !info.sigs.contains(&signature) {
            added.push((info.path.clone(), BTreeSet::from([signature])));
        }
        Ok(())
    })?;
    // Of all that was there, some may be gone meanwhile.
    if found < paths.len() && !args.paths.all {
        let valid = store.db().query_valid(&paths)?;
        if let Some(path) = paths.difference(&valid).next() {
            return Err(Error::not_valid(&dir, path).into());
        }
    }
    let count = added.len();
    for batch in added.chunks(BATCH) {
        watch.check()?;
        let batch: Vec<_> = batch.iter().map(|(path, new)| (path, new)).collect();
        store.db().add_all_signatures(&batch)?;
    }
    // Nix compat: its words.
    tracing::info!("added {count} signatures");
    Ok(ExitCode::SUCCESS)
}

/// As many paths get their signatures in one transaction.
const BATCH: usize = 1000;
