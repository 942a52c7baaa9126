//! Steps of a collector: `lock::CollectorLocks`, `lock::Pending` and `LocalStore::collect_garbage`.

use crate::client;
use crate::fault::Fault;
use crate::model::StoreModel;
use crate::state::{At, CLIENTS, Client, Collector, CollectorAt, Disk, Paths, RootsFile, State};

/// How many ways the collector, or one that waits for the collector lock, can go on.
pub(crate) fn choices(model: &StoreModel, state: &State) -> u8 {
    let collector = &state.collector;
    match collector.at {
        CollectorAt::Off => u8::from(state.left.collectors > 0),
        CollectorAt::ReadFiles => u8::from(state.clients.iter().all(|client| client.read)),
        CollectorAt::Begin => {
            // End the batch with this one, or go on.
            let more = !collector.dead.without(collector.dead.last()).is_empty();
            1 + u8::from(more && !model.has(Fault::RowRemovedLast))
        }
        CollectorAt::RemoveRows => {
            let pending = collector.pending;
            1 + u8::from(pending != pending.last())
        }
        _ => 1,
    }
}

pub(crate) fn step(model: &StoreModel, state: &mut State, choice: u8) {
    let links_first = model.links_first;
    match state.collector.at {
        CollectorAt::Off => {
            state.left.collectors -= 1;
            state.collector.at = CollectorAt::Listen;
        }
        CollectorAt::Listen if links_first => state.collector.at = CollectorAt::ReadLinks,
        CollectorAt::Listen => state.collector.at = CollectorAt::ReadFiles,
        CollectorAt::ReadFiles => {
            forget_files(&mut state.clients);
            state.collector.at = match links_first {
                true => CollectorAt::Mark,
                false => CollectorAt::ReadLinks,
            };
        }
        CollectorAt::ReadLinks => {
            state.collector.roots.add(state.disk.links);
            state.collector.at = match links_first {
                true => CollectorAt::ReadFiles,
                false => CollectorAt::Mark,
            };
        }
        CollectorAt::Mark => {
            state.collector.dead = dead(&state.disk, state.collector.roots);
            go_on(&mut state.collector);
        }
        CollectorAt::Begin => begin(model, state, choice > 0),
        CollectorAt::RemoveRows => remove_rows(model, state, choice > 0),
        CollectorAt::RemoveFiles => remove_files(model, state),
        CollectorAt::StopListening => {
            state.collector = Collector {
                at: CollectorAt::Unlock,
                ..Collector::default()
            };
            hang_up(state);
        }
        CollectorAt::Unlock => state.collector.at = CollectorAt::Off,
    }
}

/// Whether the collector can look at the file of a client now.
pub(crate) fn may_read(state: &State, number: usize) -> bool {
    state.collector.at == CollectorAt::ReadFiles && !state.clients[number].read
}

/// The collector tries the lock of the file: if it can be had, the owner is dead.
pub(crate) fn read_file(state: &mut State, number: usize) {
    let client = &mut state.clients[number];
    client.read = true;
    match client.file {
        RootsFile::None | RootsFile::Removed => {}
        RootsFile::Young => client.file = RootsFile::Removed,
        RootsFile::Owned => state.collector.roots.add(client.records),
    }
}

/// Whether the thread that listens can answer this client: not while its path is being deleted.
pub(crate) fn may_answer(model: &StoreModel, state: &State, number: usize) -> bool {
    let client = &state.clients[number];
    let waits = matches!(client.at, At::Answer | At::AnswerAgain);
    let published = match model.has(Fault::PendingNotPublished) {
        true => Paths::NONE,
        false => state.collector.pending,
    };
    waits && state.collector.at.listens() && !published.meets(client.unheard.first())
}

pub(crate) fn answer(model: &StoreModel, state: &mut State, number: usize) {
    let client = &mut state.clients[number];
    let path = client.unheard.first();
    state.collector.roots.add(path);
    client.unheard.remove(path);
    if client.unheard.is_empty() {
        client::after_announcing(model, &mut state.disk, client);
    }
}

