//! What a power cut would leave, told from the order of system calls: no row is written before
//! what it makes valid is on disk (REL-10, and the bug of REL-54 that commits before it flushes).

use std::ffi::OsStr;
use std::fs::File;
use std::process::Command;

use test_support::{Call, TempStore, calls_of, run_ok};

use super::kills::{SERVER, import};

/// What matters of a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// An object is renamed to its place.
    Rename,
    /// Something is flushed.
    Flush,
    /// The database is written to.
    Row,
}

fn steps(durability: &str) -> Vec<Step> {
    let store = TempStore::new();
    run_ok({
        let mut init = Command::new(SERVER);
        init.args(["init", "--store", &store.address()]);
        init
    });
    let import = import(3, false);
    let address = format!("{}&durability={durability}", store.address());
    let arguments = ["serve", "--write", "--store", &address];
    let request = File::open(import.request.path()).unwrap();
    let calls = calls_of(OsStr::new(SERVER), &arguments, request);
    calls.iter().filter_map(|call| step(call, &store)).collect()
}

fn step(call: &Call, store: &TempStore) -> Option<Step> {
    let is_object = call.file.starts_with(store.root().join("nix/store"));
    let is_database = call.file.ends_with("db.sqlite-wal");
    match call.number {
        libc::SYS_renameat | libc::SYS_renameat2 if is_object => Some(Step::Rename),
        libc::SYS_fsync | libc::SYS_fdatasync | libc::SYS_syncfs if is_object => Some(Step::Flush),
        libc::SYS_write | libc::SYS_pwrite64 if is_database => Some(Step::Row),
        _ => None,
    }
}

#[test]
fn contents_and_names_are_flushed_before_the_row() {
    let steps = steps("ordered");
    let last_rename = steps
        .iter()
        .rposition(|step| *step == Step::Rename)
        .unwrap();
    let after = &steps[last_rename + 1..];
    let row = after.iter().position(|step| *step == Step::Row).unwrap();
    assert!(after[..row].contains(&Step::Flush), "{steps:?}");
    assert!(!steps[..last_rename].contains(&Step::Row), "{steps:?}");
}

/// Without it, the test above would say nothing.
#[test]
fn nothing_is_flushed_where_durability_is_given_up() {
    let steps = steps("none");
    assert!(!steps.contains(&Step::Flush), "{steps:?}");
    assert!(steps.contains(&Step::Rename), "{steps:?}");
    assert!(steps.contains(&Step::Row), "{steps:?}");
}
