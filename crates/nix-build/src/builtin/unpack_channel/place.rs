//! The directory that an archive is unpacked to. Nothing outside of it is touched: names are
//! followed one component at a time, from descriptor to descriptor, and never through a
//! symlink.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bstr::{BStr, BString};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, linkat, mkdir, mkdirat, open, openat, renameat, statat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::UnpackError;

/// A name of an archive: components without `..`. Absolute names count as relative ones.
#[derive(Debug)]
pub(super) struct Name {
    text: BString,
    components: Vec<BString>,
}

impl Name {
    pub(super) fn parse(text: &BStr) -> Result<Self, UnpackError> {
        let components: Vec<BString> = text
            .split(|byte| *byte == b'/')
            .filter(|part| !matches!(*part, b"" | b"."))
            .map(BString::from)
            .collect();
        if components.iter().any(|part| part == "..") {
            return Err(UnpackError::DotDot(text.into()));
        }
        Ok(Self {
            text: text.into(),
            components,
        })
    }

    /// The last component, and those before it; `None` for the directory itself.
    fn split(&self) -> Option<(&BString, &[BString])> {
        self.components.split_last()
    }

    fn cannot(&self, error: Errno) -> UnpackError {
        UnpackError::CannotPlace {
            name: self.text.clone(),
            source: error.into(),
        }
    }

    /// There is something of this name, and it isn't for a file to replace.
    fn is_the_top(&self) -> UnpackError {
        self.cannot(Errno::ISDIR)
    }
}

/// The directory.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    fd: OwnedFd,
    /// The parent that was used last: most entries lie beside the one before.
    last_parent: RefCell<Option<(Vec<BString>, OwnedFd)>>,
}

impl Place {
    /// Makes the directory.
    pub(super) fn create(path: &Path) -> Result<Self, UnpackError> {
        mkdir(path, DIRECTORY_MODE).map_err(|error| io_error("create directory", path, error))?;
        let fd =
            open(path, DIRECTORY, Mode::empty()).map_err(|error| io_error("open", path, error))?;
        Ok(Self {
            path: path.to_owned(),
            fd,
            last_parent: RefCell::new(None),
        })
    }

    /// What is in it: two names are enough to know.
    pub(super) fn names(&self) -> Result<Vec<BString>, UnpackError> {
        let read = || -> rustix::io::Result<Vec<BString>> {
            let mut names = Vec::new();
            for entry in Dir::read_from(&self.fd)? {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                if !matches!(name, b"." | b"..") {
                    names.push(name.into());
                }
                if names.len() == 2 {
                    break;
                }
            }
            Ok(names)
        };
        read().map_err(|error| io_error("read directory", &self.path, error))
    }

    /// Gives the thing `from` in it another name.
    pub(super) fn rename(&self, from: &BString, to: &[u8]) -> Result<(), UnpackError> {
        renameat(&self.fd, from.as_slice(), &self.fd, to)
            .map_err(|error| io_error("rename the contents of", &self.path, error))
    }

    pub(super) fn make_directory(&self, name: &Name) -> Result<(), UnpackError> {
        let Some((last, parents)) = name.split() else {
            return Ok(());
        };
        let parent = self.parent(name, parents)?;
        match mkdirat(&parent, last.as_slice(), DIRECTORY_MODE) {
            Err(Errno::EXIST) if is_directory(&parent, last) => Ok(()),
            Err(Errno::EXIST) => {
                self.remove(name, &parent, last)?;
                mkdirat(&parent, last.as_slice(), DIRECTORY_MODE)
            }
            result => result,
        }
        .map_err(|error| name.cannot(error))
    }

    pub(super) fn make_file(&self, name: &Name, is_executable: bool) -> Result<File, UnpackError> {
        let mode = Mode::from_raw_mode(if is_executable { 0o755 } else { 0o644 });
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.make(name, |parent, last| {
            openat(parent, last.as_slice(), flags, mode)
        })
        .map(File::from)
    }

    pub(super) fn make_symlink(&self, name: &Name, target: &BString) -> Result<(), UnpackError> {
        self.make(name, |parent, last| {
            symlinkat(target.as_slice(), parent, last.as_slice())
        })
    }

