//! What becomes of the bytes: the output.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};
use nix_nar::fs::restore::{RestoreOptions, restore};

use super::FetchError;

/// Writes the output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Saver<'a> {
    pub(super) out: &'a Path,
    /// Whether it is a NAR, to be unpacked.
    pub(super) unpack: bool,
    pub(super) executable: bool,
}

impl Saver<'_> {
    /// Saves a file of this machine.
    pub(super) fn save_file(&self, address: &str, path: &Path) -> Result<(), FetchError> {
        let failed = |source| FetchError::File {
            address: address.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(failed)?;
        self.save(address, &mut file)?
            .map_or(Ok(()), |source| Err(failed(source)))
    }

    /// Saves what `body` gives. If that fails, nothing is there afterwards, and the error
    /// is in the value.
    pub(super) fn save(
        &self,
        address: &str,
        body: &mut dyn Read,
    ) -> Result<Option<io::Error>, FetchError> {
        let body = Watched {
            inner: RefCell::new(body),
            failure: RefCell::new(None),
        };
        let saved = match self.unpack {
            true => self.unpack(address, &body),
            false => self.write(&body),
        };
        let failure = body.failure.into_inner();
        if saved.is_err() || failure.is_some() {
            self.clean()?;
        }
        match failure {
            // Then whatever else went wrong is a consequence.
            Some(failure) => Ok(Some(failure)),
            None => saved.map(|()| None),
        }
    }

    fn write(&self, body: &Watched<'_>) -> Result<(), FetchError> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(self.out)
            .map_err(|error| self.failed("create", error))?;
        let mut block = vec![0; BLOCK];
        let mut body = body;
        loop {
            match body.read(&mut block) {
                Ok(0) => break,
                Ok(count) => file
                    .write_all(&block[..count])
                    .map_err(|error| self.failed("write", error))?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The body keeps it.
                Err(_) => return Ok(()),
            }
        }
        self.make_executable()
    }

    fn unpack(&self, address: &str, body: &Watched<'_>) -> Result<(), FetchError> {
        let (Some(parent), Some(name)) = (self.out.parent(), self.out.file_name()) else {
            let error = io::Error::from(io::ErrorKind::InvalidInput);
            return Err(self.failed("create", error));
        };
        let parent =
            File::open(parent).map_err(|error| self.failed("open the parent of", error))?;
        // Nix compat: the address decides, not the contents.
        let restored = if address.ends_with(".xz") {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)
                .map_err(|error| self.failed("unpack", error.into()))?;
            let packed = BufReader::with_capacity(BLOCK, body);
            let unpacked = XzDecoder::new_stream(packed, stream);
            unpack_nar(
                &mut BufReader::with_capacity(BLOCK, unpacked),
                &parent,
                name,
            )
        } else {
            unpack_nar(&mut BufReader::with_capacity(BLOCK, body), &parent, name)
        };
        restored.map_err(|source| FetchError::Unpack {
            address: address.to_owned(),
            source,
        })?;
        self.make_executable()
    }

    fn make_executable(&self) -> Result<(), FetchError> {
        if !self.executable {
            return Ok(());
        }
        fs::set_permissions(self.out, Permissions::from_mode(0o755))
            .map_err(|error| self.failed("make executable", error))
    }

    /// Removes what a failed attempt left.
    fn clean(&self) -> Result<(), FetchError> {
        let result = match fs::symlink_metadata(self.out) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(self.out),
            Ok(_) => fs::remove_file(self.out),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        result.map_err(|error| self.failed("remove", error))
    }

    fn failed(&self, what: &'static str, source: io::Error) -> FetchError {
        FetchError::Write {
            what,
            path: self.out.to_owned(),
            source,
        }
    }
}

fn unpack_nar(reader: &mut impl BufRead, parent: &File, name: &OsStr) -> nix_nar::Result<()> {
    restore(reader, parent.as_fd(), name, &RestoreOptions::default()).map(|_| ())
}

/// A body that remembers that it failed, whoever read it.
struct Watched<'a> {
    inner: RefCell<&'a mut dyn Read>,
    failure: RefCell<Option<io::Error>>,
}

impl Read for &Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.inner.borrow_mut().read(buffer);
        match result {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                let copy = io::Error::from(error.kind());
                self.failure.borrow_mut().get_or_insert(error);
                Err(copy)
            }
            result => result,
        }
    }
}

const BLOCK: usize = 128 * 1024;

/// A dictionary may have as much; the sandbox bounds what the builder takes in all.
const XZ_MEMORY: u64 = 256 << 20;
