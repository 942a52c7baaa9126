//! `check-sigs`: says which paths are signed by nobody who is trusted.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use nix_base::{PublicKey, StoreDir, StorePath, ValidPathInfo};
use nix_store_core::Error;
use serde_json::{Value, json};

use crate::cli::context::{Context, Purpose};
use crate::cli::key_args::CheckSigsArgs;
use crate::cli::output::Output;
use crate::cli::signals::SignalWatch;
use crate::cli::signed_paths::signed_paths;

/// Names the paths that aren't trusted; the exit status is 2 then.
pub(crate) fn run(args: &CheckSigsArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let keys = keys(args, context)?;
    let watch = SignalWatch::install(Arc::default())?;
    let store = context.open_store("check-sigs", Purpose::Read)?;
    let dir = store.store_dir().clone();
    let paths = signed_paths(&args.paths, &store)?;
    let mut verdicts = Vec::with_capacity(paths.len());
    store.db().query_infos(&paths, |info| {
        if watch.check().is_ok() {
            verdicts.push(Verdict::of(&info, &dir, &keys, args.needed));
        }
        Ok(())
    })?;
    watch.check()?;
    // Of all that was there, some may be gone meanwhile.
    if verdicts.len() < paths.len() && !args.paths.all {
        let valid = store.db().query_valid(&paths)?;
        if let Some(path) = paths.difference(&valid).next() {
            return Err(Error::not_valid(&dir, path).into());
        }
    }
    if args.json {
        let all: Vec<Value> = verdicts.iter().map(|v| v.to_json(&dir)).collect();
        Output::of_process()?.print(&format!("{:#}\n", Value::Array(all)))?;
    }
    let untrusted: Vec<&Verdict> = verdicts.iter().filter(|v| !v.is_trusted).collect();
    for verdict in &untrusted {
        // Nix compat: its words.
        tracing::error!("path '{}' is untrusted", dir.display(&verdict.path));
    }
    tracing::info!(
        "{} paths checked, {} untrusted",
        verdicts.len(),
        untrusted.len()
    );
    // Nix compat: the status of `nix store verify`.
    Ok(match untrusted.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(UNTRUSTED),
    })
}

fn keys(args: &CheckSigsArgs, context: &Context) -> anyhow::Result<Vec<PublicKey>> {
    if args.keys.is_empty() {
        return context.trusted_keys();
    }
    let parse = |text: &String| {
        let key = text.parse();
        key.with_context(|| format!("'{text}' is not a public key"))
    };
    args.keys.iter().map(parse).collect()
}

/// What is known of the trust in a path.
struct Verdict {
    path: StorePath,
    is_trusted: bool,
    is_built_here: bool,
    is_content_addressed: bool,
    /// The keys that have signed it, of those that are trusted.
    signed_by: Vec<String>,
    /// How many signatures there are.
    signatures: usize,
}

impl Verdict {
    fn of(info: &ValidPathInfo, dir: &StoreDir, keys: &[PublicKey], needed: usize) -> Self {
        let signed_by = info.trusted_signers(dir, keys);
        let is_content_addressed = info.content_address_matches(dir) == Some(true);
        let is_built_here = info.ultimate;
        // Nix compat: a demanded number counts for what was built here, too, and never for
        // what proves itself.
        let is_trusted = is_content_addressed
            || (is_built_here && needed == 0)
            || signed_by.len() >= needed.max(1);
        Self {
            path: info.path.clone(),
            is_trusted,
            is_built_here,
            is_content_addressed,
            signatures: info.sigs.len(),
            signed_by: signed_by.into_iter().map(str::to_owned).collect(),
        }
    }

    fn to_json(&self, dir: &StoreDir) -> Value {
        json!({
            "path": dir.print(&self.path),
            "trusted": self.is_trusted,
            "ultimate": self.is_built_here,
            "contentAddressed": self.is_content_addressed,
            "signedBy": self.signed_by,
            "signatures": self.signatures,
        })
    }
}

const UNTRUSTED: u8 = 2;
