//! How far a collection goes that is told to leave something.

use std::fs;
use std::process::Command;

use test_support::{TempStore, run_ok};

const PROGRAM: &str = env!("CARGO_BIN_EXE_nix-serve");

/// A command of the program on a store.
fn command(store: &TempStore, words: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(words).args(["--store", &store.address()]);
    command
}

/// Three dead files of 100 kB, used now, 20 and 30 days ago.
fn stock() -> TempStore {
    let store = TempStore::new();
    let sources = tempfile::tempdir().unwrap();
    // What was used longest ago is registered in between: neither order of rows will do.
    for (name, days) in [("middle", 20), ("old", 30), ("new", 0)] {
        let file = sources.path().join(name);
        fs::write(&file, name.repeat(100_000 / name.len())).unwrap();
        let path = run_ok(command(&store, &["add", file.to_str().unwrap()])).remove(0);
        let mut touch = Command::new("touch");
        let time = format!("{days} days ago");
        touch.args(["-a", "-d", &time]).arg(store.on_disk(&path));
        run_ok(touch);
        let database = rusqlite::Connection::open(store.database()).unwrap();
        let earlier = "update ValidPaths set registrationTime = registrationTime - ? \
                       where path = ?";
        let changed = database.execute(earlier, rusqlite::params![days * 86_400, path]);
        assert_eq!(changed, Ok(1));
    }
    store
}

/// The names of the paths that are there.
fn names(store: &TempStore) -> Vec<String> {
    let names = store.names().into_iter();
    let mut names: Vec<String> = names
        .filter_map(|name| Some(name.split_once('-')?.1.to_owned()))
        .collect();
    names.sort();
    names
}

#[test]
fn with_a_limit_what_was_used_longest_ago_goes_first() {
    let all = ["middle", "new", "old"];
    for (limit, left) in [
        (["--older-than", "40d"], &all[..]),
        (["--older-than", "25d"], &["middle", "new"]),
        (["--older-than", "10d"], &["new"]),
        (["--max-freed", "1"], &["middle", "new"]),
        (["--max-freed", "150K"], &["new"]),
        (["--keep-bytes", "250K"], &["middle", "new"]),
        (["--keep-bytes", "1M"], &all),
        (["--free-bytes", "1"], &all),
        (["--free-bytes", "1000000T"], &[]),
    ] {
        // One for each: a copy would be a use.
        let store = stock();
        run_ok(command(&store, &["gc", "--dry-run", limit[0], limit[1]]));
        assert_eq!(names(&store), all, "{limit:?}");
        run_ok(command(&store, &["gc", limit[0], limit[1]]));
        assert_eq!(names(&store), left, "{limit:?}");
    }
}
