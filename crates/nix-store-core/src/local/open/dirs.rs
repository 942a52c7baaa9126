//! The directories of a store.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Gid, RenameFlags, Uid};
use rustix::process::geteuid;

use crate::error::{Error, Result};
use crate::layout::StoreLayout;

/// Refuses a store that could be led elsewhere by changing a symlink.
pub(super) fn refuse_symlinks(store: &Path) -> Result<()> {
    for path in store.ancestors() {
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_symlink() => {
                return Err(Error::SymlinkedStore {
                    path: path.to_owned(),
                });
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound && path != Path::new("") => {
                return Err(Error::io("look at", path, error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Makes every directory that is missing.
pub(super) fn make_all(layout: &StoreLayout) -> Result<()> {
    for dir in [
        layout.links_dir(),
        layout.db_dir(),
        layout.temp_roots_dir(),
        layout.profiles_dir(),
    ] {
        make(&dir)?;
    }
    make_gc_roots(layout)
}

/// Refuses a state that users other than its owner and group can change.
pub(super) fn refuse_insecure(layout: &StoreLayout) -> Result<()> {
    for dir in [
        layout.state.clone(),
        layout.db_dir(),
        layout.temp_roots_dir(),
    ] {
        let metadata =
            fs::symlink_metadata(&dir).map_err(|error| Error::io("look at", &dir, error))?;
        if metadata.is_dir() && metadata.mode() & 0o002 != 0 {
            return Err(Error::Insecure {
                path: dir,
                problem: "can be changed by every user: take that right away with 'chmod o-w'",
            });
        }
    }
    let db = layout.db_file();
    match fs::symlink_metadata(&db) {
        Ok(metadata) if !metadata.is_file() => Err(Error::Insecure {
            path: db,
            problem: "is not a regular file",
        }),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("look at", &db, error))
        }
        _ => Ok(()),
    }
}

/// Refuses a store that has lost its database, since a new one would be empty.
pub(super) fn require_database(layout: &StoreLayout) -> Result<()> {
    let path = layout.db_file();
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Error::MissingDatabase { path })
        }
        Err(error) => Err(Error::io("look at", &path, error)),
        Ok(_) => Ok(()),
    }
}

/// When root runs builds as other users, these must be able to make files in the store,
/// but not to remove each other's.
pub(super) fn give_to_group(store: &Path, group: &str) -> Result<()> {
    if !geteuid().is_root() || group.is_empty() {
        return Ok(());
    }
    let Some(gid) = group_id(group)? else {
        // Nix compat: a warning only.
        tracing::warn!("the group '{group}' specified in 'build-users-group' does not exist");
        return Ok(());
    };
    let metadata = fs::symlink_metadata(store).map_err(|e| Error::io("look at", store, e))?;
    if metadata.uid() != 0 || metadata.gid() != gid {
        let (root, gid) = (Uid::ROOT, Gid::from_raw(gid));
        rustix::fs::chownat(CWD, store, Some(root), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| Error::io("change the owner of", store, error))?;
    }
    if metadata.mode() & 0o7777 != STORE_MODE {
        fs::set_permissions(store, fs::Permissions::from_mode(STORE_MODE))
            .map_err(|error| Error::io("change the mode of", store, error))?;
    }
    Ok(())
}

/// 16 random hexadecimal digits.
pub(super) fn random_name() -> Result<String> {
    let bytes = getrandom::u64().map_err(|error| {
        let error = io::Error::other(error);
        Error::io("read", Path::new("the system's random numbers"), error)
    })?;
    Ok(format!("{bytes:016x}"))
}

fn make(dir: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(dir)
        .map_err(|error| Error::io("make directory", dir, error))
}

/// Makes `gcroots` with its link to the profiles in one step: a real Nix that starts at the
/// same time fails if it finds the directory missing and then the link there.
fn make_gc_roots(layout: &StoreLayout) -> Result<()> {
    let dir = layout.gc_roots_dir();
    if fs::symlink_metadata(&dir).is_ok() {
        return Ok(());
    }
    let fail = |error: io::Error| Error::io("make directory", &dir, error);
    let temp = layout.state.join(format!(".gcroots-{}", random_name()?));
    let link = temp.join("profiles");
    let profiles = std::path::absolute(layout.profiles_dir()).map_err(fail)?;
    make(&temp)?;
    let made = std::os::unix::fs::symlink(profiles, &link).and_then(|()| {
        let renamed = rustix::fs::renameat_with(CWD, &temp, CWD, &dir, RenameFlags::NOREPLACE);
        renamed.map_err(io::Error::from)
    });
    let Err(error) = made else {
        return Ok(());
    };
    // The first error is the one that counts; leftovers do no harm.
    let _ = fs::remove_file(&link);
    let _ = fs::remove_dir(&temp);
    match error.kind() {
        io::ErrorKind::AlreadyExists => Ok(()),
        // The file system can't do it. The link is redundant: collectors scan the profiles.
        io::ErrorKind::InvalidInput => make(&dir),
        _ => Err(fail(error)),
    }
}

fn group_id(name: &str) -> Result<Option<u32>> {
    // Not through the C library: a static program can't load its modules.
    let file = Path::new("/etc/group");
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", file, error)),
    };
    Ok(text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name))
            .then(|| fields.nth(1)?.parse().ok())
            .flatten()
    }))
}

/// Sticky, and writable by the group.
const STORE_MODE: u32 = 0o1775;
