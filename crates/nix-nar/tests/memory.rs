//! How much memory archives need: a program of its own, since what is measured
//! is the whole process.

#![allow(clippy::unwrap_used, reason = "a test panics where something is amiss")]

use std::io::{BufReader, Read, Write};

use nix_nar::{NarReader, NarWriter, copy};

/// Peak resident memory of this process in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_ascii_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}

/// The start of an archive of a file that says to be of `size` bytes.
fn header(size: u64) -> Vec<u8> {
    let mut nar = Vec::new();
    nix_nar::write_regular(b"", false, &mut nar).unwrap();
    nar.truncate(nar.len() - 24);
    nar.extend_from_slice(&size.to_le_bytes());
    nar
}

/// SEC-01 and SEC-13: what is announced costs nothing, what comes passes through.
#[test]
fn memory_does_not_depend_on_sizes() {
    let before = peak();
    for size in (20..64)
        .map(|i| 1 << i)
        .chain([u64::MAX, u64::MAX - 7, (1 << 63) + 8])
    {
        let nar = header(size);
        assert!(copy(&mut &nar[..], &mut std::io::sink()).is_err());
        assert!(NarReader::new(&nar[..]).finish().is_err());
    }
    let hostile = peak() - before;
    assert!(hostile < 2 << 20, "{hostile} bytes for lengths alone");

    let size = 256 << 20;
    let close = b"\x01\0\0\0\0\0\0\0)\0\0\0\0\0\0\0";
    let nar = header(size);
    let stream = (&nar[..])
        .chain(std::io::repeat(7).take(size))
        .chain(&close[..]);
    let mut reader = BufReader::with_capacity(128 * 1024, stream);
    let mut writer = NarWriter::new(std::io::sink());
    let mut nar = NarReader::new(&mut reader);
    while let Some(event) = nar.next().unwrap() {
        writer.event(&event).unwrap();
        while let Some(chunk) = nar.next_chunk().unwrap() {
            writer.contents(chunk).unwrap();
        }
    }
    writer.finish().unwrap().0.flush().unwrap();
    let streamed = peak() - before;
    assert!(streamed < 4 << 20, "{streamed} bytes for 256 MiB");
}
