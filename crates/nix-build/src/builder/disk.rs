//! How much room a running build takes on disk.
//!
//! The trees are walked by descriptors while the builder changes them: whatever vanishes
//! meanwhile is passed over, links aren't followed, other file systems aren't entered.

use std::collections::HashSet;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

/// Measures trees again and again.
#[derive(Debug, Default)]
pub(super) struct DiskUse {
    linked: HashSet<u64>,
}

impl DiskUse {
    /// Bytes that the trees take, files with several names once.
    pub(super) fn measure(&mut self, trees: &[BorrowedFd<'_>]) -> u64 {
        self.linked.clear();
        trees.iter().map(|tree| self.tree(*tree)).sum()
    }

    fn tree(&mut self, root: BorrowedFd<'_>) -> u64 {
        let Ok(stat) = rustix::fs::fstat(root) else {
            return 0;
        };
        let device = stat.st_dev;
        let mut total = 0u64;
        let Ok(first) = Dir::read_from(root) else {
            return 0;
        };
        let mut open = vec![first];
        loop {
            let depth = open.len();
            let Some(dir) = open.last_mut() else {
                return total;
            };
            let Some(entry) = dir.read() else {
                open.pop();
                continue;
            };
            let (Ok(entry), Ok(fd)) = (entry, dir.fd()) else {
                open.pop();
                continue;
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let Ok(stat) = rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            // What is mounted there, inputs above all, isn't the build's.
            if stat.st_dev != device {
                continue;
            }
            if stat.st_nlink <= 1 || self.linked.insert(stat.st_ino) {
                let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
                total = total.saturating_add(blocks.saturating_mul(512));
            }
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory && depth < MAX_DEPTH {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner = rustix::fs::openat(fd, name, flags, Mode::empty());
                if let Ok(inner) = inner.and_then(Dir::new) {
                    open.push(inner);
                }
            }
        }
    }
}

/// Most directories that are open at a time; deeper ones aren't counted.
const MAX_DEPTH: usize = 200;

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn files_count_once_however_many_names_they_have() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), vec![7; 1 << 20]).unwrap();
        let tree = std::fs::File::open(dir.path()).unwrap();
        let mut disk = DiskUse::default();
        let once = disk.measure(&[tree.as_fd()]);
        assert!(once >= 1 << 20, "{once}");
        std::fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
        let twice = disk.measure(&[tree.as_fd()]);
        assert!(twice < once + (1 << 19), "{once} {twice}");
    }
}
