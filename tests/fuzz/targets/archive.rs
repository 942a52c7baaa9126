//! Archives and export streams.

use std::ffi::OsStr;
use std::fs::File;
use std::io::BufReader;
use std::os::fd::AsFd;

use nix_base::StoreDir;
use nix_nar::export::{ExportReader, ExportWriter};
use nix_nar::fs::restore::RestoreOptions;
use nix_nar::fs::{dump, restore};
use nix_nar::{Event, NarReader, NarWriter, copy};

use super::Target;
use crate::{class, seeds};

pub(crate) const PARSE: Target = Target {
    name: "nar_parse",
    make: || Box::new(parse),
    seeds: seeds::archives,
    words: WORDS,
};

pub(crate) const ROUND_TRIP: Target = Target {
    name: "nar_roundtrip",
    make: || {
        let mut accepted = 0_u32;
        Box::new(move |input| round_trip(input, &mut accepted))
    },
    seeds: seeds::archives,
    words: WORDS,
};

pub(crate) const EXPORT: Target = Target {
    name: "export_stream",
    make: || Box::new(export),
    seeds: seeds::export_streams,
    words: WORDS,
};

/// Tokens with their lengths and padding.
const WORDS: &[&[u8]] = &[
    b"\x01\0\0\0\0\0\0\0(\0\0\0\0\0\0\0",
    b"\x01\0\0\0\0\0\0\0)\0\0\0\0\0\0\0",
    b"\x04\0\0\0\0\0\0\0type\0\0\0\0",
    b"\x07\0\0\0\0\0\0\0regular\0",
    b"\x07\0\0\0\0\0\0\0symlink\0",
    b"\x09\0\0\0\0\0\0\0directory\0\0\0\0\0\0\0",
    b"\x08\0\0\0\0\0\0\0contents",
    b"\x0a\0\0\0\0\0\0\0executable\0\0\0\0\0\0",
    b"\x05\0\0\0\0\0\0\0entry\0\0\0",
    b"\x04\0\0\0\0\0\0\0name\0\0\0\0",
    b"\x04\0\0\0\0\0\0\0node\0\0\0\0",
    b"\x06\0\0\0\0\0\0\0target\0\0",
    b"\x0d\0\0\0\0\0\0\0nix-archive-1\0\0\0",
    b"NIXE\0\0\0\0",
    b"\0\0\0\0\0\0\0\0",
    b"\x01\0\0\0\0\0\0\0",
    b"..",
    b"/",
];

/// Events in one reading and all at once have to end alike, and the events have to give the
/// archive again.
fn parse(input: &[u8]) -> u64 {
    // Buffers of all sizes, so that what is read is cut everywhere.
    let capacity = 1 + input.len() % 97;
    let mut reader = NarReader::new(BufReader::with_capacity(capacity, input));
    let mut writer = NarWriter::new(Vec::new());
    let mut shape = (0, 0, 0);
    let result = loop {
        match next(&mut reader, &mut writer, &mut shape) {
            Ok(true) => {}
            Ok(false) => break Ok(reader.offset()),
            Err(error) => break Err(error),
        }
    };
    let at_once = NarReader::new(input).finish();
    assert_eq!(
        result.as_ref().map_err(ToString::to_string),
        at_once.as_ref().map_err(ToString::to_string)
    );
    if let Ok(size) = result {
        let (written, _) = writer.finish().unwrap();
        assert!(written == input[..usize::try_from(size).unwrap()]);
    }
    let (nodes, depth, contents) = shape;
    class::of((
        class::of_result(&result, |_| ()),
        class::size(nodes),
        depth,
        class::size(contents),
    ))
}

type Shape = (usize, usize, usize);

/// One event with its contents; false at the end.
fn next<R: std::io::BufRead>(
    reader: &mut NarReader<R>,
    writer: &mut NarWriter<Vec<u8>>,
    (nodes, depth, contents): &mut Shape,
) -> nix_nar::Result<bool> {
    *depth = (*depth).max(reader.depth());
    let Some(event) = reader.next()? else {
        return Ok(false);
    };
    *nodes += usize::from(matches!(event, Event::Node { .. }));
    writer.event(&event).expect("what was read can be written");
    while let Some(chunk) = reader.next_chunk()? {
        *contents += chunk.len();
        writer.contents(chunk).expect("contents follow their file");
    }
    Ok(true)
}

/// What is accepted is copied as it is, and comes back from the file system as it is.
fn round_trip(input: &[u8], accepted: &mut u32) -> u64 {
    let mut rest = input;
    let mut copied = Vec::new();
    let result = copy(&mut rest, &mut copied);
    let Ok(size) = &result else {
        // Bytes go on only after they were checked.
        assert!(input.starts_with(&copied));
        return class::of_result(&result, |_| ());
    };
    assert_eq!(*size, copied.len() as u64);
    assert!(copied == input[..input.len() - rest.len()]);
    *accepted += 1;
    if accepted.is_multiple_of(16) {
        restore_and_dump(&copied);
    }
    class::of((true, class::size(copied.len())))
}

fn restore_and_dump(nar: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let parent = File::open(dir.path()).unwrap();
    let root = OsStr::new("root");
    let options = RestoreOptions::default();
    let restored = restore::restore(&mut &nar[..], parent.as_fd(), root, &options);
    // A name may be too long for this file system, and two may differ in case alone.
    if restored.is_ok() {
        let mut dumped = Vec::new();
        dump::dump(&dir.path().join(root), &mut dumped).unwrap();
        assert!(dumped == nar, "the dump differs");
    }
}

/// What is accepted is written again as it was, but for signatures that nobody checks.
fn export(input: &[u8]) -> u64 {
    let mut reader = ExportReader::new(input);
    let mut writer = ExportWriter::new(Vec::new());
    let mut archives = 0;
    let result = loop {
        match next_export(&mut reader, &mut writer) {
            Ok(true) => archives += 1,
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    if result.is_ok() {
        let written = writer.finish().unwrap();
        let again = &mut ExportReader::new(&written[..]);
        let mut sink = ExportWriter::new(std::io::sink());
        while next_export(again, &mut sink).unwrap() {}
    }
    class::of((archives, class::of_result(&result, |()| ())))
}

fn next_export<W: std::io::Write>(
    reader: &mut ExportReader<&[u8]>,
    writer: &mut ExportWriter<W>,
) -> nix_nar::Result<bool> {
    if !reader.next_archive()? {
        return Ok(false);
    }
    writer.begin_archive()?;
    copy(reader.archive(), writer.archive())?;
    let store_dir = StoreDir::default();
    let trailer = reader.read_trailer(&store_dir)?;
    writer.write_trailer(&store_dir, &trailer)?;
    Ok(true)
}
