//! Collections and room on the disk: when there is none left, and before there is none.

use std::fs;
use std::process::{Command, Output};

use test_support::{Peer, SmallDisk, TempStore, run_ok};

const PROGRAM: &str = env!("CARGO_BIN_EXE_nix-serve");

fn nix_serve<const N: usize>(arguments: [&str; N]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Adds a file of `size` bytes; gives its path.
fn add(disk: &SmallDisk, name: &str, size: usize) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(name);
    fs::write(&file, vec![b'x'; size]).unwrap();
    let added = nix_serve(["add", file.to_str().unwrap(), "--store", &disk.address()]);
    assert!(added.status.success(), "{}", stderr(&added));
    String::from_utf8(added.stdout).unwrap().trim().to_owned()
}

fn assert_clean(disk: &SmallDisk) {
    let verified = nix_serve(["verify", "--check-contents", "--store", &disk.address()]);
    assert!(verified.status.success(), "{}", stderr(&verified));
}

#[test]
fn a_full_disk_is_collected_on() {
    let Some(disk) = SmallDisk::mount("a_full_disk_is_collected_on", "32m") else {
        return;
    };
    let kept = add(&disk, "kept", 10_000);
    for number in 0..20 {
        add(&disk, &format!("dead-{number}"), 200_000 + number);
    }
    let root = disk.root().join("nix/var/nix/gcroots/kept");
    std::os::unix::fs::symlink(&kept, root).unwrap();
    disk.fill();
    let collected = nix_serve(["gc", "--store", &disk.address()]);
    assert!(collected.status.success(), "{}", stderr(&collected));
    let said = String::from_utf8_lossy(&collected.stdout).into_owned();
    assert_eq!(said, "20 store paths deleted, 3.8 MiB freed\n");
    assert_eq!(disk.names(), [kept.trim_start_matches("/nix/store/")]);
    assert_clean(&disk);
}

#[test]
fn a_full_disk_without_reserve_leaves_the_store_as_it_is_or_collected() {
    let Some(disk) = SmallDisk::mount("a_full_disk_without_reserve", "8m") else {
        return;
    };
    let address = disk.address();
    let option = ["--option", "gc-reserved-space", "0"];
    let init = nix_serve(["init", "--store", &address, option[0], option[1], option[2]]);
    assert!(init.status.success(), "{}", stderr(&init));
    let file = disk.root().join("file");
    fs::write(&file, vec![b'x'; 100_000]).unwrap();
    let file = file.to_str().unwrap();
    let added = nix_serve([
        "add", file, "--store", &address, option[0], option[1], option[2],
    ]);
    assert!(added.status.success(), "{}", stderr(&added));
    let filler = disk.fill();
    let collected = nix_serve(["gc", "--store", &address, option[0], option[1], option[2]]);
    if !collected.status.success() {
        let said = stderr(&collected);
        assert!(
            said.contains("no room") || said.contains("No space"),
            "{said}"
        );
        assert_eq!(disk.names().len(), 1);
    }
    fs::remove_file(filler).unwrap();
    assert_clean(&disk);
}

/// Adds a file with real Nix or with ours, by settings that ask for more room than there is.
fn add_where_room_is_short(store: &TempStore, mut add: Command) {
    let old = run_ok({
        let mut add = Command::new(PROGRAM);
        add.args([
            "add",
            "/etc/hostname",
            "--name",
            "old",
            "--store",
            &store.address(),
        ]);
        add
    });
    let kept = run_ok({
        let mut add = Command::new(PROGRAM);
        add.args([
            "add",
            "/etc/hostname",
            "--name",
            "kept",
            "--store",
            &store.address(),
        ]);
        add
    });
    std::os::unix::fs::symlink(&kept[0], store.state_dir().join("gcroots/kept")).unwrap();
    let new = tempfile::tempdir().unwrap();
    let file = new.path().join("new");
    fs::write(&file, "new").unwrap();
    add.arg(&file);
    let added = run_ok(add);
    let mut names = store.names();
    names.retain(|name| name != ".links");
    let base = |path: &str| path.trim_start_matches("/nix/store/").to_owned();
    let mut expected = [base(&kept[0]), base(&added[0])];
    expected.sort();
    assert_eq!(names, expected, "{} is gone, others are there", old[0]);
}

#[test]
fn adding_collects_first_where_room_is_short_as_real_nix_does() {
    const SHORT: [&str; 3] = ["--option", "min-free", "1000000000000000"];
    let store = TempStore::new();
    let mut ours = Command::new(PROGRAM);
    ours.args(["add", "--store", &store.address()]).args(SHORT);
    add_where_room_is_short(&store, ours);
    for peer in Peer::all() {
        let store = TempStore::new();
        let mut theirs = peer.command("nix-store");
        theirs
            .args(["--store", &store.address()])
            .args(SHORT)
            .arg("--add");
        add_where_room_is_short(&store, theirs);
    }
}
