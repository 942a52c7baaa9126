//! One collection, from the locks to the last unused link.

use std::time::Instant;

use nix_base::{StoreDir, StorePath, StorePathHash};

use super::delete::Deletion;
use super::entries::{self, Leftover};
use super::links;
use super::mark::Marks;
use super::options::{GcAction, GcOptions};
use super::plan::{Plan, plan, without_roots};
use super::remover::{Remover, with_causes};
use super::report::{GcPhase, GcProgress, GcReport};
use super::reserved;
use super::roots::{RootOptions, RootSource};
use super::specific;
use crate::db::StoreGraph;
use crate::error::{Error, FullPath, Result};
use crate::local::LocalStore;
use crate::lock::{CollectorLocks, Wait};

impl LocalStore {
    /// Collects garbage, or finds out what a collection would do.
    ///
    /// While it runs, others use and change the store; what they begin to use is spared. What
    /// only looks takes no locks and keeps nobody waiting.
    ///
    /// # Errors
    /// The store is read-only and something is to be deleted; the roots can't be read; the
    /// database can't be written. What can't be removed from the store directory, and that a
    /// path that was named is alive, is in the report: see [`GcReport::require_dead`].
    pub fn collect_garbage(
        &self,
        options: &GcOptions,
        progress: &mut dyn GcProgress,
    ) -> Result<GcReport> {
        match self.try_collect_garbage(options, Wait::Forever, progress)? {
            Some(report) => Ok(report),
            None => Ok(GcReport::default()),
        }
    }

    /// [`Self::collect_garbage`], or `None` when another collector was at work for as long as
    /// `wait` permits.
    ///
    /// # Errors
    /// As there.
    pub fn try_collect_garbage(
        &self,
        options: &GcOptions,
        wait: Wait,
        progress: &mut dyn GcProgress,
    ) -> Result<Option<GcReport>> {
        match &options.action {
            GcAction::ReturnLive | GcAction::ReturnDead => {
                survey(self, options, progress).map(Some)
            }
            _ if options.dry_run => survey(self, options, progress).map(Some),
            _ => {
                self.require_writable("collect garbage")?;
                collect(self, options, wait, progress)
            }
        }
    }
}

/// Looks, and changes nothing.
fn survey(
    store: &LocalStore,
    options: &GcOptions,
    progress: &mut dyn GcProgress,
) -> Result<GcReport> {
    let mut report = GcReport::default();
    let mut found = Findings::read(store, options, None, &mut report, progress)?;
    progress.phase(GcPhase::Determining);
    match &options.action {
        GcAction::ReturnLive => {
            let live = found.marks.places(true);
            report.paths = live.map(|place| found.graph.path(place).clone()).collect();
            return Ok(report);
        }
        GcAction::ReturnDead => {
            let dead = found.marks.places(false);
            report.paths = dead.map(|place| found.graph.path(place).clone()).collect();
            report.name_leftovers(&found.leftovers);
            return Ok(report);
        }
        _ => {}
    }
    let plan = found.plan(store, options, &mut report, progress)?;
    report.count(&plan);
    let paths = plan
        .order
        .iter()
        .map(|&place| found.graph.path(place).clone());
    report.paths = paths.collect();
    report.name_leftovers(&plan.leftovers);
    report.deleted = (plan.leftovers.len() + plan.order.len()) as u64;
    report.freed = plan.freed;
    Ok(report)
}

/// Deletes.
fn collect(
    store: &LocalStore,
    options: &GcOptions,
    wait: Wait,
    progress: &mut dyn GcProgress,
) -> Result<Option<GcReport>> {
    let mut report = GcReport::default();
    let began = Instant::now();
    reserved::give_up(store.layout())?;
    let mut remover = Remover::new(store)?;
    let layout = store.layout();
    let locks = CollectorLocks::acquire(&layout.state, store.store_dir(), wait)
        .map_err(|error| Error::lock("collect garbage", error))?;
    let Some(locks) = locks else { return Ok(None) };
    // Who opened the store meanwhile has made it again.
    reserved::give_up(layout)?;
    report.times.locking = began.elapsed();

    let mut found = Findings::read(store, options, Some(&locks), &mut report, progress)?;
    if progress.is_cancelled() {
        report.cancelled = true;
        return Ok(Some(report));
    }
    let plan = found.plan(store, options, &mut report, progress)?;
    let began = Instant::now();
    progress.phase(GcPhase::Deleting);
    report.count(&plan);
    let durability = store.config().durability;
    store.db().begin_strict_commits(durability)?;
    let deleted = Deletion {
        store,
        locks: &locks,
        graph: &found.graph,
        marks: &mut found.marks,
        remover: &mut remover,
        progress,
        total: (plan.leftovers.len() + plan.order.len()) as u64,
        report: &mut report,
    }
    .run(plan);
    // The first error counts.
    let relaxed = store.db().end_strict_commits(durability);
    deleted.and(relaxed)?;
    if report.reached_limit {
        progress.phase(GcPhase::Stopping(options.max_freed));
    }
    let (freed, failures) = remover.finish();
    report.freed = freed;
    report.failures = failures;
    report.paths.sort_unstable();
    if !report.cancelled {
        progress.phase(GcPhase::DeletingLinks);
        match links::remove_unused(store.store_fd(), &layout.links_dir()) {
            Ok(links) => {
                report.freed += links.freed;
                report.saved_by_links = Some(links.saved);
            }
            // What was deleted is gone all the same.
            Err(error) => report.failures.push(with_causes(&error)),
        }
    }
    // Nix compat: a collector that finds a link gone which it has listed fails. So there is
    // only one at a time until the last link went; who adds roots is answered all the while.
    drop(locks);
    report.times.deleting = began.elapsed();
    Ok(Some(report))
}

