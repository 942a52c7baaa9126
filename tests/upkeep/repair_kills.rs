//! Kill -9 at any system call of a repair: each object is as it was or as it should be, and the
//! next repair succeeds (REL-13, REL-40). In `cargo xtask soak` every call is a kill point,
//! else every 40th.

use std::ffi::OsStr;
use std::fs::File;

use test_support::{Peer, TempStore, Traced, nar, run_and_kill_at};

use crate::fixture::{NIX_SERVE, Stock, damage, nix_serve, say};

fn repair_and_kill(broken: &TempStore, source: &str, at: u64) -> Traced {
    let address = broken.unflushed_address();
    let words = [
        "verify",
        "--check-metadata",
        "--repair",
        "--from",
        source,
        "--store",
        &address,
    ];
    let input = File::open("/dev/null").unwrap();
    run_and_kill_at(OsStr::new(NIX_SERVE), &words, input, at)
}

/// The archive of each path; nothing where there is no object, or none that can be archived.
fn contents(stock: &Stock, store: &TempStore) -> Vec<Option<Vec<u8>>> {
    let archive = |path: &String| {
        let object = store.on_disk(path);
        object
            .symlink_metadata()
            .ok()
            .map(|_| nar::of_path(&object))
    };
    stock.paths().map(archive).collect()
}

#[test]
fn a_killed_repair_leaves_each_object_old_or_new() {
    let stock = Stock::new(4);
    let source = stock.store.address();
    let broken = stock.copy();
    damage(&stock, &broken, 4, 4);
    let (old, new) = (contents(&stock, &broken), contents(&stock, &stock.store));
    let whole = broken.copy();
    let Traced::Ended { status: 0, calls } = repair_and_kill(&whole, &source, u64::MAX) else {
        panic!("the repair fails without a kill");
    };
    assert_eq!(contents(&stock, &whole), new);
    let step = if std::env::var_os("SOAK").is_some() {
        1
    } else {
        40
    };
    let mut kills = 0;
    for at in (1..=calls).step_by(step) {
        let store = broken.copy();
        if repair_and_kill(&store, &source, at) == Traced::Killed {
            kills += 1;
        }
        let now = contents(&stock, &store);
        for (i, path) in stock.paths().enumerate() {
            let is_one = now[i] == old[i] || now[i] == new[i];
            assert!(is_one, "call {at}: '{path}' is neither old nor new");
        }
        let retry = say(nix_serve(
            &store,
            ["verify", "--check-metadata", "--repair", "--from", &source],
        ));
        assert_eq!(retry.code, Some(0), "call {at}: {retry:?}");
        assert_eq!(contents(&stock, &store), new, "call {at}");
        if kills % 16 == 1
            && let Some(peer) = Peer::all().last()
        {
            store.verify_with(peer);
        }
    }
    assert!(kills > 10, "{kills} kills of {calls} calls");
}
