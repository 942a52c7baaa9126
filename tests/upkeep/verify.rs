//! `verify`: what is looked at, how fast, and from where on.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use posix::sys::signal::{Signal, kill};
use posix::unistd::Pid;

use crate::fixture::{Stock, damage, nix_serve, say};

#[test]
fn only_the_paths_that_are_named_are_looked_at() {
    let stock = Stock::new(4);
    let broken = stock.copy();
    damage(&stock, &broken, 2, 0);
    let verify = |path: &str| {
        say(nix_serve(
            &broken,
            ["verify", "--check-contents", "--json", path],
        ))
    };
    let bad = verify(&stock.trees[0]);
    assert_eq!((bad.code, &bad.json()["paths"]), (Some(1), &1.into()));
    assert_eq!(bad.json()["problems"][0]["path"], stock.trees[0].as_str());
    assert_eq!(verify(&stock.trees[3]).code, Some(0));
    let unknown = verify("/nix/store/00000000000000000000000000000000-none");
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("is not valid"), "{unknown:?}");
}

#[test]
fn metadata_is_looked_at_on_demand() {
    let stock = Stock::new(2);
    let file = stock.store.on_disk(&stock.texts[0]);
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    let plain = say(nix_serve(&stock.store, ["verify", "--check-contents"]));
    assert_eq!(plain.code, Some(0), "{plain:?}");
    let all = say(nix_serve(&stock.store, ["verify", "--check-metadata"]));
    assert_eq!(all.code, Some(1));
    assert!(
        all.stderr.contains("has mode 0644 instead of 0444"),
        "{all:?}"
    );
    let repair = say(nix_serve(
        &stock.store,
        ["verify", "--check-metadata", "--repair"],
    ));
    assert_eq!(repair.code, Some(0), "{repair:?}");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o444);
}

#[test]
fn a_check_that_was_cut_goes_on_and_still_names_what_it_found() {
    let stock = Stock::new(40);
    let all = stock.paths().count();
    let mut sorted: Vec<&String> = stock.paths().collect();
    sorted.sort();
    let broken = stock.store.on_disk(sorted[3]);
    let victim = match broken.is_dir() {
        true => broken.join("data"),
        false => broken,
    };
    std::fs::remove_file(&victim).unwrap();
    std::fs::write(&victim, "something else").unwrap();
    // About 30 kB of archives, a fifth of them in a second.
    let mut command = nix_serve(
        &stock.store,
        ["verify", "--check-contents", "-v", "--rate", "6K"],
    );
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let goes_on = |line: &String| line.contains(sorted[8].as_str());
    assert!(
        lines.any(|line| goes_on(&line.unwrap())),
        "it came to its end"
    );
    kill(
        Pid::from_raw(child.id().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    lines.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(stock.store.state_dir().join("nix-serve/scrub").is_file());

    // Neither `--resume` nor `--rate` makes sense without reading.
    let resumed = say(nix_serve(
        &stock.store,
        ["verify", "--resume", "--rate", "1G", "--json"],
    ));
    assert_eq!(resumed.code, Some(1), "{resumed:?}");
    let json = resumed.json();
    let (done, skipped) = (&json["paths"], &json["skipped"]);
    assert!(skipped.as_u64().unwrap() >= 6, "{json}");
    assert_eq!(
        done.as_u64().unwrap() + skipped.as_u64().unwrap(),
        all as u64
    );
    assert_eq!(json["problems"][0]["path"], sorted[3].as_str());
    assert!(!stock.store.state_dir().join("nix-serve/scrub").exists());
}

#[test]
fn looking_leaves_no_trace_in_access_times() {
    use std::os::unix::fs::MetadataExt;
    let stock = Stock::new(1);
    let tree = stock.store.on_disk(&stock.trees[0]);
    // In the past by more than a day, when even lazy systems note an access.
    let mut touch = std::process::Command::new("touch");
    touch
        .args(["-a", "-d", "2001-01-01"])
        .arg(&tree)
        .arg(tree.join("data"));
    test_support::run_ok(touch);
    let times = || [&tree, &tree.join("data")].map(|path| std::fs::metadata(path).unwrap().atime());
    let before = times();
    let ran = say(nix_serve(&stock.store, ["verify", "--check-metadata"]));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(times(), before);
}