/// What there is, and what of it is alive.
struct Findings {
    graph: StoreGraph,
    marks: Marks,
    leftovers: Vec<Leftover>,
    /// The hashes of temporary roots, ascending.
    temporary: Vec<StorePathHash>,
}

impl Findings {
    /// Finds roots and marks what they keep. A collector comes with its locks, which know the
    /// temporary roots.
    fn read(
        store: &LocalStore,
        options: &GcOptions,
        locks: Option<&CollectorLocks>,
        report: &mut GcReport,
        progress: &mut dyn GcProgress,
    ) -> Result<Self> {
        let began = Instant::now();
        progress.phase(GcPhase::FindingRoots);
        let ignores_roots = matches!(
            options.action,
            GcAction::DeleteSpecific {
                ignore_liveness: true,
                ..
            }
        );
        let mut temporary: Vec<StorePathHash> = Vec::new();
        let mut paths: Vec<StorePath> = Vec::new();
        if locks.is_none() || !ignores_roots {
            let roots = store.find_roots(&RootOptions {
                temporary: locks.is_none(),
                remove_stale: locks.is_some(),
                ..RootOptions::default()
            })?;
            for note in &roots.notes {
                tracing::info!("{note}");
            }
            if !ignores_roots {
                roots.require_complete()?;
            }
            for root in roots.roots {
                match root.source {
                    RootSource::TempRoots { .. } => temporary.push(*root.target.hash()),
                    _ if ignores_roots => {}
                    _ => paths.push(root.target),
                }
            }
        }
        temporary.extend(locks.into_iter().flat_map(CollectorLocks::temp_roots));
        report.times.roots = began.elapsed();

        let began = Instant::now();
        let graph = store.db().load_graph()?;
        let mut marks = Marks::new(&graph, options.keep_outputs, options.keep_derivations);
        for path in &paths {
            marks.mark_path(&graph, path);
        }
        for hash in &temporary {
            marks.mark_hash(&graph, hash);
        }
        let real_store = &store.layout().real_store;
        let leftovers = match options.action {
            GcAction::DeleteDead | GcAction::ReturnDead => {
                entries::leftovers(store.store_fd(), real_store, &graph)?
            }
            // Nobody asks for them.
            GcAction::ReturnLive | GcAction::DeleteSpecific { .. } => Vec::new(),
        };
        temporary.sort_unstable();
        let leftovers = without_roots(leftovers, |hash| temporary.binary_search(hash).is_ok());
        report.times.marking = began.elapsed();
        Ok(Self {
            graph,
            marks,
            leftovers,
            temporary,
        })
    }

    /// What is to be deleted.
    fn plan(
        &mut self,
        store: &LocalStore,
        options: &GcOptions,
        report: &mut GcReport,
        progress: &mut dyn GcProgress,
    ) -> Result<Plan> {
        let mut leftovers = std::mem::take(&mut self.leftovers);
        if let GcAction::DeleteSpecific { paths, .. } = &options.action {
            let is_root = |path: &StorePath| self.temporary.binary_search(path.hash()).is_ok();
            let chosen = specific::choose(&self.graph, &self.marks, paths, is_root);
            self.marks.mark_all_but(&chosen.dead);
            leftovers = chosen.leftovers;
            report.still_alive = chosen.still_alive;
        }
        plan(
            store,
            &self.graph,
            &self.marks,
            leftovers,
            options,
            progress,
        )
    }
}

impl GcReport {
    /// Fails if a path that was to be deleted is alive.
    ///
    /// # Errors
    /// It is.
    pub fn require_dead(&self, store_dir: &StoreDir) -> Result<()> {
        match &self.still_alive {
            None => Ok(()),
            Some(path) => {
                let path = FullPath::new(store_dir, path);
                Err(Error::StillAlive(Box::new(path)))
            }
        }
    }

    fn count(&mut self, plan: &Plan) {
        self.kept_dead = plan.kept_dead;
        self.reached_limit = plan.reached_limit;
        self.cancelled |= plan.cancelled;
    }

    fn name_leftovers(&mut self, leftovers: &[Leftover]) {
        for leftover in leftovers {
            match &leftover.path {
                Some(path) => self.paths.push(path.clone()),
                None => self.leftovers.push(leftover.text()),
            }
        }
        self.paths.sort_unstable();
    }
}

#[cfg(test)]
mod tests;
