//! Looks at files through memory maps, for tools that hash or scan what is in
//! a store already.
//!
//! This is only for files that nobody may change, such as those of a valid
//! store path, and only for short-lived programs on the machine itself: a map
//! counts as memory of the process, and where the file is cut short or the
//! disk fails to read, the access is a signal that kills. A serving process
//! uses [`super::dump`], which reads.
//!
//! The crate's only `unsafe` stands here.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use memmap2::MmapOptions;
use rustix::fs::{FileType, fstat};

/// Calls `visit` with each window of the file's contents in turn. A window is
/// at most 8 MiB long; no window is given for an empty file. Gives the size of
/// the file in bytes.
///
/// The file must not change meanwhile: see the module's text.
///
/// # Errors
/// What the system says to `fstat` and `mmap`, and any error of `visit`.
/// [`io::ErrorKind::InvalidInput`] when this is no regular file.
pub fn for_each_window(
    file: &File,
    mut visit: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<u64> {
    let stat = fstat(file.as_fd())?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let mut offset = 0;
    while offset < size {
        let left = usize::try_from(size - offset).unwrap_or(usize::MAX);
        let len = left.min(WINDOW);
        map_window(file, offset, len, &mut visit)?;
        offset += len as u64;
    }
    Ok(size)
}

#[allow(
    unsafe_code,
    reason = "a map of a file is only as good as the promise that it stays"
)]
fn map_window(
    file: &File,
    offset: u64,
    len: usize,
    visit: &mut impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    // SAFETY: the map is private, read-only and lives for this call. That the
    // bytes under it don't change is what the caller promises, by using this
    // for files of valid store paths alone, which are immutable.
    let window = unsafe {
        MmapOptions::new()
            .offset(offset)
            .len(len)
            .map_copy_read_only(file)
    }?;
    visit(&window)
}

/// The longest piece of a file that is mapped at once, in bytes.
const WINDOW: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn windows_join_to_the_whole_file() {
        let mut file = tempfile::tempfile().unwrap();
        let data: Vec<u8> = (0..=250).cycle().take(WINDOW + 5000).collect();
        file.write_all(&data).unwrap();
        let mut seen = Vec::new();
        let mut windows = 0;
        let size = for_each_window(&file, |window| {
            windows += 1;
            seen.extend_from_slice(window);
            Ok(())
        });
        assert_eq!(size.unwrap(), data.len() as u64);
        assert_eq!(windows, 2);
        assert!(seen == data);
    }

    #[test]
    fn an_empty_file_has_no_window() {
        let file = tempfile::tempfile().unwrap();
        let size = for_each_window(&file, |_| panic!("a window of nothing")).unwrap();
        assert_eq!(size, 0);
    }

    #[test]
    fn a_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::open(dir.path()).unwrap();
        let error = for_each_window(&file, |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
