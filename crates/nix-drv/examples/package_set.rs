//! Package sets made up for measurements, as files or to measure in memory.
//!
//! ```text
//! package_set write COUNT DIRECTORY    writes the .drv files and, as the last line of stdout,
//!                                      the one that all others are inputs of
//! package_set measure COUNT ROUNDS     prints lines WHAT NANOSECONDS, the medians
//! package_set proofs COUNT             prints lines WHAT BYTES, over all derivations: their
//!                                      `closures` of .drv files, and what the `first` and the
//!                                      `repeated` proof of each takes on the wire
//! ```

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "an example reads its arguments and reports"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use nix_base::{StoreDir, StorePath};
use nix_drv::generate::{Generated, package_set};
use nix_drv::proof::{PackedProof, Proof};
use nix_drv::{Derivation, HashMemo, RawDerivation, Strictness, drv_name, visit_graph};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["write", count, directory] => write(count.parse()?, Path::new(directory)),
        ["measure", count, rounds] => measure(count.parse()?, rounds.parse()?),
        ["proofs", count] => proofs(count.parse()?),
        _ => Err("write COUNT DIRECTORY, measure COUNT ROUNDS or proofs COUNT".into()),
    }
}

/// Inputs come before what depends on them, the one that depends on all comes last.
fn write(count: usize, directory: &Path) -> Result<(), Box<dyn Error>> {
    let store = StoreDir::default();
    let mut set = package_set(count, SEED, &store)?;
    set.push(all_of(&set, &store)?);
    let mut out = std::io::stdout().lock();
    for drv in set {
        std::fs::write(directory.join(drv.path.base_name()), &drv.text)?;
        writeln!(out, "{}", store.display(&drv.path))?;
    }
    Ok(())
}

/// A derivation whose inputs are all of the set.
fn all_of(set: &[Generated], store: &StoreDir) -> nix_drv::Result<Generated> {
    let inputs: BTreeMap<_, _> = set.iter().map(|drv| (&drv.path, &drv.text)).collect();
    let name = "all".parse()?;
    let text = r#"Derive([("out","","","")],[],[],"x86_64-linux","/bin/bash",[],[])"#;
    let mut drv = Derivation::parse(text.as_bytes(), store, &name, Strictness::Strict)?;
    for (path, text) in inputs {
        let input = Derivation::parse_file(text, store, path, Strictness::Strict)?;
        let output = input.outputs.keys().next().cloned();
        let node = drv.input_drvs.entry(path.clone()).or_default();
        node.outputs.extend(output);
    }
    let text = drv.to_aterm(store)?;
    let path = drv.store_path(store)?;
    Ok(Generated { path, text })
}

/// Times the bare scan, both ways of parsing and printing over the same bytes, in turns.
fn measure(count: usize, rounds: usize) -> Result<(), Box<dyn Error>> {
    let store = StoreDir::default();
    let set = package_set(count, SEED, &store)?;
    let names = set.iter().map(|drv| drv_name(&drv.path));
    let names = names.collect::<nix_drv::Result<Vec<_>>>()?;
    let mut times = [const { Vec::new() }; 4];
    let bytes: usize = set.iter().map(|drv| drv.text.len()).sum();
    println!("bytes {bytes}");
    // Printing has to begin with owned values, and all of them at once would leave the cache
    // to nobody: a few hundred derivations at a time go through all four.
    for _ in 0..rounds {
        let mut sums = [0; 4];
        for (set, names) in set.chunks(CHUNK).zip(names.chunks(CHUNK)) {
            measure_chunk(set, names, &store, &mut sums)?;
        }
        for (times, sum) in times.iter_mut().zip(sums) {
            times.push(sum);
        }
    }
    for (what, mut times) in ["scan", "borrowed", "owned", "print"]
        .into_iter()
        .zip(times)
    {
        times.sort_unstable();
        println!("{what} {}", times[times.len() / 2]);
    }
    Ok(())
}

fn measure_chunk(
    set: &[Generated],
    names: &[nix_base::StorePathName],
    store: &StoreDir,
    sums: &mut [u128; 4],
) -> nix_drv::Result<()> {
    let start = Instant::now();
    for drv in set {
        black_box(memchr::memchr2_iter(b'"', b'\\', &drv.text).count());
    }
    sums[0] += start.elapsed().as_nanos();
    let start = Instant::now();
    for drv in set {
        black_box(RawDerivation::parse(&drv.text, Strictness::Strict)?);
    }
    sums[1] += start.elapsed().as_nanos();
    let start = Instant::now();
    for (drv, name) in set.iter().zip(names) {
        black_box(Derivation::parse(
            &drv.text,
            store,
            name,
            Strictness::Strict,
        )?);
    }
    sums[2] += start.elapsed().as_nanos();
    let parsed = set.iter().zip(names);
    let parsed =
        parsed.map(|(drv, name)| Derivation::parse(&drv.text, store, name, Strictness::Strict));
    let parsed = parsed.collect::<nix_drv::Result<Vec<_>>>()?;
    let start = Instant::now();
    for drv in &parsed {
        black_box(drv.to_aterm(store)?);
    }
    sums[3] += start.elapsed().as_nanos();
    Ok(())
}

/// Adds up proofs and the closures that they are in place of.
fn proofs(count: usize) -> Result<(), Box<dyn Error>> {
    let store = StoreDir::default();
    let set = package_set(count, SEED, &store)?;
    let files: BTreeMap<_, _> = set.iter().map(|drv| (&drv.path, &drv.text)).collect();
    let mut texts = BTreeMap::new();
    let paths = set.iter().map(|drv| drv.path.clone());
    let read = |path: &StorePath| files.get(path).map(|text| text.to_vec()).ok_or("no file");
    visit_graph(paths, &store, &mut HashMemo::new(), read, |visited| {
        texts.insert(visited.path().clone(), visited.input_text()?);
        Ok(())
    })?;
    let mut closures: BTreeMap<&StorePath, BTreeSet<&StorePath>> = BTreeMap::new();
    let (mut first, mut repeated, mut closure_bytes) = (0, 0, 0);
    for Generated { path, text } in &set {
        let drv = Derivation::parse_file(text, &store, path, Strictness::Strict)?;
        let mut closure = BTreeSet::from([path]);
        for input in drv.input_drvs.keys() {
            closure.extend(closures.get(input).into_iter().flatten());
        }
        closure_bytes += closure.iter().map(|path| files[path].len()).sum::<usize>();
        closures.insert(path, closure);
        let proof = Proof::of(&drv, |path| texts.get(path).cloned().ok_or("no text"))?;
        for (sum, is_known) in [(&mut first, false), (&mut repeated, true)] {
            let mut bytes = Vec::new();
            PackedProof::pack(&proof, |_| is_known).write(&mut bytes, &store)?;
            *sum += bytes.len();
        }
    }
    println!("closures {closure_bytes}\nfirst {first}\nrepeated {repeated}");
    Ok(())
}

/// How many derivations go through all that is measured before the next ones.
const CHUNK: usize = 200;
/// The set is the same in each run.
const SEED: u64 = 1;
