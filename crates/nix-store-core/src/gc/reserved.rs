//! The ballast, `STATE/db/reserved`: room that a collector gives back when the disk is full.
//!
//! A collection makes the database's log longer before it frees anything, so on a full disk it
//! could not begin.

use std::io;

use rustix::fs::{CWD, FallocateFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::layout::StoreLayout;
use crate::lock::{GcLock, LockMode, Wait};

/// Makes the file, or gives it the right size; with 0, removes it. That there is no room for it
/// is no error.
pub(crate) fn renew(layout: &StoreLayout, bytes: u64) {
    if let Err(error) = try_renew(layout, bytes) {
        tracing::debug!(path = %layout.reserved_file().display(), %error, "no room is reserved");
        // A smaller one would hold less than it seems to.
        let _ = std::fs::remove_file(layout.reserved_file());
    }
}

/// Gives the room back.
///
/// # Errors
/// The file is there and can't be removed.
pub(crate) fn give_up(layout: &StoreLayout) -> Result<()> {
    let path = layout.reserved_file();
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", &path, error))
        }
        _ => Ok(()),
    }
}

fn try_renew(layout: &StoreLayout, bytes: u64) -> io::Result<()> {
    let path = layout.reserved_file();
    if bytes == 0 {
        return std::fs::remove_file(&path);
    }
    match std::fs::symlink_metadata(&path) {
        Ok(metadata) if metadata.is_file() && metadata.len() == bytes => return Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // A collector that has given the room back still needs it.
    let lock = GcLock::acquire(&layout.state, LockMode::Shared, Wait::Never);
    if !matches!(lock, Ok(Some(_))) {
        return Ok(());
    }
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(CWD, &path, flags, Mode::RUSR | Mode::WUSR)?;
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL.into());
    }
    rustix::fs::ftruncate(&file, bytes)?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        // Not every file system can; then zeroes are written.
        Err(Errno::OPNOTSUPP) => fill(file.into(), bytes),
        done => Ok(done?),
    }
}

fn fill(mut file: std::fs::File, bytes: u64) -> io::Result<()> {
    io::copy(&mut io::Read::take(io::repeat(b'X'), bytes), &mut file).map(drop)
}

#[cfg(test)]
mod tests {
    use nix_base::StoreDir;

    use super::*;

    fn layout() -> (tempfile::TempDir, StoreLayout) {
        let root = tempfile::tempdir().unwrap();
        let layout = StoreLayout::chroot(StoreDir::default(), root.path());
        std::fs::create_dir_all(layout.db_dir()).unwrap();
        (root, layout)
    }

    #[test]
    fn takes_room_once_and_gives_it_back() {
        use std::os::unix::fs::MetadataExt;
        let (_root, layout) = layout();
        renew(&layout, 1 << 20);
        let made = std::fs::metadata(layout.reserved_file()).unwrap();
        assert_eq!((made.len(), made.mode() & 0o7777), (1 << 20, 0o600));
        assert!(made.blocks() * 512 >= 1 << 20, "holes hold no room");
        renew(&layout, 1 << 20);
        let kept = std::fs::metadata(layout.reserved_file()).unwrap();
        assert_eq!(kept.mtime_nsec(), made.mtime_nsec());
        renew(&layout, 1 << 16);
        assert_eq!(
            std::fs::metadata(layout.reserved_file()).unwrap().len(),
            1 << 16
        );

        give_up(&layout).unwrap();
        assert!(!layout.reserved_file().try_exists().unwrap());
        give_up(&layout).unwrap();
        renew(&layout, 0);
        assert!(!layout.reserved_file().try_exists().unwrap());
    }

    #[test]
    fn keeps_nothing_that_is_smaller_than_asked_for() {
        let (_root, layout) = layout();
        renew(&layout, 1 << 62);
        assert!(!layout.reserved_file().try_exists().unwrap());
    }
}
