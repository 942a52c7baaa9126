//! Sees the files of a tree while it is made.

use std::os::fd::BorrowedFd;

/// Whoever wants to know the files and symbolic links of a tree while their contents pass
/// by anyway. It isn't told of a root that is no directory.
///
/// It may put another object in the place of one that it is told of, if that has the same
/// contents and metadata: the directory is still writable, and gets its times later.
pub trait WatchFiles {
    /// A file begins.
    fn begin_file(&mut self, executable: bool, size: u64);

    /// More of its contents.
    fn contents(&mut self, data: &[u8]);

    /// The file begun last is complete: `name` in `dir`.
    fn end_file(&mut self, dir: BorrowedFd<'_>, name: &[u8]);

    /// There is a symbolic link.
    fn symlink(&mut self, dir: BorrowedFd<'_>, name: &[u8], target: &[u8]);
}
