//! `optimise`: the same files are shared as with real Nix, whoever shares them, and a kill at
//! any time does no harm.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use nix_base::StorePathName;
use test_support::{Peer, TempStore, Traced, collect_really, nar, run, run_and_kill_at, run_ok};

use crate::fixture::{NIX_SERVE, Stock, nix_serve, open, say};

/// A store with many equal files of all kinds.
fn stock() -> Stock {
    let stock = Stock::new(6);
    let local = open(&stock.store);
    let sources = tempfile::tempdir().unwrap();
    for i in 0..3 {
        let source = sources.path().join(i.to_string());
        fs::create_dir_all(source.join("empty-dir")).unwrap();
        fs::create_dir_all(source.join("a/b/c")).unwrap();
        for j in 0..8 {
            fs::write(
                source.join(format!("a/b/f{j}")),
                format!("text {}\n", j % 3),
            )
            .unwrap();
        }
        for place in ["one", "a/two"] {
            fs::write(source.join(place), "").unwrap();
        }
        // The same bytes as the data of a tree, and as a text; one of them a program.
        fs::write(source.join("a/data"), "contents of tree 0\n").unwrap();
        let program = source.join("a/b/c/data");
        fs::write(&program, "contents of tree 0\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        symlink("data", source.join("a/b/link")).unwrap();
        symlink("/nowhere", source.join(format!("a/link-{i}"))).unwrap();
        let name = StorePathName::new(&format!("more-{i}")).unwrap();
        local.add_source(&source, &name).unwrap();
        for copy in ["alone", "again"] {
            let name = StorePathName::new(&format!("{copy}-{i}")).unwrap();
            local.add_source(&source.join("a/data"), &name).unwrap();
        }
    }
    drop(local);
    stock
}

/// For each file and symlink of the store's objects, the first that shares its inode.
fn sharing(store: &TempStore) -> BTreeMap<String, String> {
    let mut inodes = BTreeMap::new();
    let mut shared = BTreeMap::new();
    for path in leaves(&store.store_dir()) {
        let inode = path.1;
        let first = inodes.entry(inode).or_insert_with(|| path.0.clone());
        shared.insert(path.0, first.clone());
    }
    shared
}

/// Files and symlinks with their inodes, in the order of their paths.
fn leaves(root: &Path) -> BTreeSet<(String, u64)> {
    let mut found = BTreeSet::new();
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy();
            // The private directory of a killed process is there for collectors.
            if name == ".links" || name.contains("-tmp-") {
                continue;
            }
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                todo.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                found.insert((name, metadata.ino()));
            }
        }
    }
    found
}

