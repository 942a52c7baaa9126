//! `copy`: a closure goes to or comes from another store.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use nix_base::{StorePathSet, ValidPathInfo};
use nix_store_core::{Error, IncludeOutputs, LocalStore, Lock, Store};
use serde_json::json;

use super::ends::{Importer, Source};
use super::order::infos_by_references;
use crate::cli::address::Address;
use crate::cli::context::{Context, Purpose};
use crate::cli::low_args::{CopyArgs, Direction};
use crate::cli::output::Output;
use crate::cli::path_arg::store_paths;
use crate::cli::progress::Report;
use crate::cli::remote::{Compress, connect};
use crate::cli::signals::SignalWatch;
use crate::client::{
    ClientConnection, CopyFromOptions, CopyFromPlan, CopySummary, CopyToPlan, Substitute,
};

/// Copies what is missing at the other end.
pub(crate) fn run(args: &CopyArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let Address::Remote(_, address) = Address::parse(&args.address, context.environment())? else {
        bail!(
            "'{}' is not a store to copy to or from: use ssh://HOST or exec:COMMAND, such as \
             'exec:nix-serve serve --write --store DIR'",
            args.address
        );
    };
    let watch = SignalWatch::install(Arc::default())?;
    let purpose = match (args.direction, args.dry_run) {
        (Direction::From, false) => Purpose::Write,
        _ => Purpose::Read,
    };
    let store = context.open_store("copy", purpose)?;
    let compress = match args.compress {
        true => Compress::Yes,
        false => Compress::AsAddressed,
    };
    let copy = Copy {
        args,
        context,
        watch: &watch,
        wanted: store_paths(&args.paths, store.layout())?,
        store: &store,
    };
    let mut connection = connect(&address, store.store_dir(), compress, context, &watch)?;
    let missing = match args.direction {
        Direction::To => copy.to(&mut connection),
        Direction::From => copy.from(&mut connection),
    };
    // Whatever a signal broke, the signal is the reason.
    watch.check()?;
    copy.account(&missing?)?;
    Ok(ExitCode::SUCCESS)
}

struct Copy<'a> {
    args: &'a CopyArgs,
    context: &'a Context,
    watch: &'a SignalWatch,
    wanted: StorePathSet,
    store: &'a LocalStore,
}

impl Copy<'_> {
    fn to(&self, connection: &mut ClientConnection) -> anyhow::Result<Vec<ValidPathInfo>> {
        let closure = infos_by_references(self.store, &self.pinned_closure()?)?;
        let substitute = match self.args.substitute {
            true => Substitute::Yes,
            false => Substitute::No,
        };
        let plan = CopyToPlan::make(connection, closure, substitute)?;
        if !self.args.dry_run {
            let mut source = Source::new(self.store, self.watch);
            let report = self.report(format!("to '{}'", connection.name()));
            plan.send(connection, &mut source, &report)?;
        }
        Ok(plan.missing)
    }

    /// What is to be sent, safe from collectors where we may keep it so.
    fn pinned_closure(&self) -> anyhow::Result<StorePathSet> {
        let paths = if self.args.recursive {
            let include = match self.args.include_outputs {
                true => IncludeOutputs::Yes,
                false => IncludeOutputs::No,
            };
            self.store.closure(&self.wanted, include)?
        } else {
            self.wanted.clone()
        };
        let lock = match self.store.is_read_only() || self.args.dry_run {
            true => Lock::No,
            false => Lock::Yes,
        };
        let valid = self.store.query_valid_paths(&paths, lock)?;
        match paths.difference(&valid).next() {
            Some(path) => Err(Error::not_valid(self.store.store_dir(), path).into()),
            None => Ok(paths),
        }
    }

    fn from(&self, connection: &mut ClientConnection) -> anyhow::Result<Vec<ValidPathInfo>> {
        let options = CopyFromOptions {
            no_recursive: !self.args.recursive,
            include_outputs: self.args.include_outputs,
            trusted_keys: self.context.settings()?.demanded_keys,
        };
        let mut importer = Importer::new(self.store, self.watch);
        let plan = CopyFromPlan::make(connection, &self.wanted, &options, &mut importer)?;
        if !self.args.dry_run {
            let report = self.report(format!("from '{}'", connection.name()));
            plan.fetch(connection, &mut importer, &report)?;
        }
        Ok(plan.missing)
    }

    fn report(&self, where_to: String) -> Report {
        Report::new(self.context, self.store.store_dir(), where_to)
    }

    /// Says what was copied, or would be.
    fn account(&self, copied: &[ValidPathInfo]) -> anyhow::Result<()> {
        let dir = self.store.store_dir();
        let summary = CopySummary {
            paths: copied.len() as u64,
            bytes: copied.iter().map(|info| info.nar_size).sum(),
        };
        if self.args.dry_run {
            for info in copied {
                tracing::info!("would copy path '{}'", dir.display(&info.path));
            }
            tracing::info!(
                "{} paths, {} bytes; nothing was copied",
                summary.paths,
                summary.bytes
            );
        }
        if self.args.json {
            let paths: Vec<_> = copied
                .iter()
                .map(|info| json!({ "path": dir.print(&info.path), "narSize": info.nar_size }))
                .collect();
            let json = json!({
                "store": self.args.address,
                "direction": match self.args.direction {
                    Direction::To => "to",
                    Direction::From => "from",
                },
                "dryRun": self.args.dry_run,
                "paths": paths,
                "narSize": summary.bytes,
            });
            Output::of_process()?.line(&format!("{json:#}"))?;
        }
        Ok(())
    }
}