/// The connections to a collector that ends break: their clients see whether another runs.
pub(crate) fn hang_up(state: &mut State) {
    forget_files(&mut state.clients);
    for client in &mut state.clients {
        match client.at {
            At::Answer => client.at = At::Ask,
            At::AnswerAgain => client.at = At::AskAgain,
            _ => {}
        }
    }
}

fn forget_files(clients: &mut [Client; CLIENTS]) {
    for client in clients {
        client.read = false;
    }
}

/// What isn't reached from a root and lies in the store, valid or not.
fn dead(disk: &Disk, roots: Paths) -> Paths {
    let alive = roots.and(disk.rows).closure().or(roots);
    let there = disk.rows.or(disk.whole).or(disk.torn).or(disk.lock_files);
    there.without(alive)
}

/// To the next path of the batch, to the rest of the batch, or to the next batch.
fn go_on(collector: &mut Collector) {
    collector.at = match (collector.pending.is_empty(), collector.dead.is_empty()) {
        (false, _) => CollectorAt::RemoveRows,
        (true, false) => CollectorAt::Begin,
        (true, true) => CollectorAt::StopListening,
    };
}

/// Publishes the path and looks at the roots, in one step: both are under one mutex. `more` to
/// have another one in the batch.
fn begin(model: &StoreModel, state: &mut State, more: bool) {
    let collector = &mut state.collector;
    let path = collector.dead.last();
    let only_first = model.has(Fault::CollectorChecksOnlyTheFirst);
    let looks = !(only_first && collector.decided);
    collector.decided = only_first;
    if looks && collector.roots.has(path) {
        spare(model, state, path);
    } else {
        collector.dead.remove(path);
        collector.pending.add(path);
        if !more && model.has(Fault::RowRemovedLast) {
            collector.at = CollectorAt::RemoveFiles;
            return;
        }
    }
    if !more || state.collector.dead.is_empty() {
        go_on(&mut state.collector);
    }
}

/// What a path that is spared refers to is marked, too.
fn spare(model: &StoreModel, state: &mut State, path: Paths) {
    let sees = state.disk.rows.has(path) && !model.has(Fault::CollectorIgnoresReferrers);
    state.collector.dead.remove(match sees {
        true => path.closure(),
        false => path,
    });
}

/// One transaction for the batch: no other valid path may refer to what goes. If somebody waits
/// it may be `cut` short; what is left is pending no more, and its turn comes again.
fn remove_rows(model: &StoreModel, state: &mut State, cut: bool) {
    if cut {
        let first = state.collector.pending.last();
        state
            .collector
            .dead
            .add(state.collector.pending.without(first));
        state.collector.pending = first;
    }
    let mut batch = state.collector.pending;
    while !batch.is_empty() {
        let path = batch.last();
        batch.remove(path);
        let referrers = state.disk.rows.and(path.referrers());
        let kept = !referrers.is_empty() && !model.has(Fault::CollectorIgnoresReferrers);
        if kept && state.disk.rows.has(path) {
            state.collector.pending.remove(path);
            spare(model, state, path);
        } else {
            state.disk.rows.remove(path);
        }
    }
    if model.has(Fault::RowRemovedLast) {
        state.collector.pending = Paths::NONE;
    }
    match state.collector.pending.is_empty() {
        true => go_on(&mut state.collector),
        false => state.collector.at = CollectorAt::RemoveFiles,
    }
}

/// The files and the lock file of the next path of the batch, whoever has it open.
fn remove_files(model: &StoreModel, state: &mut State) {
    let path = state.collector.pending.last();
    state.disk.whole.remove(path);
    state.disk.torn.remove(path);
    state.disk.flushed.remove(path);
    state.unlink_lock_file(path);
    if model.has(Fault::RowRemovedLast) {
        state.collector.at = CollectorAt::RemoveRows;
        return;
    }
    state.collector.pending.remove(path);
    if state.collector.pending.is_empty() {
        go_on(&mut state.collector);
    }
}

impl State {
    /// Who has the lock file open has it open still, without a name.
    pub(crate) fn unlink_lock_file(&mut self, path: Paths) {
        self.disk.lock_files.remove(path);
        for client in &mut self.clients {
            let gone = client.open.and(path);
            client.open.remove(gone);
            client.stale.add(gone);
        }
    }
}