fn links(store: &TempStore) -> BTreeSet<String> {
    let entries = fs::read_dir(store.store_dir().join(".links")).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// `nix-store --optimise` of real Nix; gives the number of files that it linked.
fn real_optimise(peer: &Peer, store: &TempStore) -> u64 {
    let mut command = peer.command("nix-store");
    command.args(["--store", &store.address(), "--optimise"]);
    let output = run(command);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    let line = text.lines().find(|line| line.contains("freed by")).unwrap();
    let mut words = line.split_whitespace().rev().skip(1);
    words.next().unwrap().parse().unwrap()
}

fn our_optimise(store: &TempStore) -> serde_json::Value {
    let said = say(nix_serve(store, ["optimise", "--json"]));
    assert_eq!(said.code, Some(0), "{said:?}");
    said.json()
}

#[test]
fn the_same_files_are_shared_as_by_real_nix() {
    let stock = stock();
    let ours = stock.copy();
    let report = our_optimise(&ours);
    assert!(report["linkedFiles"].as_u64().unwrap() > 40, "{report}");
    for peer in Peer::all() {
        let theirs = stock.copy();
        let linked = real_optimise(peer, &theirs);
        assert_eq!(report["linkedFiles"], linked, "{}", peer.label());
        assert_eq!(links(&ours), links(&theirs), "{}", peer.label());
        assert!(sharing(&ours) == sharing(&theirs), "{}", peer.label());
        // Each finds nothing to do after the other.
        let again = our_optimise(&theirs);
        assert_eq!(
            (&again["hashedFiles"], &again["linkedFiles"]),
            (&0.into(), &0.into())
        );
        let before = leaves(&ours.store_dir());
        assert_eq!(real_optimise(peer, &ours), 0, "{}", peer.label());
        assert_eq!(leaves(&ours.store_dir()), before, "{}", peer.label());
        ours.verify_with(peer);
    }
}

#[test]
fn a_dry_run_tells_the_numbers_of_a_real_one() {
    let stock = stock();
    let dry = say(nix_serve(&stock.store, ["optimise", "--dry-run", "--json"]));
    let told = dry.json();
    assert!(links(&stock.store).is_empty());
    let mut done = our_optimise(&stock.store);
    done["dryRun"] = true.into();
    assert_eq!(told, done);
    assert!(
        dry.stderr.contains("would be freed by hard-linking"),
        "{dry:?}"
    );
}

/// What is added is shared as real Nix shares it.
#[test]
fn what_is_added_is_shared_at_once_on_demand() {
    let stock = stock();
    let sources = tempfile::tempdir().unwrap();
    let source = sources.path().join("tree");
    let model = stock.store.on_disk(&stock.trees[1]);
    run_ok({
        let mut command = Command::new("cp");
        command.arg("-r").arg(model).arg(&source);
        command
    });
    run_ok({
        let mut command = Command::new("chmod");
        command.args(["-R", "u+w"]).arg(&source);
        command
    });
    fs::write(source.join("new"), "new\n").unwrap();
    fs::write(source.join("share/new"), "new\n").unwrap();
    let ours = stock.copy();
    let words = ["add", "--option", "auto-optimise-store", "true"];
    let mut add = nix_serve(&ours, words);
    add.arg(&source);
    let path = run_ok(add);
    let added = our_sharing_of(&ours, &path[0]);
    for peer in Peer::all() {
        let theirs = stock.copy();
        let mut add = peer.command("nix-store");
        add.args([
            "--store",
            &theirs.address(),
            "--option",
            "auto-optimise-store",
            "true",
        ]);
        add.arg("--add").arg(&source);
        assert_eq!(run_ok(add), path);
        assert_eq!(links(&ours), links(&theirs), "{}", peer.label());
        assert_eq!(added, our_sharing_of(&theirs, &path[0]), "{}", peer.label());
        let before = leaves(&ours.store_dir());
        let rest = ours.copy();
        assert_eq!(
            our_optimise(&rest)["linkedFiles"],
            real_optimise(peer, &theirs)
        );
        assert_eq!(sharing(&rest), sharing(&theirs), "{}", peer.label());
        assert_eq!(leaves(&ours.store_dir()), before);
        ours.verify_with(peer);
    }
}

fn our_sharing_of(store: &TempStore, path: &str) -> BTreeMap<String, String> {
    let base = path.rsplit('/').next().unwrap();
    let mut shared = sharing(store);
    shared.retain(|name, _| name.starts_with(base));
    shared
}

fn optimise_and_kill(store: &TempStore, at: u64) -> Traced {
    let address = store.unflushed_address();
    let words = ["optimise", "--store", &address];
    let input = File::open("/dev/null").unwrap();
    run_and_kill_at(OsStr::new(NIX_SERVE), &words, input, at)
}

fn add_and_kill(store: &TempStore, source: &Path, at: u64) -> Traced {
    let address = store.unflushed_address();
    let source = source.display().to_string();
    let words = [
        "add",
        "--option",
        "auto-optimise-store",
        "true",
        "--store",
        &address,
        &source,
    ];
    let input = File::open("/dev/null").unwrap();
    run_and_kill_at(OsStr::new(NIX_SERVE), &words, input, at)
}

fn contents(stock: &Stock, store: &TempStore) -> Vec<Vec<u8>> {
    let archive = |path: &String| nar::of_path(&store.on_disk(path));
    stock.paths().map(archive).collect()
}

/// Every directory and file of valid paths has the mode and time that it has to have.
fn assert_canonical(store: &TempStore, what: &str) {
    let said = say(nix_serve(store, ["verify", "--check-metadata"]));
    assert_eq!(said.code, Some(0), "{what}: {said:?}");
}

/// Real Nix looks at some of the stores, each release in turn; it takes its time.
fn judge(store: &TempStore, number: usize) {
    let peers: Vec<&Peer> = Peer::all().iter().collect();
    if number.is_multiple_of(JUDGED)
        && let Some(peer) = peers.get(number / JUDGED % peers.len().max(1))
    {
        store.verify_with(peer);
    }
}

const JUDGED: usize = 6;

fn step() -> usize {
    if std::env::var_os("SOAK").is_some() {
        1
    } else {
        20
    }
}

#[test]
fn a_killed_run_leaves_every_object_whole_and_the_next_one_finishes() {
    let stock = stock();
    let old = contents(&stock, &stock.store);
    let whole = stock.copy();
    let Traced::Ended { status: 0, calls } = optimise_and_kill(&whole, u64::MAX) else {
        panic!("the run fails without a kill");
    };
    let mut kills = 0;
    for at in (1..=calls).step_by(step()) {
        let store = stock.copy();
        let what = format!("killed at system call {at} of {calls}");
        kills += usize::from(optimise_and_kill(&store, at) == Traced::Killed);
        assert_eq!(contents(&stock, &store), old, "{what}");
        judge(&store, kills);
        our_optimise(&store);
        assert_canonical(&store, &what);
        assert_eq!(links(&store), links(&whole), "{what}");
        assert!(sharing(&store) == sharing(&whole), "{what}");
    }
    test_support::say(&format!(
        "kill points: optimise: {kills} of {calls} system calls"
    ));
    assert!(kills >= 10, "only {kills} kill points");
}

#[test]
fn a_killed_addition_that_shares_files_leaves_a_clean_store() {
    let stock = stock();
    let sources = tempfile::tempdir().unwrap();
    let source = sources.path().join("tree");
    fs::create_dir_all(source.join("a/b")).unwrap();
    for i in 0..20 {
        fs::write(
            source.join(format!("a/b/f{i}")),
            format!("text {}\n", i % 5),
        )
        .unwrap();
    }
    our_optimise(&stock.store);
    let old = contents(&stock, &stock.store);
    let whole = stock.copy();
    let Traced::Ended { status: 0, calls } = add_and_kill(&whole, &source, u64::MAX) else {
        panic!("the addition fails without a kill");
    };
    let mut kills = 0;
    for at in (1..=calls).step_by(step()) {
        let store = stock.copy();
        let what = format!("killed at system call {at} of {calls}");
        kills += usize::from(add_and_kill(&store, &source, at) == Traced::Killed);
        assert_eq!(contents(&stock, &store), old, "{what}");
        judge(&store, kills);
        assert!(matches!(
            add_and_kill(&store, &source, u64::MAX),
            Traced::Ended { status: 0, .. }
        ));
        assert_canonical(&store, &what);
    }
    test_support::say(&format!(
        "kill points: shared addition: {kills} of {calls} system calls"
    ));
    assert!(kills >= 10, "only {kills} kill points");
}

/// Directories that their owner may not write are no obstacle, and stay so.
#[test]
fn an_ordinary_user_can_optimise_too() {
    if !rustix::process::geteuid().is_root() {
        // Then all other tests were run by one.
        return;
    }
    let stock = stock();
    let program = tempfile::tempdir().unwrap();
    let copied = program.path().join("nix-serve");
    fs::copy(NIX_SERVE, &copied).unwrap();
    let open_up = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    open_up(program.path());
    open_up(stock.store.root());
    let mut chown = Command::new("chown");
    chown.args(["-Rh", "65534:65534"]).arg(stock.store.root());
    run_ok(chown);
    let as_nobody = |words: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.arg(&copied).args(words);
        command.args(["--store", &stock.store.address()]);
        command
            .env("HOME", "/nonexistent")
            .env("NIX_CONF_DIR", "/nonexistent");
        command
    };
    let whole = stock.copy();
    let expected = our_optimise(&whole);
    let report = say(as_nobody(&["optimise", "--json"]));
    assert_eq!(report.code, Some(0), "{report:?}");
    assert_eq!(report.json(), expected);
    assert!(sharing(&stock.store) == sharing(&whole));
    let verified = say(as_nobody(&[
        "verify",
        "--check-contents",
        "--check-metadata",
    ]));
    assert_eq!(verified.code, Some(0), "{verified:?}");
    // What can't be opened is passed over.
    let closed = stock.store.on_disk(&stock.trees[0]);
    fs::set_permissions(closed, fs::Permissions::from_mode(0o000)).unwrap();
    let report = say(as_nobody(&["optimise", "--json"]));
    assert_eq!(report.code, Some(0), "{report:?}");
    assert_eq!(report.json()["unreadableFiles"], 1);
}

