//! `cargo xtask verify-store DIR`: what must hold of a store after every experiment.
//!
//! The checks share no code with the crates that wrote the store: the database is read by
//! `sqlite3`, the archives are hashed by [`crate::nar`].
//!
//! - Each valid path exists, with the recorded hash and size and canonical metadata.
//! - References of valid paths are valid.
//! - The database is sound: `integrity_check` and `foreign_key_check` are clean.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::args::Args;
use crate::{env, nar, process};

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<()> {
    let [dir] = args.values() else {
        bail!("wants the root directory of a store");
    };
    let (paths, faults) = verify(Path::new(dir))?;
    for fault in &faults {
        println!("{fault}");
    }
    println!("verify-store: {paths} valid paths, {} faults", faults.len());
    if !faults.is_empty() {
        bail!("the store is damaged");
    }
    Ok(())
}

/// Checks the store below the root directory `root`; gives the number of valid paths and what
/// is wrong.
pub(crate) fn verify(root: &Path) -> Result<(usize, Vec<String>)> {
    let store = Store::open(root)?;
    let mut faults = Vec::new();
    store.check_database(&mut faults)?;
    let rows = store.query("select path, hash, narSize from ValidPaths order by path")?;
    for row in &rows {
        let (Some(path), Some(hash)) = (row["path"].as_str(), row["hash"].as_str()) else {
            faults.push(format!("a row of ValidPaths is incomplete: {row}"));
            continue;
        };
        store.check_path(path, hash, row["narSize"].as_u64(), &mut faults);
    }
    Ok((rows.len(), faults))
}

struct Store {
    /// Where the files of the store directory are.
    real: PathBuf,
    database: PathBuf,
}

impl Store {
    fn open(root: &Path) -> Result<Self> {
        if env::find_program("sqlite3").is_none() {
            bail!("'sqlite3' is not installed");
        }
        let store = Self {
            real: root.join("nix/store"),
            database: root.join("nix/var/nix/db/db.sqlite"),
        };
        if !store.database.is_file() {
            bail!("there is no '{}'", store.database.display());
        }
        Ok(store)
    }

    fn query(&self, sql: &str) -> Result<Vec<Value>> {
        let text = process::capture(
            Command::new("sqlite3")
                .args(["-readonly", "-json", "-cmd", ".timeout 60000"])
                .arg(&self.database)
                .arg(sql),
        )?;
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        serde_json::from_str(&text).with_context(|| format!("sqlite3 on '{sql}'"))
    }

    fn check_database(&self, faults: &mut Vec<String>) -> Result<()> {
        for row in self.query("pragma integrity_check")? {
            if row["integrity_check"] != "ok" {
                faults.push(format!("database: {row}"));
            }
        }
        for row in self.query("pragma foreign_key_check")? {
            faults.push(format!("database: foreign key: {row}"));
        }
        let dangling = "select referrer, reference from Refs \
             where referrer not in (select id from ValidPaths) \
                or reference not in (select id from ValidPaths)";
        for row in self.query(dangling)? {
            faults.push(format!("a reference is not valid: {row}"));
        }
        Ok(())
    }

    fn check_path(&self, path: &str, hash: &str, size: Option<u64>, faults: &mut Vec<String>) {
        let Some((_, base)) = path.rsplit_once('/') else {
            faults.push(format!("'{path}' is not a store path"));
            return;
        };
        let mut strange = Vec::new();
        let sum = nar::sum_path(&self.real.join(base), &mut |file, meta| {
            if let Some(what) = not_canonical(meta) {
                strange.push(format!("'{}' {what}", file.display()));
            }
        });
        faults.append(&mut strange);
        match sum {
            Err(error) => faults.push(format!("'{path}': {error:#}")),
            Ok(sum) => {
                if hash != format!("sha256:{}", sum.hash) {
                    faults.push(format!("'{path}' has the hash {}, not '{hash}'", sum.hash));
                }
                // A null stands for a size that was not known.
                if size.is_some_and(|size| size != 0 && size != sum.size) {
                    faults.push(format!("'{path}' has {} bytes, not {size:?}", sum.size));
                }
            }
        }
    }
}

/// What real Nix would change about a file in the store.
fn not_canonical(meta: &Metadata) -> Option<String> {
    if meta.mtime() != 1 {
        return Some(format!("has the time {}, not 1", meta.mtime()));
    }
    let mode = meta.mode() & 0o7777;
    let is_canonical = meta.is_symlink() || mode == 0o555 || (meta.is_file() && mode == 0o444);
    (!is_canonical).then(|| format!("has the mode {mode:o}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables that the checks read, as real Nix makes them.
    const SCHEMA: &str = "
        create table ValidPaths (id integer primary key, path text, hash text, narSize integer);
        create table Refs (
            referrer integer references ValidPaths(id),
            reference integer references ValidPaths(id));";

    fn store_with(sql: &str) -> Option<tempfile::TempDir> {
        if env::find_program("sqlite3").is_none() {
            println!("skipped: sqlite3 is not installed");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("nix/var/nix/db");
        std::fs::create_dir_all(&state).unwrap();
        let store = dir.path().join("nix/store");
        std::fs::create_dir_all(&store).unwrap();
        std::fs::write(store.join("a"), "text").unwrap();
        let sum = nar::sum_path(&store.join("a"), &mut |_, _| {}).unwrap();
        let row = format!(
            "insert into ValidPaths values (1, '/nix/store/a', 'sha256:{}', {});",
            sum.hash, sum.size
        );
        let mut make = Command::new("sqlite3");
        make.arg(state.join("db.sqlite"))
            .arg(format!("{SCHEMA}{row}{sql}"));
        process::capture(&mut make).unwrap();
        let file = std::fs::File::options()
            .write(true)
            .open(store.join("a"))
            .unwrap();
        let second = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
        file.set_modified(second).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o444);
        file.set_permissions(mode).unwrap();
        Some(dir)
    }

    #[test]
    fn a_sound_store_has_no_faults() {
        let Some(dir) = store_with("") else { return };
        assert_eq!(verify(dir.path()).unwrap(), (1, Vec::new()));
    }

    #[test]
    fn a_changed_or_missing_file_is_a_fault() {
        let Some(dir) = store_with("") else { return };
        let file = dir.path().join("nix/store/a");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(verify(dir.path()).unwrap().1.len(), 1);
        std::fs::write(&file, "other text").unwrap();
        // Time, hash and size.
        assert_eq!(verify(dir.path()).unwrap().1.len(), 3);
    }

    #[test]
    fn a_dangling_reference_is_a_fault() {
        let Some(dir) = store_with("insert into Refs values (1, 7);") else {
            return;
        };
        let (_, faults) = verify(dir.path()).unwrap();
        assert_eq!(faults.len(), 2, "{faults:?}");
    }
}
