//! Corpora: trees of files, and stores with registered paths. The same numbers give the same
//! bytes.

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use super::program::Program;
use crate::nar;

/// Makes `count` small files of 13 kB on average in nested directories below `root`.
pub(super) fn make_tree(root: &Path, count: usize) -> Result<()> {
    let mut random = Random(1);
    let pool = random.bytes(64 * 1024);
    for index in 0..count {
        let dir = root.join(format!(
            "{:02}/{:02}/dir-{:02}",
            index / 10_000,
            index / 1000 % 10,
            index / 100 % 10
        ));
        if index % 100 == 0 {
            fs::create_dir_all(&dir)?;
        }
        let size = 1000 + random.below(25_600);
        let start = random.below(pool.len() - size);
        fs::write(
            dir.join(format!("file-{index}")),
            &pool[start..start + size],
        )?;
    }
    Ok(())
}

/// Makes one file without holes.
pub(super) fn make_file(path: &Path, size: usize) -> Result<()> {
    let block = Random(2).bytes(1 << 20);
    let mut file = fs::File::create(path)?;
    let mut left = size;
    while left > 0 {
        let n = left.min(block.len());
        file.write_all(&block[..n])?;
        left -= n;
    }
    Ok(())
}

/// A path that is to be registered.
pub(super) struct Registration {
    pub(super) path: String,
    /// SHA-256 of the archive, in base 16.
    hash: String,
    size: u64,
    /// Indices of the paths that it refers to.
    references: Vec<usize>,
}

/// Registrations without files, each with up to four references to later ones.
pub(super) fn make_registrations(count: usize) -> Vec<Registration> {
    let mut random = Random(3);
    (0..count)
        .map(|index| {
            let mut references: Vec<usize> = (0..random.below(5))
                .map(|_| index + 1 + random.below(1000))
                .filter(|other| *other < count)
                .collect();
            references.sort_unstable();
            references.dedup();
            Registration {
                path: random.path(&format!("package-{index}")),
                hash: random.hex(32),
                size: 1000 + random.below(1_000_000) as u64,
                references,
            }
        })
        .collect()
}

/// The registration of a path about whose archive and references nobody will ask.
pub(super) fn bare_registration(path: &str) -> Registration {
    Registration {
        path: path.to_owned(),
        hash: "0".repeat(64),
        size: 1,
        references: Vec::new(),
    }
}

/// A store with files.
pub(super) struct Store {
    pub(super) root: PathBuf,
    /// The path whose closure is the whole store.
    pub(super) top: String,
    pub(super) count: usize,
}

/// Makes a store below `root` with a path for each of `sizes`. They refer to each other like a
/// heap, with some edges across, so that the first one's closure is everything.
pub(super) fn make_store(program: &Program, root: &Path, sizes: &[usize]) -> Result<Store> {
    program.init(root)?;
    let dir = root.join("nix/store");
    let mut random = Random(sizes.len() as u64);
    let pool = random.bytes(1 << 20);
    let count = sizes.len();
    let mut registrations = Vec::new();
    for (index, &size) in sizes.iter().enumerate() {
        let mut references: Vec<usize> = (5 * index + 1..5 * index + 6)
            .chain([index + 7])
            .filter(|other| *other < count)
            .collect();
        references.sort_unstable();
        references.dedup();
        let path = random.path(&format!("item-{index}"));
        let file = dir.join(path.rsplit('/').next().unwrap_or_default());
        write_file(&file, size, &pool, random.below(pool.len()))?;
        let sum = nar::sum_path(&file, &mut |_, _| {})?;
        registrations.push(Registration {
            path,
            hash: sum.hash,
            size: sum.size,
            references,
        });
    }
    register(root, &registrations)?;
    let first = registrations.first().context("an empty store")?;
    Ok(Store {
        root: root.to_owned(),
        top: first.path.clone(),
        count,
    })
}

/// Sizes between two bounds.
pub(super) fn random_sizes(count: usize, least: usize, most: usize) -> Vec<usize> {
    let mut random = Random(4);
    (0..count)
        .map(|_| least + random.below(most - least))
        .collect()
}