/// Whoever loses a race says nothing (REL-25): paths come and go while files are shared.
#[test]
fn beside_additions_and_collections_nothing_fails() {
    let store = TempStore::new();
    drop(open(&store));
    let peers: Vec<&Peer> = Peer::all().iter().filter(|p| p.is_at_least(2, 5)).collect();
    let is_done = std::sync::atomic::AtomicBool::new(false);
    let order = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _done = SetAtEnd(&is_done);
            for round in 0..12 {
                add_trees(&store, round);
            }
        });
        scope.spawn(|| {
            let mut round = 0;
            while !is_done.load(order) {
                match peers.get(round % (peers.len() + 1)) {
                    Some(peer) => {
                        let mut collect = peer.command("nix-store");
                        collect.args(["--gc", "--store", &store.address()]);
                        collect_really(collect);
                    }
                    None => {
                        let mut collect = Command::new(NIX_SERVE);
                        collect.args(["gc", "--store", &store.address()]);
                        run_ok(collect);
                    }
                }
                round += 1;
            }
        });
        scope.spawn(|| {
            while !is_done.load(order) {
                let report = our_optimise(&store);
                assert_eq!(report["unreadableFiles"], 0, "{report}");
                assert_eq!(report["corruptedLinks"], serde_json::json!([]), "{report}");
            }
        });
    });
    for peer in peers {
        store.verify_with(peer);
    }
    our_optimise(&store);
    assert_canonical(&store, "after all");
}

