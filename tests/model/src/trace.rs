//! How a run reads: a line for each step, with the function that the step stands for.

use std::fmt::Write;

use crate::model::Happening;
use crate::state::{At, Client, CollectorAt, Paths, State};

/// A line for each step: who, the function in the code, and what came of it.
#[must_use]
pub fn trace(steps: &[(State, Option<Happening>)]) -> String {
    let mut text = String::new();
    for (number, pair) in steps.windows(2).enumerate() {
        let [(before, Some(happening)), (after, _)] = pair else {
            break;
        };
        let line = line(before, *happening, after);
        let _ = writeln!(text, "{:>2}. {line}", number + 1);
    }
    text
}

fn line(before: &State, happening: Happening, after: &State) -> String {
    let name = |number: usize| format!("client {number}");
    match happening {
        Happening::Client(number, _) => {
            format!("{:<10} {}", name(number), client(before, number, after))
        }
        Happening::Answer(number) => {
            let path = before.clients[number].unheard.first();
            format!(
                "{:<10} GcListener: keep {path:?}, answer client {number}",
                "collector"
            )
        }
        Happening::ReadFile(number) => {
            let what = match after.collector.roots == before.collector.roots {
                true => "nothing new".to_owned(),
                false => format!("keep {:?}", before.clients[number].records),
            };
            let what = match before.clients[number].file == after.clients[number].file {
                true => what,
                false => "not locked: remove it".to_owned(),
            };
            format!(
                "{:<10} TempRootsScan::read, file of client {number}: {what}",
                "collector"
            )
        }
        Happening::Collector(_) => format!("{:<10} {}", "collector", collector(before, after)),
        Happening::KillClient(number) => format!("{:<10} KILLED", name(number)),
        Happening::KillCollector => format!("{:<10} KILLED", "collector"),
        Happening::PowerCut => "POWER CUT".to_owned(),
    }
}

fn client(before: &State, number: usize, after: &State) -> String {
    let old = &before.clients[number];
    let new = &after.clients[number];
    match old.at {
        At::Fresh | At::Gone => format!("begin: {:?}", new.task),
        At::CreateFile => "TempRoots::add, RootsFile::create: create".to_owned(),
        At::LockFile if new.at == At::CreateFile => {
            "TempRoots::add, RootsFile::lock: it was removed".to_owned()
        }
        At::LockFile => "TempRoots::add, RootsFile::lock: lock".to_owned(),
        At::Record => format!("TempRoots::add, RootsFile::append: {:?}", new.records),
        At::Ask | At::AskAgain => ask(old, new),
        At::Answer | At::AnswerAgain => "await the answer".to_owned(),
        At::Query => format!("Db::query_valid: {:?}", new.relied),
        At::OpenLock => {
            let opened = new.open.without(old.open);
            format!("LockDir::lock: open {opened:?}")
        }
        At::TakeLock if new.held == old.held => "LockDir::lock: it was removed".to_owned(),
        At::TakeLock => format!("LockDir::lock: lock {:?}", new.held.without(old.held)),
        At::Recheck => format!(
            "ImportBatch::commit_all, Db::query_valid: {:?} to add",
            new.todo
        ),
        At::Clean => format!("StagingDir::move_into_store: clean {:?}", old.todo.first()),
        At::Move => format!("StagingDir::move_into_store: rename {:?}", old.todo.first()),
        At::Flush => "StagingDir::flush_names".to_owned(),
        At::Register => format!(
            "Db::register: {:?}",
            after.disk.rows.without(before.disk.rows)
        ),
        At::Withdraw => format!("ImportBatch::withdraw: {:?}", old.moved),
        At::Release | At::LateUnlink => release(before, number, after),
        At::Use if new.at == At::Link => "decide to make a link".to_owned(),
        At::Use => "TempRoots::drop: end".to_owned(),
        At::Link => format!("add_root: link to {:?}", new.relied),
    }
}

fn ask(old: &Client, new: &Client) -> String {
    match new.at {
        At::Answer | At::AnswerAgain => {
            format!(
                "TempRoots::await_collector, GcSocket::announce: {:?}",
                old.unheard
            )
        }
        _ => "TempRoots::await_collector, GcLockFile::is_free: yes".to_owned(),
    }
}

fn release(before: &State, number: usize, after: &State) -> String {
    let let_go = before.clients[number]
        .held
        .without(after.clients[number].held);
    let removed = before.disk.lock_files.without(after.disk.lock_files);
    match (let_go, removed) {
        (Paths::NONE, removed) => format!("PathLock::release: remove the lock file {removed:?}"),
        (let_go, Paths::NONE) => format!("PathLock::release: unlock {let_go:?}"),
        (let_go, _) => format!("PathLock::release: {let_go:?}"),
    }
}

fn collector(before: &State, after: &State) -> String {
    let path = before.collector.dead.last();
    match before.collector.at {
        CollectorAt::Off => "CollectorLocks::acquire, GcLock::acquire".to_owned(),
        CollectorAt::Listen => "CollectorLocks::acquire, GcListener::start".to_owned(),
        CollectorAt::ReadFiles => "CollectorLocks::acquire, TempRootsScan::read: done".to_owned(),
        CollectorAt::ReadLinks => format!("LocalStore::find_roots: {:?}", before.disk.links),
        CollectorAt::Mark => format!("Marks::mark: {:?} dead", after.collector.dead),
        CollectorAt::Begin if after.collector.pending.has(path) => {
            format!("CollectorLocks::begin: {path:?} is pending")
        }
        CollectorAt::Begin => format!("CollectorLocks::begin: {path:?} is spared"),
        CollectorAt::RemoveRows => {
            let removed = before.disk.rows.without(after.disk.rows);
            format!("Db::invalidate_rows: {removed:?}")
        }
        CollectorAt::RemoveFiles => {
            let path = before.collector.pending.last();
            format!("Remover::take, Pending::drop: {path:?}")
        }
        CollectorAt::StopListening => "CollectorLocks::drop, GcListener::drop".to_owned(),
        CollectorAt::Unlock => "CollectorLocks::drop, GcLock::drop".to_owned(),
    }
}
