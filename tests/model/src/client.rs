//! Steps of a client: `lock::TempRoots`, `lock::LockDir`, `ImportBatch` and the queries.

use crate::fault::Fault;
use crate::model::StoreModel;
use crate::state::{At, Client, CollectorAt, Disk, Paths, RootsFile, State, Task};

/// How many ways the client can go on; none if it is gone or waits.
pub(crate) fn choices(model: &StoreModel, state: &State, number: usize) -> u8 {
    let client = &state.clients[number];
    let when = |possible: bool| u8::from(possible);
    match client.at {
        At::Fresh => TASKS,
        At::Gone if state.left.clients > 0 => TASKS,
        At::Gone | At::Answer | At::AnswerAgain => 0,
        At::Ask | At::AskAgain => when(!state.is_collecting() || state.collector.at.listens()),
        At::TakeLock => when(!waits_for_lock(model, state, number)),
        At::Use if client.task == Task::UseTop && !client.relied.is_empty() => {
            // End, or make a link first.
            1 + when(!state.disk.promised.has(client.relied))
        }
        _ => 1,
    }
}

pub(crate) fn step(model: &StoreModel, state: &mut State, number: usize, choice: u8) {
    match state.clients[number].at {
        At::Fresh | At::Gone => begin(model, state, number, choice),
        At::CreateFile | At::LockFile | At::Record => pin(model, &mut state.clients[number]),
        At::Ask | At::AskAgain => ask(model, state, number),
        At::Answer | At::AnswerAgain => {}
        At::Query => query(model, state, number),
        At::OpenLock => open_lock(model, state, number),
        At::TakeLock => take_lock(model, state, number),
        At::Recheck => recheck(model, state, number),
        At::Clean | At::Move => put_in_place(model, state, number),
        At::Flush => flush(model, state, number),
        At::Register => register(model, state, number),
        At::Withdraw => withdraw(state, number),
        At::Release | At::LateUnlink => release(model, state, number),
        At::Use if choice == 0 => end(state, number),
        At::Use => state.clients[number].at = At::Link,
        At::Link => link(model, state, number),
    }
}

fn begin(model: &StoreModel, state: &mut State, number: usize, choice: u8) {
    if state.clients[number].at == At::Gone {
        state.left.clients -= 1;
    }
    let task = match choice {
        0 => Task::ImportBoth,
        1 => Task::ImportTop,
        _ => Task::UseTop,
    };
    let asks_first = model.has(Fault::QueryBeforePin) && task == Task::UseTop;
    state.clients[number] = Client {
        at: if asks_first {
            At::Query
        } else {
            At::CreateFile
        },
        task,
        read: state.clients[number].read,
        unheard: task.pins(),
        ..Client::default()
    };
}

/// `TempRoots::add` up to the record.
fn pin(model: &StoreModel, client: &mut Client) {
    match client.at {
        At::CreateFile => {
            client.file = RootsFile::Young;
            client.at = At::LockFile;
        }
        At::LockFile => {
            let unchecked = model.has(Fault::RootsFileTakenWithoutStalenessCheck);
            if client.file == RootsFile::Removed && !unchecked {
                client.at = At::CreateFile;
                return;
            }
            if client.file == RootsFile::Young {
                client.file = RootsFile::Owned;
            }
            client.at = match model.has(Fault::RootRecordedAfterAnnouncing) {
                true => At::Ask,
                false => At::Record,
            };
        }
        _ => {
            client.records = client.task.pins();
            client.at = match model.has(Fault::RootRecordedAfterAnnouncing) {
                true => after_pinning(model, client),
                false => At::Ask,
            };
        }
    }
}

/// One look at the collector lock. A root goes to the collector if one runs.
fn ask(model: &StoreModel, state: &mut State, number: usize) {
    let running = state.collector.at != CollectorAt::Off;
    let client = &mut state.clients[number];
    if running {
        client.at = match client.at {
            At::Ask => At::Answer,
            _ => At::AnswerAgain,
        };
        return;
    }
    client.unheard = Paths::NONE;
    if client.at == At::Ask && model.has(Fault::RootRecordedAfterAnnouncing) {
        // As real Nix does it: before it lets go of the collector lock.
        client.records = client.task.pins();
        client.at = after_pinning(model, client);
    } else {
        after_announcing(model, &mut state.disk, client);
    }
}

/// All roots of the client are known to the collector, or none runs.
pub(crate) fn after_announcing(model: &StoreModel, disk: &mut Disk, client: &mut Client) {
    client.at = match client.at {
        At::Answer if model.has(Fault::RootRecordedAfterAnnouncing) => At::Record,
        At::Ask | At::Answer => after_pinning(model, client),
        _ => {
            disk.promised.add(client.relied);
            At::Use
        }
    };
}

fn after_pinning(model: &StoreModel, client: &Client) -> At {
    match client.task {
        Task::UseTop if model.has(Fault::QueryBeforePin) => At::Use,
        Task::UseTop => At::Query,
        Task::ImportBoth | Task::ImportTop => At::OpenLock,
    }
}

fn query(model: &StoreModel, state: &mut State, number: usize) {
    let client = &mut state.clients[number];
    client.relied = state.disk.rows.and(client.task.pins());
    client.at = match model.has(Fault::QueryBeforePin) {
        true => At::CreateFile,
        false => At::Use,
    };
}

