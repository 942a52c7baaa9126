//! Speed of parsing, printing and hashing, beside a bare scan for quotes and
//! backslashes. `cargo bench -p nix-drv --features generate`

use std::collections::HashMap;
use std::hint::black_box;

use divan::Bencher;
use divan::counter::BytesCount;
use nix_base::{StoreDir, StorePath};
use nix_drv::generate::{Generated, package_set};
use nix_drv::{Derivation, HashMemo, RawDerivation, Strictness, drv_name, visit_graph};

fn main() {
    divan::main();
}

/// How many derivations a run goes over.
const COUNT: usize = 5000;

fn set() -> Vec<Generated> {
    package_set(COUNT, 1, &StoreDir::default()).expect("made-up derivations are sound")
}

fn bytes(set: &[Generated]) -> BytesCount {
    BytesCount::new(set.iter().map(|drv| drv.text.len()).sum::<usize>())
}

#[divan::bench(sample_count = 20)]
fn a_bare_scan(bencher: Bencher<'_, '_>) {
    let set = set();
    bencher.counter(bytes(&set)).bench_local(|| {
        let scan = |drv: &Generated| memchr::memchr2_iter(b'"', b'\\', &drv.text).count();
        set.iter().map(scan).sum::<usize>()
    });
}

#[divan::bench(sample_count = 20)]
fn b_parse_borrowed(bencher: Bencher<'_, '_>) {
    let set = set();
    bencher.counter(bytes(&set)).bench_local(|| {
        for drv in &set {
            black_box(RawDerivation::parse(&drv.text, Strictness::Strict).is_ok());
        }
    });
}

#[divan::bench(sample_count = 20)]
fn c_parse_owned(bencher: Bencher<'_, '_>) {
    let set = set();
    let store = StoreDir::default();
    let names: Vec<_> = set.iter().map(|drv| drv_name(&drv.path)).collect();
    bencher.counter(bytes(&set)).bench_local(|| {
        for (drv, name) in set.iter().zip(&names) {
            let name = name.as_ref().expect("the paths end in .drv");
            black_box(Derivation::parse(&drv.text, &store, name, Strictness::Strict).is_ok());
        }
    });
}

#[divan::bench(sample_count = 20)]
fn d_print(bencher: Bencher<'_, '_>) {
    let set = set();
    let store = StoreDir::default();
    let parse = |drv: &Generated| {
        Derivation::parse_file(&drv.text, &store, &drv.path, Strictness::Strict)
            .expect("made-up derivations are canonical")
    };
    let drvs: Vec<_> = set.iter().map(parse).collect();
    bencher.counter(bytes(&set)).bench_local(|| {
        for drv in &drvs {
            black_box(drv.to_aterm(&store).is_ok());
        }
    });
}

#[divan::bench(sample_count = 10)]
fn e_graph(bencher: Bencher<'_, '_>) {
    let set = set();
    let store = StoreDir::default();
    let files: HashMap<&StorePath, &Vec<u8>> =
        set.iter().map(|drv| (&drv.path, &drv.text)).collect();
    let mut roots: Vec<StorePath> = set.iter().map(|drv| drv.path.clone()).collect();
    roots.sort();
    bencher.counter(bytes(&set)).bench_local(|| {
        let mut memo = HashMemo::new();
        let read = |path: &StorePath| files.get(path).map(|text| (*text).clone()).ok_or("missing");
        visit_graph(roots.iter().cloned(), &store, &mut memo, read, |drv| {
            black_box(drv.computed_outputs()?);
            Ok(())
        })
        .expect("made-up derivations are sound");
        memo.len()
    });
}
