//! The store directory: the prefix that turns a [`StorePath`] into a full path.

use std::fmt;

use crate::store_path::{StorePath, StorePathError};

/// The logical store directory, such as `/nix/store`.
///
/// It is absolute, without trailing slash or empty components. It takes part in every
/// fingerprint, so that two store directories give different hashes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreDir(Box<str>);

impl Default for StoreDir {
    fn default() -> Self {
        Self("/nix/store".into())
    }
}

/// A text that can't be a store directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a store directory: it must be an absolute path without '.', '..' or control characters"
)]
pub struct StoreDirError(pub String);

impl StoreDir {
    /// A store directory from an absolute path; doubled and trailing slashes are dropped.
    ///
    /// # Errors
    /// The path is relative, is `/`, or contains `.`, `..`, NUL or a line break.
    pub fn new(path: &str) -> Result<Self, StoreDirError> {
        let error = || StoreDirError(path.into());
        if !path.starts_with('/') || path.contains(['\0', '\n']) {
            return Err(error());
        }
        let mut clean = String::with_capacity(path.len());
        for component in path.split('/').filter(|c| !c.is_empty()) {
            if component == "." || component == ".." {
                return Err(error());
            }
            clean.push('/');
            clean.push_str(component);
        }
        if clean.is_empty() {
            return Err(error());
        }
        Ok(Self(clean.into()))
    }

    /// The directory as text, without trailing slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses the full path of a store object, directly below this directory.
    ///
    /// Doubled slashes, `.` and `..` are resolved lexically first, as real Nix does.
    ///
    /// # Errors
    /// The path is elsewhere, or its base name is not that of a store path.
    pub fn parse(&self, path: impl AsRef<[u8]>) -> Result<StorePath, StorePathError> {
        let path = path.as_ref();
        if let Some(base) = self.strip(path)
            && !base.contains(&b'/')
        {
            return StorePath::from_base_name_bytes(base);
        }
        let clean = lexically_clean(path);
        match self.strip(&clean) {
            Some(base) if !base.contains(&b'/') => StorePath::from_base_name_bytes(base),
            _ => Err(StorePathError::not_in_store(path)),
        }
    }

    /// Parses a path at or below a store object: the object and the rest after it.
    ///
    /// # Errors
    /// The path is not below this directory, or the first component is no store path.
    pub fn parse_in_store(&self, path: &str) -> Result<(StorePath, String), StorePathError> {
        let clean = lexically_clean(path.as_bytes());
        let below = self
            .strip(&clean)
            .ok_or_else(|| StorePathError::not_in_store(path.as_bytes()))?;
        let end = below.iter().position(|&b| b == b'/').unwrap_or(below.len());
        let object = StorePath::from_base_name_bytes(&below[..end])?;
        let rest = below.get(end + 1..).unwrap_or_default();
        Ok((object, String::from_utf8_lossy(rest).into_owned()))
    }

    /// The full path of `path`, for printing.
    #[must_use]
    pub fn display<'a>(&'a self, path: &'a StorePath) -> FullPath<'a> {
        FullPath { dir: self, path }
    }

    /// The full path of `path` as a string.
    #[must_use]
    pub fn print(&self, path: &StorePath) -> String {
        let mut text = String::with_capacity(self.0.len() + 1 + path.base_name_len());
        self.append_to(path, &mut text);
        text
    }

    /// Appends the full path of `path` to `text`.
    pub fn append_to(&self, path: &StorePath, text: &mut String) {
        text.push_str(&self.0);
        text.push('/');
        text.push_str(path.hash().as_str());
        text.push('-');
        text.push_str(path.name().as_str());
    }

    /// Length in bytes of the full path of `path`.
    #[must_use]
    pub fn full_len(&self, path: &StorePath) -> usize {
        self.0.len() + 1 + path.base_name_len()
    }

    fn strip<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        path.strip_prefix(self.0.as_bytes())?.strip_prefix(b"/")
    }
}

impl fmt::Display for StoreDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A store path with its directory, as returned by [`StoreDir::display`].
#[derive(Debug, Clone, Copy)]
pub struct FullPath<'a> {
    dir: &'a StoreDir,
    path: &'a StorePath,
}

impl fmt::Display for FullPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.dir, self.path)
    }
}

/// Resolves `//`, `/./` and `/x/..` without looking at the file system.
fn lexically_clean(path: &[u8]) -> Vec<u8> {
    if !path.starts_with(b"/") {
        return path.to_vec();
    }
    let mut clean: Vec<u8> = Vec::with_capacity(path.len());
    for component in path.split(|&b| b == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                let parent = clean.iter().rposition(|&b| b == b'/').unwrap_or(0);
                clean.truncate(parent);
            }
            name => {
                clean.push(b'/');
                clean.extend_from_slice(name);
            }
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = "/nix/store/i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt";

    #[test]
    fn parses_canonical_and_sloppy_spellings() {
        let dir = StoreDir::default();
        let path = dir.parse(HELLO).unwrap();
        for sloppy in [
            "//nix//store/./i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt",
            "/nix/store/x/../i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt",
            "/nix/store/i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt/",
        ] {
            assert_eq!(dir.parse(sloppy).unwrap(), path, "{sloppy}");
        }
        assert_eq!(dir.print(&path), HELLO);
        assert_eq!(dir.display(&path).to_string(), HELLO);
        assert_eq!(dir.full_len(&path), HELLO.len());
    }

    #[test]
    fn refuses_paths_outside() {
        let dir = StoreDir::default();
        for outside in [
            "",
            "/",
            "/nix/store",
            "/nix/store/",
            "nix/store/i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt",
            "/nix/storei9pmrzmpshapij2kin22pff6fc2adavx-hello.txt",
            "/nix/store/i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt/sub",
            "/nix/store/../i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt",
            "/etc/passwd",
        ] {
            assert!(dir.parse(outside).is_err(), "{outside}");
        }
        assert_eq!(
            dir.parse("/etc/passwd").unwrap_err().to_string(),
            "path '/etc/passwd' is not in the Nix store"
        );
    }

    #[test]
    fn cuts_sub_paths() {
        let dir = StoreDir::default();
        let (path, rest) = dir.parse_in_store(&format!("{HELLO}/bin/x")).unwrap();
        assert_eq!((dir.print(&path).as_str(), rest.as_str()), (HELLO, "bin/x"));
        let (_, rest) = dir.parse_in_store(HELLO).unwrap();
        assert_eq!(rest, "");
    }

    #[test]
    fn store_directories_are_normalised_or_refused() {
        assert_eq!(
            StoreDir::new("//gnu/store/").unwrap().as_str(),
            "/gnu/store"
        );
        for bad in ["", "/", "gnu/store", "/a/../b", "/a/./b", "/a\nb"] {
            assert!(StoreDir::new(bad).is_err(), "{bad}");
        }
    }
}
