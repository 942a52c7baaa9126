//! `verify --repair`: a store with many damaged paths is whole again, and each is named.

use std::collections::{BTreeMap, BTreeSet};

use test_support::{Peer, TempStore, verify_command};

use crate::fixture::{Damage, Stock, damage, nix_serve, say, served_by, served_by_us};

const REPAIR: [&str; 5] = ["verify", "--check-metadata", "--json", "--repair", "--from"];

/// What the report says of each path.
fn told(json: &serde_json::Value) -> BTreeMap<String, (String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let problems = json["problems"].as_array().unwrap();
    let entry = |p: &serde_json::Value| (text(&p["path"]), (text(&p["kind"]), text(&p["state"])));
    let told: BTreeMap<_, _> = problems.iter().map(entry).collect();
    assert_eq!(told.len(), problems.len(), "a path is named twice");
    told
}

fn expected(damaged: &BTreeMap<String, Damage>, state: &str) -> BTreeMap<String, (String, String)> {
    let entry = |(path, kind): (&String, &Damage)| {
        (path.clone(), (kind.kind().to_owned(), state.to_owned()))
    };
    damaged.iter().map(entry).collect()
}

#[track_caller]
fn assert_whole(store: &TempStore) {
    let check = say(nix_serve(store, ["verify", "--check-metadata", "--json"]));
    assert_eq!(check.code, Some(0), "{check:?}");
    if let Some(peer) = Peer::all().last() {
        store.verify_with(peer);
    }
    let leftovers: Vec<String> = store
        .names()
        .into_iter()
        .filter(|name| name.contains("tmp-") || name.ends_with(".lock"))
        .collect();
    assert_eq!(leftovers, [""; 0]);
}

/// The paths that real Nix names.
fn named_by(peer: &Peer, store: &TempStore) -> BTreeSet<String> {
    let mut command = peer.command("nix-store");
    command.args(["--store", &store.address(), "--verify", "--check-contents"]);
    let report = verify_command(command);
    let path_in = |line: &str| {
        let start = line.find("/nix/store/")?;
        let end = line[start..]
            .find(['\'', '/', '"'])
            .map_or(line.len(), |_| {
                let rest = &line[start + "/nix/store/".len()..];
                let length = rest.find(['\'', '/', '"', ' ']).unwrap_or(rest.len());
                start + "/nix/store/".len() + length
            });
        Some(line[start..end].to_owned())
    };
    report
        .problems
        .iter()
        .filter_map(|line| path_in(line))
        .collect()
}

/// Repairs most paths of a store from a source: 50 trees and 50 texts, if there are as many.
fn repairs_from(stock: &Stock, address: &str) {
    let broken = stock.copy();
    let damaged = damage(stock, &broken, 50, 50);
    let ran = say(nix_serve(&broken, REPAIR.iter().chain([&address])));
    assert_eq!(ran.code, Some(0), "{address}: {ran:?}");
    assert_eq!(
        told(&ran.json()),
        expected(&damaged, "repaired"),
        "{address}"
    );
    for path in damaged.keys() {
        assert!(
            ran.stderr.contains(&format!("repaired path '{path}'")),
            "{path}"
        );
    }
    assert_whole(&broken);
}

#[test]
fn a_hundred_damaged_paths_are_restored_from_our_server() {
    let stock = Stock::new(60);
    repairs_from(&stock, &served_by_us(&stock.store));
    assert_eq!(stock.paths().count(), 120);
}

#[test]
fn a_hundred_damaged_paths_are_restored_from_real_servers() {
    let stock = Stock::new(60);
    for peer in Peer::required() {
        repairs_from(&stock, &served_by(peer, &stock.store));
    }
}

#[test]
fn damaged_paths_are_restored_from_another_local_store() {
    let stock = Stock::new(12);
    repairs_from(&stock, &stock.store.address());
}

