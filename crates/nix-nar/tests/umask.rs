//! What a strange umask does to a restored tree. A program of its own, since
//! the umask belongs to the whole process.

#![allow(clippy::unwrap_used, reason = "a test panics where something is amiss")]

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use nix_nar::NarWriter;
use nix_nar::fs::remove::remove_tree;
use nix_nar::fs::restore::{Metadata, RestoreOptions, restore};
use rustix::fs::Mode;

#[test]
fn the_umask_counts_only_where_it_is_asked_for() {
    let mut nar = NarWriter::new(Vec::new());
    nar.directory(b"").unwrap();
    for (name, executable) in [(b"a", false), (b"b", true), (b"c", false), (b"d", true)] {
        nar.regular(name, executable, 1).unwrap();
        nar.contents(b"x").unwrap();
    }
    nar.end_directory().unwrap();
    let nar = nar.finish().unwrap().0;

    let dir = tempfile::tempdir().unwrap();
    let parent = File::open(dir.path()).unwrap();
    for (umask, metadata, modes) in [
        (0o077, Metadata::Umask, [0o700, 0o600, 0o700, 0o600, 0o700]),
        (0o022, Metadata::Umask, [0o755, 0o644, 0o755, 0o644, 0o755]),
        (
            0o077,
            Metadata::Canonical,
            [0o555, 0o444, 0o555, 0o444, 0o555],
        ),
        (
            0o000,
            Metadata::Canonical,
            [0o555, 0o444, 0o555, 0o444, 0o555],
        ),
    ] {
        let name = format!("{umask:o}-{metadata:?}");
        rustix::process::umask(Mode::from_raw_mode(umask));
        let mut options = RestoreOptions::default();
        options.metadata = metadata;
        restore(&mut &nar[..], parent.as_fd(), OsStr::new(&name), &options).unwrap();
        let root = dir.path().join(&name);
        for (entry, mode) in ["", "a", "b", "c", "d"].iter().zip(modes) {
            let found = root.join(entry).metadata().unwrap().mode() & 0o7777;
            assert_eq!(found, mode, "{name}/{entry}: {found:o}");
        }
        remove_tree(parent.as_fd(), OsStr::new(&name)).unwrap();
    }
}