    pub(super) fn make_hard_link(&self, name: &Name, target: &Name) -> Result<(), UnpackError> {
        let Some((target_last, target_parents)) = target.split() else {
            return Err(UnpackError::NoTarget(target.text.clone()));
        };
        let target_parent = self.existing_parent(target, target_parents)?;
        if statat(
            &target_parent,
            target_last.as_slice(),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .is_err()
        {
            return Err(UnpackError::NoTarget(target.text.clone()));
        }
        if name.components == target.components {
            return Ok(());
        }
        self.make(name, |parent, last| {
            // Without flags the link itself is linked to, if it is one.
            linkat(
                &target_parent,
                target_last.as_slice(),
                parent,
                last.as_slice(),
                AtFlags::empty(),
            )
        })
    }

    /// Makes something that isn't a directory; what has the name already is removed.
    fn make<T>(
        &self,
        name: &Name,
        make: impl Fn(&OwnedFd, &BString) -> rustix::io::Result<T>,
    ) -> Result<T, UnpackError> {
        let Some((last, parents)) = name.split() else {
            return Err(name.is_the_top());
        };
        let parent = self.parent(name, parents)?;
        match make(&parent, last) {
            Err(Errno::EXIST) => {
                self.remove(name, &parent, last)?;
                make(&parent, last)
            }
            result => result,
        }
        .map_err(|error| name.cannot(error))
    }

    /// Removes a file, a link or an empty directory.
    fn remove(&self, name: &Name, parent: &OwnedFd, last: &BString) -> Result<(), UnpackError> {
        self.last_parent.replace(None);
        let flags = match is_directory(parent, last) {
            true => AtFlags::REMOVEDIR,
            false => AtFlags::empty(),
        };
        unlinkat(parent, last.as_slice(), flags).map_err(|error| name.cannot(error))
    }

    /// The directory that a name lies in; what is missing on the way is made.
    fn parent(&self, name: &Name, parents: &[BString]) -> Result<OwnedFd, UnpackError> {
        self.walk(parents, |parent, part| {
            match mkdirat(parent, part.as_slice(), DIRECTORY_MODE) {
                Ok(()) | Err(Errno::EXIST) => Ok(()),
                Err(error) => Err(name.cannot(error)),
            }
        })
        .map_err(|error| error.of(name))
    }

    fn existing_parent(&self, name: &Name, parents: &[BString]) -> Result<OwnedFd, UnpackError> {
        self.walk(parents, |_, _| {
            Err(UnpackError::NoTarget(name.text.clone()))
        })
        .map_err(|error| error.of(name))
    }

    /// Goes down from directory to directory. `missing` is asked to make what isn't there.
    fn walk(
        &self,
        parents: &[BString],
        missing: impl Fn(&OwnedFd, &BString) -> Result<(), UnpackError>,
    ) -> Result<OwnedFd, WalkError> {
        if let Some((last, fd)) = &*self.last_parent.borrow()
            && last == parents
        {
            return fd.try_clone().map_err(WalkError::from_io);
        }
        let mut here = self.fd.try_clone().map_err(WalkError::from_io)?;
        for part in parents {
            let next = match openat(&here, part.as_slice(), DIRECTORY, Mode::empty()) {
                Err(Errno::NOENT) => {
                    missing(&here, part).map_err(WalkError::Given)?;
                    openat(&here, part.as_slice(), DIRECTORY, Mode::empty())
                }
                result => result,
            };
            here = match next {
                Ok(next) => next,
                Err(Errno::NOTDIR | Errno::LOOP) if is_symlink(&here, part) => {
                    return Err(WalkError::Symlink);
                }
                Err(error) => return Err(WalkError::Errno(error)),
            };
        }
        let copy = here.try_clone().map_err(WalkError::from_io)?;
        self.last_parent.replace(Some((parents.to_vec(), copy)));
        Ok(here)
    }
}

/// Why a directory can't be reached.
enum WalkError {
    Symlink,
    Errno(Errno),
    Given(UnpackError),
}

impl WalkError {
    fn from_io(error: io::Error) -> Self {
        Self::Errno(Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    fn of(self, name: &Name) -> UnpackError {
        match self {
            Self::Symlink => UnpackError::ThroughSymlink(name.text.clone()),
            Self::Errno(error) => name.cannot(error),
            Self::Given(error) => error,
        }
    }
}

fn is_directory(parent: &OwnedFd, name: &BString) -> bool {
    has_type(parent, name, FileType::Directory)
}

fn is_symlink(parent: &OwnedFd, name: &BString) -> bool {
    has_type(parent, name, FileType::Symlink)
}

fn has_type(parent: &OwnedFd, name: &BString, wanted: FileType) -> bool {
    statat(parent, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == wanted)
}

fn io_error(what: &'static str, path: &Path, error: Errno) -> UnpackError {
    UnpackError::Io {
        what,
        path: path.to_owned(),
        source: error.into(),
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);
