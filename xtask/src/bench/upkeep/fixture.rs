//! Stores to look after: one with many small paths, half of them dead, and one with much in it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::corpus::{self, Random, Registration};
use crate::bench::program::Program;
use crate::nar;

/// A store with files, registered.
pub(super) struct Store {
    pub(super) root: PathBuf,
    /// Its closure is all that lives.
    pub(super) top: String,
    /// All that lives refers to it in the end.
    pub(super) bottom: String,
    pub(super) count: usize,
    /// How many paths have to stay.
    pub(super) live: usize,
    /// How many different files there are, empty ones left out.
    pub(super) different: usize,
    /// In words.
    pub(super) size: String,
}

/// `count` paths with a file or three each; every other one is dead. Hashes are made up.
pub(super) fn make_many(program: &Program, root: &Path, count: usize) -> Result<Store> {
    program.init(root)?;
    let mut random = Random(5);
    let mut registrations = Vec::new();
    for index in 0..count {
        let path = random.path(&format!("package-{index}"));
        let place = on_disk(root, &path);
        if index % 2 == index / 2 % 2 {
            write(&place, format!("file {index}\n").as_bytes())?;
        } else {
            fs::create_dir_all(place.join("bin"))?;
            write(&place.join("bin/run"), format!("run {index}\n").as_bytes())?;
            write(&place.join("data"), format!("data {index}\n").as_bytes())?;
            close(&place.join("bin"))?;
            close(&place)?;
        }
        let size = 1000 + random.below(1_000_000) as u64;
        let references = references(&mut random, index, count);
        registrations.push(Registration::new(path, random.hex(32), size, references));
    }
    corpus::register(root, &registrations)?;
    let live = count.div_ceil(2);
    let top = add_root(root, &registrations[0].path)?;
    let bottom = registrations[2 * live - 2].path.clone();
    Ok(Store {
        root: root.to_owned(),
        top,
        bottom,
        count,
        live,
        different: 0,
        size: format!("{count} paths"),
    })
}

/// Those of the same half: a heap, so that the first one needs them all, some more, and the
/// last one.
fn references(random: &mut Random, index: usize, count: usize) -> Vec<usize> {
    let half = index % 2;
    let (at, most) = (index / 2, (count - half).div_ceil(2));
    let further = at + 1 + random.below(500);
    let chosen = (5 * at + 1..5 * at + 6).chain([further, most - 1]);
    let mut references: Vec<usize> = chosen
        .filter(|other| *other < most && *other > at)
        .map(|other| 2 * other + half)
        .collect();
    references.sort_unstable();
    references.dedup();
    references
}

/// Paths of 100 files each, of 13 kB on average; every third file is one of a hundred. Hashes
/// are right.
pub(super) fn make_large(program: &Program, root: &Path, files: usize) -> Result<Store> {
    program.init(root)?;
    let mut random = Random(6);
    let pool = random.bytes(1 << 20);
    let mut registrations = Vec::new();
    let mut seen = BTreeSet::new();
    let mut bytes = 0;
    for number in 0..files / FILES {
        let path = random.path(&format!("tree-{number}"));
        let place = on_disk(root, &path);
        for dir in 0..10 {
            let dir = place.join(format!("dir-{dir}"));
            fs::create_dir_all(&dir)?;
            for file in 0..FILES / 10 {
                let (start, size) = match random.below(3) {
                    0 => (random.below(100) * 1000, 13_000),
                    _ => (random.below(1 << 19), 1000 + random.below(25_600)),
                };
                seen.insert((start, size));
                bytes += size;
                write(
                    &dir.join(format!("file-{file}")),
                    &pool[start..start + size],
                )?;
            }
            close(&dir)?;
        }
        close(&place)?;
        let sum = nar::sum_path(&place, &mut |_, _| {})?;
        registrations.push(Registration::new(path, sum.hash, sum.size, Vec::new()));
    }
    corpus::register(root, &registrations)?;
    let first = registrations
        .first()
        .context("an empty store")?
        .path
        .clone();
    Ok(Store {
        root: root.to_owned(),
        top: first.clone(),
        bottom: first,
        count: registrations.len(),
        live: 0,
        different: seen.len(),
        size: format!("{} MB in {files} files", bytes / 1_000_000),
    })
}

fn add_root(root: &Path, path: &str) -> Result<String> {
    let roots = root.join("nix/var/nix/gcroots");
    fs::create_dir_all(&roots)?;
    symlink(path, roots.join("bench"))?;
    Ok(path.to_owned())
}

fn on_disk(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// A file as it is in a store.
fn write(path: &Path, contents: &[u8]) -> Result<()> {
    fs::write(path, contents)?;
    let file = fs::File::open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o444))?;
    file.set_modified(UNIX_EPOCH + Duration::from_secs(1))?;
    Ok(())
}

/// A directory as it is in a store, once its entries are made.
fn close(path: &Path) -> Result<()> {
    let dir = fs::File::open(path)?;
    dir.set_permissions(fs::Permissions::from_mode(0o555))?;
    dir.set_modified(UNIX_EPOCH + Duration::from_secs(1))?;
    Ok(())
}

const FILES: usize = 100;
