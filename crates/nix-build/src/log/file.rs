//! Logs that are kept: `LOG/drvs/<first two characters>/<rest>`, with `.bz2` behind it if
//! compressed, where the name is that of the derivation in the store.
//!
//! A log appears whole or not at all: it is written under another name beside its place
//! and moved. Of a compressed and a plain log Nix reads the plain one, so whichever is
//! written replaces the other.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bzip2::Compression;
use bzip2::read::MultiBzDecoder;
use bzip2::write::BzEncoder;
use nix_base::StorePath;
use nix_store_core::StoreLayout;

/// Why a log can't be kept or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// A system call failed.
    #[error("cannot {what} '{}'", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Where the log of `drv` is kept if it isn't compressed.
#[must_use]
pub fn log_path(layout: &StoreLayout, drv: &StorePath) -> PathBuf {
    let name = drv.to_string();
    // A name is at least 32 characters, all of them ASCII.
    let (head, rest) = name.split_at(2);
    layout.log.join("drvs").join(head).join(rest)
}

/// Keeps a log: copies `raw` from its start to where logs of `drv` are, compressed with
/// bzip2 or as it is. The log of an earlier build is replaced. `raw` keeps its position.
///
/// # Errors
/// It can't be read or written.
pub fn keep_log(
    layout: &StoreLayout,
    drv: &StorePath,
    raw: &File,
    compress: bool,
) -> Result<PathBuf, LogError> {
    let plain = log_path(layout, drv);
    let packed = with_suffix(&plain, ".bz2");
    let (place, other) = match compress {
        true => (packed, plain),
        false => (plain, packed),
    };
    let mut fresh = Fresh::beside(&place)?;
    let copied = match compress {
        true => copy_compressed(raw, &mut fresh.file),
        false => copy(raw, &mut fresh.file),
    };
    copied.map_err(|source| failed("write", &fresh.path, source))?;
    fresh.move_to(&place)?;
    match std::fs::remove_file(&other) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(failed("remove", &other, source)),
    }
    Ok(place)
}

/// Opens the log of `drv`, whether compressed or not; `None` if there is none.
///
/// # Errors
/// It is there and can't be opened.
pub fn open_log(layout: &StoreLayout, drv: &StorePath) -> Result<Option<Box<dyn Read>>, LogError> {
    // Nix compat: logs once lay directly in `drvs`.
    let old = layout.log.join("drvs").join(drv.to_string());
    for plain in [log_path(layout, drv), old] {
        if let Some(file) = open_if_there(&plain)? {
            return Ok(Some(Box::new(file)));
        }
        if let Some(file) = open_if_there(&with_suffix(&plain, ".bz2"))? {
            return Ok(Some(Box::new(MultiBzDecoder::new(file))));
        }
    }
    Ok(None)
}

fn open_if_there(path: &Path) -> Result<Option<File>, LogError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed("open", path, source)),
    }
}

/// A file beside its later place, which is removed unless it gets there.
struct Fresh {
    path: PathBuf,
    file: File,
    in_place: bool,
}

impl Fresh {
    fn beside(place: &Path) -> Result<Self, LogError> {
        let random = getrandom::u64()
            .map_err(|error| failed("make a name beside", place, io::Error::other(error)))?;
        let path = with_suffix(place, &format!(".{random:016x}.tmp"));
        match Self::create(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_parent(place)?;
                Self::create(&path)
            }
            result => result,
        }
        .map_err(|source| failed("create", &path, source))
    }

    fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(path)?;
        // Whatever the umask is: logs are for everybody.
        if file.metadata()?.permissions().mode() & 0o777 != 0o644 {
            file.set_permissions(Permissions::from_mode(0o644))?;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            in_place: false,
        })
    }

    fn move_to(mut self, place: &Path) -> Result<(), LogError> {
        std::fs::rename(&self.path, place).map_err(|source| failed("create", place, source))?;
        self.in_place = true;
        Ok(())
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if !self.in_place {
            // Nothing can be done about a file that stays.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn make_parent(place: &Path) -> Result<(), LogError> {
    let parent = place.parent().unwrap_or(place);
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(parent)
        .map_err(|source| failed("create", parent, source))
}

fn copy(raw: &File, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; BLOCK];
    let mut offset = 0;
    loop {
        match raw.read_at(&mut buffer, offset) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                to.write_all(&buffer[..count])?;
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn copy_compressed(raw: &File, to: &mut File) -> io::Result<()> {
    let length = raw.metadata()?.len();
    if length == 0 {
        return to.write_all(&EMPTY);
    }
    // The level is the size of the tables too, in units of 100 kB: most logs are small.
    let level = u32::try_from(length.div_ceil(100_000)).map_or(9, |level| level.clamp(1, 9));
    let mut encoder = BzEncoder::new(to, Compression::new(level));
    copy(raw, &mut encoder)?;
    encoder.finish()?;
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> LogError {
    LogError::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

const BLOCK: usize = 128 * 1024;

/// Nothing at all, compressed.
const EMPTY: [u8; 14] = *b"BZh9\x17\x72\x45\x38\x50\x90\0\0\0\0";

#[cfg(test)]
mod tests;
