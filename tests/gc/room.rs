//! Collections and room on the disk: when there is none left, and before there is none.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output};

use test_support::{Peer, TempStore, run_ok, say};

const PROGRAM: &str = env!("CARGO_BIN_EXE_nix-serve");

fn nix_serve<const N: usize>(arguments: [&str; N]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A store on a small file system of its own, which only root can have.
struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    fn mount(test: &str, size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let options = format!("size={size},mode=0755");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(directory.path())
            .output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            assert!(
                std::env::var_os("CI").is_none() || !rustix_is_root(),
                "{test}: root can mount file systems"
            );
            say(&format!(
                "SKIPPED: {test}: NO RIGHT TO MOUNT A SMALL FILE SYSTEM"
            ));
            return None;
        }
        Some(Self { directory })
    }

    fn address(&self) -> String {
        format!("local?root={}", self.directory.path().display())
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("nix/store")
    }

    /// Adds a file of `size` bytes; gives its path.
    fn add(&self, name: &str, size: usize) -> String {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(name);
        fs::write(&file, vec![b'x'; size]).unwrap();
        let added = nix_serve(["add", file.to_str().unwrap(), "--store", &self.address()]);
        assert!(added.status.success(), "{}", stderr(&added));
        String::from_utf8(added.stdout).unwrap().trim().to_owned()
    }

    /// Leaves no byte free.
    fn fill(&self) {
        let mut filler = File::create(self.directory.path().join("filler")).unwrap();
        let block = vec![b'f'; 1 << 16];
        while filler.write_all(&block).is_ok() {}
        while filler.write_all(b"f").is_ok() {}
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.store()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != ".links").collect()
    }

    fn assert_clean(&self) {
        let verified = nix_serve(["verify", "--check-contents", "--store", &self.address()]);
        assert!(verified.status.success(), "{}", stderr(&verified));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.directory.path())
            .status();
    }
}

fn rustix_is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

#[test]
fn a_full_disk_is_collected_on() {
    let Some(disk) = Disk::mount("a_full_disk_is_collected_on", "32m") else {
        return;
    };
    let kept = disk.add("kept", 10_000);
    for number in 0..20 {
        disk.add(&format!("dead-{number}"), 200_000 + number);
    }
    let root = disk.directory.path().join("nix/var/nix/gcroots/kept");
    std::os::unix::fs::symlink(&kept, root).unwrap();
    disk.fill();
    let collected = nix_serve(["gc", "--store", &disk.address()]);
    assert!(collected.status.success(), "{}", stderr(&collected));
    let said = String::from_utf8_lossy(&collected.stdout).into_owned();
    assert_eq!(said, "20 store paths deleted, 3.8 MiB freed\n");
    assert_eq!(disk.names(), [kept.trim_start_matches("/nix/store/")]);
    disk.assert_clean();
}

#[test]
fn a_full_disk_without_reserve_leaves_the_store_as_it_is_or_collected() {
    let Some(disk) = Disk::mount("a_full_disk_without_reserve", "8m") else {
        return;
    };
    let address = disk.address();
    let option = ["--option", "gc-reserved-space", "0"];
    let init = nix_serve(["init", "--store", &address, option[0], option[1], option[2]]);
    assert!(init.status.success(), "{}", stderr(&init));
    let file = disk.directory.path().join("file");
    fs::write(&file, vec![b'x'; 100_000]).unwrap();
    let file = file.to_str().unwrap();
    let added = nix_serve([
        "add", file, "--store", &address, option[0], option[1], option[2],
    ]);
    assert!(added.status.success(), "{}", stderr(&added));
    disk.fill();
    let collected = nix_serve(["gc", "--store", &address, option[0], option[1], option[2]]);
    if !collected.status.success() {
        let said = stderr(&collected);
        assert!(
            said.contains("no room") || said.contains("No space"),
            "{said}"
        );
        assert_eq!(disk.names().len(), 1);
    }
    fs::remove_file(disk.directory.path().join("filler")).unwrap();
    disk.assert_clean();
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
