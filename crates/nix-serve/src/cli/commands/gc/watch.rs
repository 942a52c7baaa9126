//! What a collection says while it runs.

use nix_store_core::gc::{Freed, GcPhase, GcProgress};

use crate::cli::context::Context;
use crate::cli::gc_args::{GcArgs, GcMode};
use crate::cli::progress::Counter;
use crate::cli::signals::SignalWatch;

/// Tells the user of a collection, and the collection of signals.
pub(super) struct Watch<'w> {
    signals: &'w SignalWatch,
    bar: Option<Counter>,
    deletes_named: bool,
}

impl<'w> Watch<'w> {
    pub(super) fn new(context: &Context, signals: &'w SignalWatch, args: &GcArgs) -> Self {
        let deletes = args.mode == GcMode::Delete && !args.dry_run;
        Self {
            signals,
            bar: deletes.then(|| Counter::of_deletions(context)).flatten(),
            deletes_named: matches!(args.mode, GcMode::Paths { .. }),
        }
    }
}

impl GcProgress for Watch<'_> {
    fn phase(&mut self, phase: GcPhase) {
        // Nix compat: its words.
        match phase {
            GcPhase::FindingRoots => tracing::info!("finding garbage collector roots..."),
            GcPhase::Determining => tracing::info!("determining live/dead paths..."),
            GcPhase::Deleting if self.deletes_named => {}
            GcPhase::Deleting => tracing::info!("deleting garbage..."),
            GcPhase::DeletingLinks => tracing::info!("deleting unused links..."),
            GcPhase::Stopping(Some(0) | None) => {}
            GcPhase::Stopping(Some(bytes)) => {
                tracing::info!("deleted more than {bytes} bytes; stopping");
            }
        }
    }

    fn deleting(&mut self, path: &str) {
        match &self.bar {
            Some(bar) => bar.begin(path),
            None => tracing::info!("deleting '{path}'"),
        }
    }

    fn progress(&mut self, deleted: u64, total: u64, _: Freed) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(deleted);
        }
    }

    fn is_cancelled(&mut self) -> bool {
        self.signals.check().is_err()
    }
}