/// A file as it is in a store; from a mebibyte on with a hole after that, since what is measured
/// reads it all the same.
fn write_file(path: &Path, size: usize, pool: &[u8], start: usize) -> Result<()> {
    let mut file = fs::File::create(path)?;
    let head = size.min(pool.len());
    let rotated: Vec<u8> = pool[start..]
        .iter()
        .chain(pool)
        .take(head)
        .copied()
        .collect();
    file.write_all(&rotated)?;
    file.set_len(size as u64)?;
    file.set_permissions(fs::Permissions::from_mode(0o444))?;
    file.set_modified(UNIX_EPOCH + Duration::from_secs(1))?;
    Ok(())
}

/// Writes registrations into the database below `root`, which exists, faster than any Nix.
pub(super) fn register(root: &Path, registrations: &[Registration]) -> Result<()> {
    let mut sql = String::from("pragma synchronous = off; begin;\n");
    for (index, item) in registrations.iter().enumerate() {
        let Registration {
            path, hash, size, ..
        } = item;
        let _ = writeln!(
            sql,
            "insert into ValidPaths (id, path, hash, registrationTime, narSize) \
             values ({}, '{path}', 'sha256:{hash}', 1, {size});",
            index + 1
        );
    }
    for (index, item) in registrations.iter().enumerate() {
        for reference in &item.references {
            let _ = writeln!(
                sql,
                "insert into Refs values ({}, {});",
                index + 1,
                reference + 1
            );
        }
    }
    sql.push_str("commit;\n");
    let mut sqlite = Command::new("sqlite3")
        .arg("-bail")
        .arg(root.join("nix/var/nix/db/db.sqlite"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start 'sqlite3'")?;
    let mut input = sqlite.stdin.take().context("no pipe to 'sqlite3'")?;
    input.write_all(sql.as_bytes())?;
    drop(input);
    let status = sqlite.wait()?;
    if !status.success() {
        bail!("sqlite3 ended with {status}");
    }
    Ok(())
}

/// The text that `nix-store --load-db` reads.
pub(super) fn dump_db_text(registrations: &[Registration]) -> String {
    let mut text = String::new();
    for item in registrations {
        let Registration {
            path,
            hash,
            size,
            references,
        } = item;
        let _ = write!(text, "{path}\n{hash}\n{size}\n\n{}\n", references.len());
        for reference in references {
            let _ = writeln!(text, "{}", registrations[*reference].path);
        }
    }
    text
}

impl Registration {
    /// The registration of a path with files; `references` are indices.
    pub(super) fn new(path: String, hash: String, size: u64, references: Vec<usize>) -> Self {
        Self {
            path,
            hash,
            size,
            references,
        }
    }
}

/// splitmix64: small, and the same everywhere.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or(0)
    }

    pub(super) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let words = count.div_ceil(8);
        let mut bytes: Vec<u8> = (0..words).flat_map(|_| self.next().to_le_bytes()).collect();
        bytes.truncate(count);
        bytes
    }

    pub(super) fn hex(&mut self, count: usize) -> String {
        let bytes = self.bytes(count);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn path(&mut self, name: &str) -> String {
        let digest = nar::encode_nix32(&self.bytes(20));
        format!("/nix/store/{digest}-{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registrations_refer_to_later_ones_only() {
        let made = make_registrations(50);
        for (index, item) in made.iter().enumerate() {
            assert!(item.references.iter().all(|other| *other > index));
            assert_eq!(
                item.path.len(),
                "/nix/store/".len() + 33 + item.path[44..].len()
            );
            assert_eq!(item.hash.len(), 64);
        }
        assert!(made.iter().any(|item| !item.references.is_empty()));
    }

    #[test]
    fn the_text_for_load_db_has_a_line_for_each_field() {
        let registration = |path: &str, references: &[usize]| Registration {
            path: path.to_owned(),
            hash: "00".to_owned(),
            size: 7,
            references: references.to_vec(),
        };
        let text = dump_db_text(&[
            registration("/nix/store/a", &[1]),
            registration("/nix/store/b", &[]),
        ]);
        assert_eq!(
            text,
            "/nix/store/a\n00\n7\n\n1\n/nix/store/b\n/nix/store/b\n00\n7\n\n0\n"
        );
    }
}
