//! `--roots`: what keeps paths from being collected.

use std::collections::BTreeSet;

use nix_base::StorePath;
use nix_store_core::LocalStore;
use nix_store_core::gc::RootOptions;

use super::closure::closure;
use super::lookup::{Edges, ask};
use crate::cli::context::Context;

/// Adds a line for each root that needs one of `asked` to `out`.
pub(super) fn print(
    store: &LocalStore,
    context: &Context,
    asked: &[StorePath],
    out: &mut Vec<u8>,
) -> anyhow::Result<()> {
    let settings = context.upkeep_settings()?;
    let mut edges = vec![Edges::Referrers];
    if settings.keep_outputs {
        edges.push(Edges::Derivers);
    }
    if settings.keep_derivations {
        edges.push(Edges::Outputs);
    }
    let users: BTreeSet<StorePath> = ask(store, |lookup| {
        let mut starts = Vec::new();
        for path in asked {
            starts.extend(lookup.find(path)?);
        }
        let places = closure(lookup, starts, &edges)?;
        Ok(places
            .iter()
            .map(|&place| lookup.path(place).clone())
            .collect())
    })?;
    let options = RootOptions {
        remove_stale: false,
        ..RootOptions::default()
    };
    let found = store.find_roots(&options)?;
    for note in &found.notes {
        tracing::info!("{note}");
    }
    for root in found.roots {
        if users.contains(&root.target) {
            out.extend(root.source.to_bytes());
            out.extend_from_slice(b" -> ");
            out.extend_from_slice(store.store_dir().print(&root.target).as_bytes());
            out.push(b'\n');
        }
    }
    Ok(())
}
