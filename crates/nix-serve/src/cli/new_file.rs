//! Files that appear complete, with their modes, or not at all.
//!
//! What is no regular file takes contents as they come: devices, pipes and links stay.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Whether a file that is there is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replace {
    /// It is an error that there is one.
    No,
    /// It gives way; what is no file, or a link to one, takes the contents.
    Yes,
}

/// Writes `contents` to a new file at `path`.
pub(crate) fn write_new_file(
    path: &Path,
    contents: &[u8],
    mode: u32,
    replace: Replace,
) -> io::Result<()> {
    if replace == Replace::Yes
        && std::fs::symlink_metadata(path).is_ok_and(|found| !found.is_file())
    {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(mode);
        return options.open(path)?.write_all(contents);
    }
    let temp = Temporary::create(path, mode)?;
    let mut file = &temp.file;
    file.write_all(contents)?;
    file.sync_all()?;
    temp.appear(path, replace)
}

/// A file under another name; removed when dropped.
struct Temporary {
    file: File,
    path: PathBuf,
}

impl Temporary {
    fn create(beside: &Path, mode: u32) -> io::Result<Self> {
        let mut name = beside.file_name().unwrap_or_default().to_owned();
        name.push(format!(".tmp-{}", std::process::id()));
        let path = beside.with_file_name(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        let file = options.open(&path)?;
        Ok(Self { file, path })
    }

    fn appear(self, path: &Path, replace: Replace) -> io::Result<()> {
        match replace {
            Replace::Yes => std::fs::rename(&self.path, path),
            // Unlike a rename, it never takes the place of another file.
            Replace::No => std::fs::hard_link(&self.path, path),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It is gone if it was renamed.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_only_on_demand() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        write_new_file(&file, b"one", 0o600, Replace::No).unwrap();
        let error = write_new_file(&file, b"two", 0o600, Replace::No).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&file).unwrap(), b"one");
        write_new_file(&file, b"three", 0o600, Replace::Yes).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"three");
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn devices_and_links_stay_what_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link, pipe) = ["file", "link", "pipe"]
            .map(|name| dir.path().join(name))
            .into();
        std::os::unix::fs::symlink("file", &link).unwrap();
        write_new_file(&link, b"one", 0o600, Replace::No).unwrap_err();
        write_new_file(&link, b"longer", 0o600, Replace::Yes).unwrap();
        write_new_file(&link, b"two", 0o600, Replace::Yes).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"two");
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| std::fs::read(&pipe).unwrap());
            write_new_file(&pipe, b"three", 0o600, Replace::Yes).unwrap();
            assert_eq!(reader.join().unwrap(), b"three");
        });
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }
}
