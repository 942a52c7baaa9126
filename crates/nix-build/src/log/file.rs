//! Logs that are kept: `LOG/drvs/<first two characters>/<rest>`, with `.bz2` behind it if
//! compressed, where the name is that of the derivation in the store.
//!
//! A log appears whole or not at all. Of a compressed and a plain log Nix reads the plain
//! one, so whichever is written replaces the other.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bzip2::Compression;
use bzip2::read::MultiBzDecoder;
use bzip2::write::BzEncoder;
use nix_base::StorePath;
use nix_store_core::StoreLayout;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

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
/// Compressing a long log takes longer than many builds, so nobody is made to wait for it:
/// the log is kept as it is, and compressed behind the caller's back. If this process ends
/// before, it stays as it is, which every reader takes as well.
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
    let length = raw
        .metadata()
        .map_err(|source| failed("examine the log for", &plain, source))?
        .len();
    if compress && length <= AT_ONCE {
        write_to(&packed, raw, copy_compressed)?;
        remove(&plain)?;
        return Ok(packed);
    }
    let kept = write_to(&plain, raw, copy)?;
    remove(&packed)?;
    if compress {
        compress_later(raw, kept, plain.clone(), packed);
    }
    Ok(plain)
}

/// Compresses in a thread of its own.
fn compress_later(raw: &File, kept: File, plain: PathBuf, packed: PathBuf) {
    let path = plain.clone();
    let started = raw.try_clone().and_then(|raw| {
        std::thread::Builder::new()
            .name("compress-log".to_owned())
            .spawn(move || {
                if let Err(error) = replace_by_compressed(&raw, &kept, &plain, &packed) {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(path = %plain.display(), error, "a log isn't compressed");
                }
            })
    });
    if let Err(error) = started {
        tracing::warn!(path = %path.display(), %error, "a log isn't compressed");
    }
}

fn replace_by_compressed(
    raw: &File,
    kept: &File,
    plain: &Path,
    packed: &Path,
) -> Result<(), LogError> {
    let mut fresh = Fresh::beside(packed)?;
    copy_compressed(raw, &mut fresh.file).map_err(|source| failed("write", packed, source))?;
    if !is_at(kept, plain) {
        // Another build has come to its end meanwhile: its log counts.
        return Ok(());
    }
    fresh.move_to(packed)?;
    remove(plain)
}

/// Whether `path` is this very file, which can't be mistaken for a later one as long as it
/// is open.
fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(file), Ok(there)) => id(file) == id(there),
        _ => false,
    }
}

fn write_to(
    place: &Path,
    raw: &File,
    copy: impl FnOnce(&File, &mut File) -> io::Result<()>,
) -> Result<File, LogError> {
    let mut fresh = Fresh::beside(place)?;
    let write = |file: &mut File| {
        copy(raw, file)?;
        file.try_clone()
    };
    let file = write(&mut fresh.file).map_err(|source| failed("write", place, source))?;
    fresh.move_to(place)?;
    Ok(file)
}

fn remove(path: &Path) -> Result<(), LogError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, error)),
        _ => Ok(()),
    }
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

/// A file on its way to its place. Where the file system can do it, it has no name until
/// it gets there, so that nothing is left of it whatever happens; elsewhere it lies beside
/// its place and is removed unless it gets there.
struct Fresh {
    file: File,
    named: Option<PathBuf>,
}

impl Fresh {
    fn beside(place: &Path) -> Result<Self, LogError> {
        match Self::create(place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_parent(place)?;
                Self::create(place)
            }
            result => result,
        }
        .map_err(|source| failed("create", place, source))
    }

    fn create(place: &Path) -> io::Result<Self> {
        let parent = place.parent().unwrap_or(place);
        let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(LOG_MODE);
        let fresh = match rustix::fs::open(parent, flags, mode) {
            Ok(file) => Self {
                file: file.into(),
                named: None,
            },
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let path = name_beside(place)?;
                let mut options = OpenOptions::new();
                options.write(true).create_new(true).mode(LOG_MODE);
                Self {
                    file: options.open(&path)?,
                    named: Some(path),
                }
            }
            Err(error) => return Err(error.into()),
        };
        // Whatever the umask is: logs are for everybody.
        if fresh.file.metadata()?.permissions().mode() & 0o777 != LOG_MODE {
            fresh
                .file
                .set_permissions(Permissions::from_mode(LOG_MODE))?;
        }
        Ok(fresh)
    }

    fn move_to(mut self, place: &Path) -> Result<(), LogError> {
        self.try_move_to(place)
            .map_err(|source| failed("create", place, source))
    }

    fn try_move_to(&mut self, place: &Path) -> io::Result<()> {
        if self.named.is_none() {
            match self.link(place) {
                // Only a file with a name can replace another one.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let path = name_beside(place)?;
                    self.link(&path)?;
                    self.named = Some(path);
                }
                result => return result,
            }
        }
        if let Some(path) = &self.named {
            std::fs::rename(path, place)?;
            self.named = None;
        }
        Ok(())
    }

    fn link(&self, path: &Path) -> io::Result<()> {
        let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        rustix::fs::linkat(CWD, own, CWD, path, AtFlags::SYMLINK_FOLLOW)?;
        Ok(())
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Some(path) = &self.named {
            // Nothing can be done about a file that stays.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn name_beside(place: &Path) -> io::Result<PathBuf> {
    let random = getrandom::u64().map_err(io::Error::other)?;
    Ok(with_suffix(place, &format!(".{random:016x}.tmp")))
}

fn make_parent(place: &Path) -> Result<(), LogError> {
    let parent = place.parent().unwrap_or(place);
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(parent)
        .map_err(|source| failed("create", parent, source))
}

fn copy(raw: &File, to: &mut (impl Write + ?Sized)) -> io::Result<()> {
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

const LOG_MODE: u32 = 0o644;

/// Longer logs are compressed later.
const AT_ONCE: u64 = 1 << 20;

/// Nothing at all, compressed.
const EMPTY: [u8; 14] = *b"BZh9\x17\x72\x45\x38\x50\x90\0\0\0\0";

#[cfg(test)]
mod tests;
