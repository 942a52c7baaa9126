//! The archives and export streams that other implementations keep as test vectors.

#![allow(clippy::unwrap_used, reason = "a test panics where something is amiss")]

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;

use nix_base::StoreDir;
use nix_nar::export::{ExportReader, ExportWriter};
use nix_nar::fs::restore::RestoreOptions;
use nix_nar::fs::{dump, restore};
use nix_nar::{Result, copy};
use test_support::vectors::{self, Expect};

/// Copies, restores and dumps an archive; both ways must give its bytes.
fn round_trip(nar: &[u8]) -> Result<()> {
    let mut copied = Vec::new();
    copy(&mut &nar[..], &mut copied)?;
    assert!(copied == nar, "the copy differs");
    let dir = tempfile::tempdir().unwrap();
    let parent = File::open(dir.path()).unwrap();
    let root = OsStr::new("root");
    restore::restore(
        &mut &nar[..],
        parent.as_fd(),
        root,
        &RestoreOptions::default(),
    )?;
    let mut dumped = Vec::new();
    dump::dump(&dir.path().join(root), &mut dumped)?;
    assert!(dumped == nar, "the dump differs");
    Ok(())
}

#[test]
fn archives_are_accepted_or_refused_as_elsewhere() {
    let mut cases = 0;
    for vector in vectors::with_format("nar") {
        cases += 1;
        let result = round_trip(&vector.read());
        match vector.expect {
            Expect::Accept => result.unwrap_or_else(|e| panic!("'{}': {e}", vector.file)),
            Expect::Reject => assert!(result.is_err(), "'{}' was accepted", vector.file),
            Expect::Either => {}
        }
    }
    vectors::report("nar", cases);
}

#[test]
fn export_streams_are_read_and_written_again() {
    let store_dir = StoreDir::default();
    let mut cases = 0;
    for vector in vectors::with_format("export") {
        cases += 1;
        let stream = vector.read();
        let mut reader = ExportReader::new(&stream[..]);
        let mut writer = ExportWriter::new(Vec::new());
        while reader.next_archive().unwrap() {
            let mut nar = Vec::new();
            copy(reader.archive(), &mut nar).unwrap();
            let expected = std::fs::read(vector.companion("nar").unwrap()).unwrap();
            assert!(nar == expected, "'{}'", vector.file);
            let trailer = reader.read_trailer(&store_dir).unwrap();
            assert!(
                vector.file.contains(&trailer.path.base_name()),
                "'{}'",
                vector.file
            );
            writer.begin_archive().unwrap();
            copy(&mut &nar[..], writer.archive()).unwrap();
            writer.write_trailer(&store_dir, &trailer).unwrap();
        }
        assert!(
            reader.into_inner().is_empty(),
            "'{}': bytes remain",
            vector.file
        );
        assert!(writer.finish().unwrap() == stream, "'{}'", vector.file);
    }
    vectors::report("export", cases);
}
