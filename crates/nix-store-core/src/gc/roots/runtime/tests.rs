//! Tests of this module, with a directory that looks like `/proc`.

use std::fs;
use std::os::unix::fs::symlink;

use nix_base::StoreDir;

use super::*;

const A: &str = "00000000000000000000000000000001-a";
const B: &str = "00000000000000000000000000000002-b-1.0+x_y?z=1";

struct Proc {
    dir: tempfile::TempDir,
}

impl Proc {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("sys/kernel")).unwrap();
        Self { dir }
    }

    fn process(&self, pid: u32) -> std::path::PathBuf {
        let path = self.dir.path().join(pid.to_string());
        fs::create_dir_all(path.join("fd")).unwrap();
        path
    }

    fn find(&self, layout: &StoreLayout) -> Vec<String> {
        let mut found = Found::default();
        find(layout, self.dir.path(), &mut found);
        assert!(found.notes.is_empty(), "{:?}", found.notes);
        let roots = found.candidates.into_iter();
        let mut printed: Vec<_> = roots
            .map(|root| format!("{} -> {}", root.source, root.target))
            .collect();
        printed.sort();
        printed
    }
}

fn layout() -> StoreLayout {
    StoreLayout::new(StoreDir::default(), "/nix/var/nix", "/nix/var/log/nix")
}

#[test]
fn finds_all_that_a_process_uses() {
    let proc = Proc::new();
    let process = proc.process(17);
    symlink(
        format!("/nix/store/{A}/bin/x (deleted)"),
        process.join("exe"),
    )
    .unwrap();
    symlink(format!("/nix/store/{B}"), process.join("cwd")).unwrap();
    symlink(format!("/nix/store/{A}"), process.join("fd/3")).unwrap();
    symlink("pipe:[1234]", process.join("fd/4")).unwrap();
    symlink("/nix/store", process.join("fd/5")).unwrap();
    symlink(format!("/nix/storeroom/{A}"), process.join("fd/6")).unwrap();
    symlink(format!("/mnt/nix/store/{A}"), process.join("fd/7")).unwrap();
    let maps = format!(
        "7f00-7f01 r--p 0000 00:00 1    /nix/store/{A}/lib/a.so\n\
         7f01-7f02 r-xp 0000 00:00 1    /nix/store/{A}/lib/a.so\n\
         7f02-7f03 r-xp 0000 00:00 1    /nix/store/{B} (deleted)\n\
         7f04-7f05 rw-p 0000 00:00 0    [heap]\n"
    );
    fs::write(process.join("maps"), maps).unwrap();
    let environ = format!("PATH=/bin:/nix/store/{B}/bin:/nix/store/{A}\0X=/nix/store/short\0");
    fs::write(process.join("environ"), environ).unwrap();
    fs::write(proc.dir.path().join("self"), format!("/nix/store/{A}")).unwrap();
    let modprobe = proc.dir.path().join("sys/kernel/modprobe");
    fs::write(&modprobe, format!("/nix/store/{B}/bin/modprobe\n")).unwrap();
    let mut expected = [
        format!("/proc/17/exe -> {A}"),
        format!("/proc/17/cwd -> {B}"),
        format!("/proc/17/fd/3 -> {A}"),
        format!("/proc/17/maps -> {A}"),
        format!("/proc/17/maps -> {B}"),
        format!("/proc/17/environ -> {A}"),
        format!("/proc/17/environ -> {B}"),
        format!("{} -> {B}", modprobe.display()),
    ];
    expected.sort();
    assert_eq!(proc.find(&layout()), expected);
}

#[test]
fn finds_files_of_a_chroot_store_where_they_are() {
    let proc = Proc::new();
    let process = proc.process(17);
    symlink(format!("/x/nix/store/{A}/bin"), process.join("cwd")).unwrap();
    fs::write(process.join("environ"), format!("A=/nix/store/{B}")).unwrap();
    let layout = StoreLayout::chroot(StoreDir::default(), Path::new("/x"));
    let expected = [
        format!("/proc/17/cwd -> {A}"),
        format!("/proc/17/environ -> {B}"),
    ];
    assert_eq!(proc.find(&layout), expected);
}

#[test]
fn a_process_that_ends_meanwhile_is_no_error() {
    let proc = Proc::new();
    let bare = proc.dir.path().join("18");
    fs::create_dir(bare).unwrap();
    assert!(proc.find(&layout()).is_empty());
}

#[test]
fn without_processes_to_look_at_nothing_is_complete() {
    let dir = tempfile::tempdir().unwrap();
    let mut found = Found::default();
    find(&layout(), &dir.path().join("absent"), &mut found);
    assert_eq!(found.notes.len(), 1);
}

#[test]
fn finds_this_process() {
    // What it has mapped is never below a store directory of this name; what it has open can be.
    let root = tempfile::tempdir().unwrap();
    let layout = StoreLayout::chroot(StoreDir::default(), root.path());
    fs::create_dir_all(&layout.real_store).unwrap();
    let file = layout.real_store.join(A);
    fs::write(&file, "x").unwrap();
    let _open = File::open(&file).unwrap();
    let mut found = Found::default();
    find(&layout, Path::new("/proc"), &mut found);
    let us = std::process::id();
    assert!(found.candidates.iter().any(|root| {
        root.target.to_string() == A
            && matches!(
                root.source,
                RootSource::Process { pid, what: ProcessUse::Descriptor(_) } if pid == us
            )
    }));
}
