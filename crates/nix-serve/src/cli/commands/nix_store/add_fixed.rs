//! `--add-fixed` and `--print-fixed-path`: names that follow from the hash of a file.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use nix_base::store_path::make::References;
use nix_base::{ContentAddress, ContentAddressMethod, Hash, HashAlgo, StorePathName};

use crate::cli::commands::add::name_of;
use crate::cli::context::{Context, Purpose};
use crate::cli::output::Output;
use crate::cli::settings::load_config;
use crate::cli::signals::SignalWatch;
use crate::cli::store_args::{AddFixedArgs, FixedPathArgs};

/// Adds each file and prints its store path.
pub(super) fn run(args: &AddFixedArgs, context: &Context) -> anyhow::Result<ExitCode> {
    require_enabled(args.algo, context)?;
    let watch = SignalWatch::install(Arc::default())?;
    let store = context.open_store("--add-fixed", Purpose::Write)?;
    let mut output = Output::of_process()?;
    for file in &args.files {
        watch.check()?;
        let path = store
            .add_fixed(
                file,
                &name_of(file, None)?,
                method(args.recursive),
                args.algo,
            )
            .with_context(|| format!("cannot add '{}'", file.display()))?;
        output.line(&store.store_dir().print(&path))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the path that a file would have.
pub(super) fn print_path(args: &FixedPathArgs, context: &Context) -> anyhow::Result<ExitCode> {
    require_enabled(args.algo, context)?;
    let hash = parse_hash(&args.hash, args.algo)?;
    let ca = ContentAddress {
        method: method(args.recursive),
        hash,
    };
    let name = StorePathName::new(&args.name)?;
    let dir = context.layout("--print-fixed-path")?.store_dir;
    let path = ca.path(&dir, &References::default(), &name)?;
    Output::of_process()?.line(&dir.print(&path))?;
    Ok(ExitCode::SUCCESS)
}

fn method(recursive: bool) -> ContentAddressMethod {
    match recursive {
        true => ContentAddressMethod::NixArchive,
        false => ContentAddressMethod::Flat,
    }
}

fn parse_hash(text: &str, algo: HashAlgo) -> anyhow::Result<Hash> {
    let mismatch = || format!("hash '{text}' should have type '{algo}'");
    // Nix compat: its words.
    if let Some((prefix, _)) = text.split_once([':', '-'])
        && prefix.parse::<HashAlgo>().is_ok_and(|other| other != algo)
    {
        bail!(mismatch());
    }
    let hash = Hash::parse_any(text, Some(algo))?;
    ensure!(hash.algo() == algo, mismatch());
    Ok(hash)
}

/// Nix compat: BLAKE3 has to be switched on.
fn require_enabled(algo: HashAlgo, context: &Context) -> anyhow::Result<()> {
    const FEATURE: &str = "blake3-hashes";
    if algo != HashAlgo::Blake3 {
        return Ok(());
    }
    let config = load_config(context.environment(), &context.global().settings)?;
    let features = config.value("experimental-features").unwrap_or_default();
    ensure!(
        features.split(' ').any(|feature| feature == FEATURE),
        "experimental Nix feature '{FEATURE}' is disabled; \
         add '--extra-experimental-features {FEATURE}' to enable it"
    );
    Ok(())
}
