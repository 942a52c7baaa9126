//! What is going to be deleted, in order, and how far.

use nix_base::StorePathHash;

use super::entries::Leftover;
use super::mark::Marks;
use super::meter::{Meter, look};
use super::options::{GcOptions, GcPolicy};
use super::order::referrers_first;
use super::report::{Freed, GcProgress};
use crate::db::StoreGraph;
use crate::error::{Error, Result};
use crate::local::LocalStore;

/// What is going to be deleted.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Entries that aren't registered; they go first.
    pub(super) leftovers: Vec<Leftover>,
    /// Places of valid paths, each after what refers to it.
    pub(super) order: Vec<u32>,
    /// How many dead paths aren't in it.
    pub(super) kept_dead: u64,
    /// Whether it ends where enough is freed.
    pub(super) reached_limit: bool,
    /// What all of it frees, if that had to be found out.
    pub(super) freed: Freed,
    /// Whether it is only the beginning of one, since it was told to stop.
    pub(super) cancelled: bool,
}

/// Chooses from what is dead.
pub(super) fn plan(
    store: &LocalStore,
    graph: &StoreGraph,
    marks: &Marks,
    leftovers: Vec<Leftover>,
    options: &GcOptions,
    progress: &mut dyn GcProgress,
) -> Result<Plan> {
    if options.max_freed == Some(0) {
        return Ok(Plan {
            kept_dead: marks.places(false).count() as u64,
            reached_limit: true,
            ..Plan::default()
        });
    }
    let dead: Vec<u32> = marks.places(false).collect();
    let policy = &options.policy;
    let uses = policy
        .needs_last_use()
        .then(|| last_uses(store, graph, &dead));
    let mut order = referrers_first(graph, &dead, uses.as_deref());
    if let Some(since) = policy.unused_since {
        order.retain(|&(_, last_use)| last_use < since);
    }
    let order = order.into_iter().map(|(place, _)| place).collect();
    let mut plan = Plan {
        leftovers,
        order,
        ..Plan::default()
    };
    if options.dry_run || Goal::is_set(options) {
        let goal = Goal::of(store, graph, options, &dead, progress)?;
        plan.limit(store, graph, &goal, progress);
    }
    plan.kept_dead = (dead.len() - plan.order.len()) as u64;
    Ok(plan)
}

impl Plan {
    /// Finds out what is freed, and ends the plan where that is enough.
    fn limit(
        &mut self,
        store: &LocalStore,
        graph: &StoreGraph,
        goal: &Goal,
        progress: &mut dyn GcProgress,
    ) {
        let mut meter = Meter::new(store.store_fd());
        let mut freed = Freed::default();
        let mut taken = 0;
        for leftover in &self.leftovers {
            self.reached_limit = goal.is_exceeded(freed);
            self.cancelled = progress.is_cancelled();
            if self.reached_limit || self.cancelled {
                break;
            }
            freed += meter.without(&leftover.name);
            taken += 1;
        }
        self.leftovers.truncate(taken);
        taken = 0;
        let leftovers = freed.on_disk;
        for &place in &self.order {
            self.reached_limit = goal.is_reached(freed, leftovers);
            self.cancelled = progress.is_cancelled();
            if self.reached_limit || self.cancelled {
                break;
            }
            freed += meter.without(&entry_name(graph, place));
            taken += 1;
        }
        self.order.truncate(taken);
        self.freed = freed;
    }
}

/// How much is enough: `garbage` and `room` must be met as far as they are set, but no more than
/// `most` is freed in any case.
#[derive(Debug)]
struct Goal {
    /// Stop once files of more than this length went.
    most: Option<u64>,
    /// Stop once dead paths of this size went.
    garbage: Option<u64>,
    /// Stop once this much more is free on the disk.
    room: Option<u64>,
}

impl Goal {
    fn is_set(options: &GcOptions) -> bool {
        let policy = &options.policy;
        options.max_freed.is_some() || policy.keep_bytes.is_some() || policy.free_bytes.is_some()
    }

    fn of(
        store: &LocalStore,
        graph: &StoreGraph,
        options: &GcOptions,
        dead: &[u32],
        progress: &mut dyn GcProgress,
    ) -> Result<Self> {
        let GcPolicy {
            keep_bytes,
            free_bytes,
            ..
        } = options.policy;
        let mut goal = Self {
            most: options.max_freed,
            garbage: None,
            room: None,
        };
        if let Some(keep) = keep_bytes {
            let mut meter = Meter::new(store.store_fd());
            let all = dead
                .iter()
                .take_while(|_| !progress.is_cancelled())
                .map(|&place| meter.without(&entry_name(graph, place)).on_disk);
            goal.garbage = Some(all.sum::<u64>().saturating_sub(keep));
        }
        if let Some(wanted) = free_bytes {
            goal.room = Some(wanted.saturating_sub(available(store)?));
        }
        Ok(goal)
    }

    fn is_exceeded(&self, freed: Freed) -> bool {
        self.most.is_some_and(|most| freed.lengths > most)
    }

    /// Of what is freed, `leftovers` bytes were no dead paths.
    fn is_reached(&self, freed: Freed, leftovers: u64) -> bool {
        let goals = [
            (self.garbage, freed.on_disk - leftovers),
            (self.room, freed.on_disk),
        ];
        let is_set = goals.iter().any(|(goal, _)| goal.is_some());
        let all_met = goals
            .iter()
            .all(|&(goal, done)| goal.is_none_or(|goal| done >= goal));
        self.is_exceeded(freed) || is_set && all_met
    }
}

/// The bytes that the file system of the store has to spare for its users.
pub(super) fn available(store: &LocalStore) -> Result<u64> {
    let stat = rustix::fs::fstatvfs(store.store_fd())
        .map_err(|error| Error::io("examine", &store.layout().real_store, error))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// When each of `dead` was used last.
fn last_uses(store: &LocalStore, graph: &StoreGraph, dead: &[u32]) -> Vec<i64> {
    let last_use = |&place: &u32| {
        let accessed = look(store.store_fd(), &entry_name(graph, place))
            .map_or(0, |stat| stat.stx_atime.tv_sec);
        graph.registration_time(place).max(accessed)
    };
    dead.iter().map(last_use).collect()
}

/// The entry of the store that holds the path at `place`.
pub(super) fn entry_name(graph: &StoreGraph, place: u32) -> std::ffi::CString {
    std::ffi::CString::new(graph.path(place).base_name()).unwrap_or_default()
}

/// Leaves out what a temporary root with the same hash keeps.
pub(super) fn without_roots(
    leftovers: Vec<Leftover>,
    is_root: impl Fn(&StorePathHash) -> bool,
) -> Vec<Leftover> {
    leftovers
        .into_iter()
        .filter(|leftover| !leftover.hash.as_ref().is_some_and(&is_root))
        .collect()
}