/// Also if it ends by a panic.
struct SetAtEnd<'f>(&'f std::sync::atomic::AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Trees of equal files and single files, that nothing refers to; each is whole while it is
/// pinned.
fn add_trees(store: &TempStore, round: usize) {
    let local = open(store);
    let sources = tempfile::tempdir().unwrap();
    let mut added = Vec::new();
    for number in 0..6 {
        let source = sources.path().join(number.to_string());
        fs::create_dir_all(source.join("a/b")).unwrap();
        for file in 0..20 {
            let text = format!("text {}\n", (file + round) % 25);
            fs::write(source.join(format!("a/b/f{file}")), text).unwrap();
        }
        fs::write(source.join("own"), format!("{round} {number}\n")).unwrap();
        let name = |kind: &str| StorePathName::new(&format!("{kind}-{round}-{number}")).unwrap();
        added.push((
            local.add_source(&source, &name("tree")).unwrap(),
            source.clone(),
        ));
        let single = source.join("a/b/f0");
        added.push((local.add_source(&single, &name("file")).unwrap(), single));
    }
    for (path, source) in added {
        assert!(local.is_valid(&path).unwrap(), "{path}");
        let real = local.layout().real_path(&path);
        assert_eq!(nar::of_path(&real), nar::of_path(&source), "{path}");
    }
}
