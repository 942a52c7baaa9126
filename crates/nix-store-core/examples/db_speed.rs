//! How long the database takes for many paths: `db_speed [NUMBER]`, 100,000 by default.
//!
//! Prints wall and processor seconds of each step on a fresh store.

use std::error::Error;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use nix_base::{Hash, HashAlgo, NarHash, StoreDir, StorePath, StorePathHash, StorePathSet};
use nix_base::{StorePathName, UnkeyedValidPathInfo, ValidPathInfo};
use nix_store_core::{IncludeOutputs, LocalStore, Registration, StoreConfig, StoreLayout};
use rustix::time::{ClockId, clock_gettime};

fn main() -> Result<(), Box<dyn Error>> {
    let number = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 100_000,
    };
    let root = tempfile::tempdir()?;
    let layout = StoreLayout::chroot(StoreDir::default(), root.path());
    let batch = corpus(number);
    let all: StorePathSet = batch.iter().map(|r| r.info.path.clone()).collect();
    let edges: usize = batch.iter().map(|r| r.info.references.len()).sum();
    writeln!(io::stdout(), "{number} paths, {edges} references")?;

    let store = measure("init", || {
        LocalStore::init(StoreConfig::new(layout.clone()))
    })??;
    measure("register", || store.db().register(&batch))??;
    drop(store);
    let store = measure("open", || LocalStore::open(StoreConfig::new(layout)))??;
    let valid = measure("query_valid, all", || store.db().query_valid(&all))??;
    assert_eq!(valid, all);
    let some: StorePathSet = all.iter().step_by(100).cloned().collect();
    let valid = measure("query_valid, 1 in 100", || store.db().query_valid(&some))??;
    assert_eq!(valid, some);
    let mut seen = 0;
    measure("query_infos, all", || {
        store.db().query_infos(&all, |info| {
            seen += info.references.len();
            Ok(())
        })
    })??;
    assert_eq!(seen, edges);
    let closure = measure("closure of all", || {
        store.db().closure(&all, IncludeOutputs::No)
    })??;
    assert_eq!(closure, all);
    let last = StorePathSet::from([batch[number - 1].info.path.clone()]);
    let closure = measure("closure of one", || {
        store.db().closure(&last, IncludeOutputs::Yes)
    })??;
    writeln!(io::stdout(), "{:24} {} paths", "", closure.len())?;
    measure("all valid", || store.db().query_all_valid())??;
    measure("close", || drop(store))?;
    Ok(())
}

/// Paths that refer to some before them, as those of a distribution do.
fn corpus(number: usize) -> Vec<Registration> {
    let paths: Vec<StorePath> = (0..number).map(path).collect();
    let info = |i: usize| {
        let mut info = UnkeyedValidPathInfo::new(NarHash::of(&i.to_le_bytes()), 1000);
        info.registration_time = 1;
        info.deriver = Some(path(i + number));
        let nearby = (1..=5).map(|k| i.checked_sub(k * k * 7));
        info.references = nearby.flatten().map(|j| paths[j].clone()).collect();
        ValidPathInfo {
            path: paths[i].clone(),
            info,
        }
    };
    (0..number).map(|i| info(i).into()).collect()
}

fn path(i: usize) -> StorePath {
    let digest = Hash::of(HashAlgo::Sha1, &i.to_le_bytes());
    let digest = digest.as_bytes().try_into().expect("SHA-1 has 20 bytes");
    let name = StorePathName::new(&format!("package-{i}-1.0")).expect("a plain name");
    StorePath::new(StorePathHash::from_digest(digest), name)
}

fn measure<T>(what: &str, step: impl FnOnce() -> T) -> io::Result<T> {
    let (wall, cpu) = (Instant::now(), processor_time());
    let value = step();
    let (wall, cpu) = (wall.elapsed(), processor_time().saturating_sub(cpu));
    writeln!(
        io::stdout(),
        "{what:24} {:8.4} s wall {:8.4} s processor",
        wall.as_secs_f64(),
        cpu.as_secs_f64()
    )?;
    Ok(value)
}

fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}