/// The next lock in ascending order.
fn next_lock(model: &StoreModel, state: &State, number: usize) -> Paths {
    let client = &state.clients[number];
    let left = client.task.pins().without(client.held);
    match model.has(Fault::LocksUnordered) && number == 1 {
        true => left.last(),
        false => left.first(),
    }
}

fn open_lock(model: &StoreModel, state: &mut State, number: usize) {
    let path = next_lock(model, state, number);
    let client = &mut state.clients[number];
    if client.todo.is_empty() && model.has(Fault::CleaningWithoutValidityCheck) {
        client.todo = client.task.pins().without(state.disk.rows);
    }
    state.disk.lock_files.add(path);
    client.open.add(path);
    client.at = At::TakeLock;
}

/// A file without a name is waited for by nobody who matters.
fn waits_for_lock(model: &StoreModel, state: &State, number: usize) -> bool {
    let path = next_lock(model, state, number);
    let others = state.clients.iter().enumerate();
    let mut others = others.filter(|(other, _)| *other != number);
    state.clients[number].open.has(path)
        && others.any(|(_, client)| client.held.and(client.open).has(path))
}

/// `flock`, and the look at the file after it: from then on only the holder removes the file.
fn take_lock(model: &StoreModel, state: &mut State, number: usize) {
    let path = next_lock(model, state, number);
    let client = &mut state.clients[number];
    if client.stale.has(path) && !model.has(Fault::LockTakenWithoutStalenessCheck) {
        client.stale.remove(path);
        client.at = At::OpenLock;
        return;
    }
    client.held.add(path);
    client.at = match client.held.has(client.task.pins()) {
        true => At::Recheck,
        false => At::OpenLock,
    };
}

/// What became valid before we had its lock is not touched.
fn recheck(model: &StoreModel, state: &mut State, number: usize) {
    let client = &mut state.clients[number];
    if !model.has(Fault::CleaningWithoutValidityCheck) {
        client.todo = client.task.pins().without(state.disk.rows);
    }
    client.at = match client.todo.is_empty() {
        true => {
            client.relied = client.task.pins();
            At::Release
        }
        false => next_move(client, state.disk.whole.or(state.disk.torn)),
    };
}

fn next_move(client: &Client, there: Paths) -> At {
    match there.has(client.todo.first()) {
        true => At::Clean,
        false => At::Move,
    }
}

fn put_in_place(model: &StoreModel, state: &mut State, number: usize) {
    let disk = &mut state.disk;
    let client = &mut state.clients[number];
    let path = client.todo.first();
    disk.torn.remove(path);
    disk.flushed.remove(path);
    if client.at == At::Clean {
        disk.whole.remove(path);
        client.at = At::Move;
        return;
    }
    disk.whole.add(path);
    client.moved.add(path);
    client.todo.remove(path);
    client.at = match client.todo.is_empty() {
        false => next_move(client, disk.whole.or(disk.torn)),
        true if model.has(Fault::RowCommittedBeforeFlush) => At::Register,
        true => At::Flush,
    };
}

fn flush(model: &StoreModel, state: &mut State, number: usize) {
    let client = &mut state.clients[number];
    if model.has(Fault::RowCommittedBeforeFlush) {
        state.disk.flushed.add(client.relied.and(state.disk.whole));
        client.at = At::Release;
    } else {
        state.disk.flushed.add(client.moved.and(state.disk.whole));
        client.at = At::Register;
    }
}

/// One transaction: what is referred to must be valid.
fn register(model: &StoreModel, state: &mut State, number: usize) {
    let client = &mut state.clients[number];
    let rows = state.disk.rows.or(client.moved);
    if !rows.has(client.moved.references()) {
        client.at = At::Withdraw;
        return;
    }
    state.disk.rows = rows;
    client.moved = Paths::NONE;
    client.relied = client.task.pins();
    client.at = match model.has(Fault::RowCommittedBeforeFlush) {
        true => At::Flush,
        false => At::Release,
    };
}

fn withdraw(state: &mut State, number: usize) {
    let client = &mut state.clients[number];
    state.disk.whole.remove(client.moved);
    state.disk.flushed.remove(client.moved);
    client.moved = Paths::NONE;
    client.failed = true;
    client.at = At::Release;
}

/// Removal and mark of the lock file, then the lock: what comes between them is seen by nobody.
fn release(model: &StoreModel, state: &mut State, number: usize) {
    let client = &mut state.clients[number];
    let path = client.held.first();
    if client.at == At::LateUnlink {
        let path = client.todo;
        client.todo = Paths::NONE;
        state.unlink_lock_file(path);
    } else {
        client.held.remove(path);
        client.open.remove(path);
        client.stale.remove(path);
        if model.has(Fault::LockFileRemovedLast) {
            client.todo = path;
            client.at = At::LateUnlink;
            return;
        }
        state.unlink_lock_file(path);
    }
    let client = &mut state.clients[number];
    client.at = match client.held.is_empty() {
        true => At::Use,
        false => At::Release,
    };
}

fn link(model: &StoreModel, state: &mut State, number: usize) {
    let client = &mut state.clients[number];
    state.disk.links.add(client.relied);
    if model.has(Fault::LinkNotAnnounced) {
        state.disk.promised.add(client.relied);
        client.at = At::Use;
    } else {
        client.unheard = client.relied;
        client.at = At::AskAgain;
    }
}

/// The file of roots goes, and with it the roots.
fn end(state: &mut State, number: usize) {
    let client = &mut state.clients[number];
    *client = Client {
        at: At::Gone,
        read: client.read,
        ..Client::default()
    };
}

const TASKS: u8 = 3;
