//! How fast archives are parsed, copied and scanned, in memory.

use std::io::{BufReader, Write};

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use nix_base::StorePathHash;
use nix_nar::{NarReader, NarWriter, RefScanSink, Result, copy};

fn main() {
    divan::main();
}

/// An archive of `files` files of `size` bytes each.
fn archive(files: usize, size: usize) -> Result<Vec<u8>> {
    let contents: Vec<u8> = (0..=250).cycle().take(size).collect();
    let mut nar = NarWriter::new(Vec::new());
    nar.directory(b"")?;
    for i in 0..files {
        nar.regular(format!("{i:08}").as_bytes(), i % 3 == 0, size as u64)?;
        nar.contents(&contents)?;
    }
    nar.end_directory()?;
    Ok(nar.finish()?.0)
}

const SHAPES: [(usize, usize); 3] = [(40_000, 100), (1_000, 16_000), (2, 8_000_000)];

#[divan::bench(args = SHAPES)]
fn parse(bencher: Bencher<'_, '_>, (files, size): (usize, usize)) {
    let nar = archive(files, size).expect("the archive is well-formed");
    bencher
        .counter(BytesCount::new(nar.len()))
        .bench(|| NarReader::new(BufReader::with_capacity(128 * 1024, &nar[..])).finish());
}

#[divan::bench(args = SHAPES)]
fn copy_to_memory(bencher: Bencher<'_, '_>, (files, size): (usize, usize)) {
    let nar = archive(files, size).expect("the archive is well-formed");
    bencher
        .counter(BytesCount::new(nar.len()))
        .with_inputs(|| Vec::with_capacity(nar.len()))
        .bench_values(|mut out| {
            copy(
                &mut BufReader::with_capacity(128 * 1024, &nar[..]),
                black_box(&mut out),
            )
        });
}

#[divan::bench(args = [10, 10_000])]
fn scan(bencher: Bencher<'_, '_>, hashes: u32) {
    let nar = archive(1_000, 16_000).expect("the archive is well-formed");
    let hashes: Vec<StorePathHash> = (0..hashes)
        .map(|i| {
            let mut digest = [7; 20];
            digest[..4].copy_from_slice(&i.to_le_bytes());
            StorePathHash::from_digest(digest)
        })
        .collect();
    bencher
        .counter(BytesCount::new(nar.len()))
        .with_inputs(|| RefScanSink::new(hashes.iter().cloned()))
        .bench_values(|mut sink| {
            let written = sink.write_all(&nar);
            (written.is_ok(), sink.finish())
        });
}