#[test]
fn damaged_paths_are_restored_from_caches_of_real_nix() {
    let stock = Stock::new(12);
    let all: Vec<&String> = stock.paths().collect();
    let Some(peer) = Peer::all().last() else {
        return test_support::say_missing("a real Nix that makes a cache", true);
    };
    for compression in ["none", "xz", "bzip2", "zstd", "gzip"] {
        let cache = tempfile::tempdir().unwrap();
        let address = format!(
            "file://{}?compression={compression}",
            cache.path().display()
        );
        let mut command = peer.command("nix");
        command.args(["copy", "--store", &stock.store.address(), "--to", &address]);
        command.args(&all);
        test_support::run_ok(command);
        repairs_from(&stock, &address);
    }
}

#[test]
fn without_repair_nothing_is_changed_and_real_nix_sees_the_same() {
    let stock = Stock::new(60);
    let broken = stock.copy();
    let damaged = damage(&stock, &broken, 50, 50);
    for _ in 0..2 {
        let ran = say(nix_serve(&broken, ["verify", "--check-metadata", "--json"]));
        assert_eq!(ran.code, Some(1));
        assert_eq!(told(&ran.json()), expected(&damaged, "wrong"));
        assert!(
            damaged
                .keys()
                .all(|path| ran.stderr.contains(path.as_str()))
        );
    }
    let by_content = |(_, kind): &(&String, &Damage)| **kind != Damage::Metadata;
    let theirs: BTreeSet<String> = damaged
        .iter()
        .filter(by_content)
        .map(|(path, _)| path.clone())
        .collect();
    for peer in Peer::all() {
        let named = named_by(peer, &broken.copy());
        assert_eq!(named, theirs, "{}", peer.label());
    }
}

#[test]
fn what_no_source_has_stays_and_is_said() {
    let stock = Stock::new(6);
    let broken = stock.copy();
    let damaged = damage(&stock, &broken, 6, 0);
    let empty = TempStore::new();
    drop(crate::fixture::open(&empty));
    let ran = say(nix_serve(
        &broken,
        REPAIR.iter().chain([&&*served_by_us(&empty)]),
    ));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    // Texts need all the trees.
    assert_eq!(told(&ran.json()), expected(&damaged, "wrong"));
    for problem in ran.json()["problems"].as_array().unwrap() {
        assert_eq!(problem["error"], "no source has it with the recorded hash");
    }
    // Two sources: the second one has everything.
    let (first, second) = (served_by_us(&empty), served_by_us(&stock.store));
    let both = [first.as_str(), "--from", second.as_str()];
    let ran = say(nix_serve(&broken, REPAIR.into_iter().chain(both)));
    assert_eq!(told(&ran.json()), expected(&damaged, "repaired"));
    assert_whole(&broken);
}

#[test]
fn a_source_whose_copy_is_damaged_too_is_passed_over() {
    let stock = Stock::new(10);
    let (broken, bad_mirror) = (stock.copy(), stock.copy());
    let damaged = damage(&stock, &broken, 10, 0);
    damage(&stock, &bad_mirror, 10, 0);
    let (first, second) = (served_by_us(&bad_mirror), served_by_us(&stock.store));
    let ran = say(nix_serve(&broken, REPAIR.iter().chain([&first.as_str()])));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let both = [first.as_str(), "--from", second.as_str()];
    let ran = say(nix_serve(&broken, REPAIR.into_iter().chain(both)));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        told(&ran.json()).len() >= damaged.len() - 2,
        "all but what needs no source"
    );
    assert_whole(&broken);
}

#[test]
fn lost_paths_are_forgotten_only_when_nothing_needs_them() {
    let stock = Stock::new(3);
    let broken = stock.copy();
    // The last text is needed by nothing, the first tree by a text that is there.
    for path in [&stock.texts[2], &stock.trees[2], &stock.trees[0]] {
        test_support::run_ok({
            let mut command = std::process::Command::new("rm");
            command.arg("-rf").arg(broken.on_disk(path));
            command
        });
    }
    let ran = say(nix_serve(&broken, ["verify", "--json", "--repair"]));
    assert_eq!(ran.code, Some(1));
    let told = told(&ran.json());
    let state = |path: &String| told[path].1.clone();
    assert_eq!(state(&stock.texts[2]), "forgotten");
    assert_eq!(state(&stock.trees[2]), "forgotten");
    assert_eq!(state(&stock.trees[0]), "wrong");
    assert!(
        ran.stderr
            .contains("disappeared, but it still has valid referrers!")
    );
}
