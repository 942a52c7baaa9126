//! Runtime roots: what running processes use, as the kernel tells in `/proc`.
//!
//! Paths are found by their first bytes, the store directory. In a chroot store processes outside
//! see the files at their real place, so that is looked for, too.

use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use memchr::memmem::Finder;
use nix_base::StorePath;
use nix_base::store_path::{HASH_DIGITS, MAX_NAME_LEN};
use rustix::fs::{Dir, Mode, OFlags};
use rustix::io::Errno;

use super::found::Found;
use super::{ProcessUse, RootSource};
use crate::layout::StoreLayout;

/// Finds what the processes listed in `proc` use.
pub(super) fn find(layout: &StoreLayout, proc: &Path, found: &mut Found) {
    let dir = match open_dir(rustix::fs::CWD, proc) {
        Ok(dir) => dir,
        Err(error) => return found.unreadable(proc, error),
    };
    let mut scan = Scan {
        needles: Needles::new(layout),
        buffer: Vec::new(),
        found,
    };
    let entries = match Dir::read_from(&dir) {
        Ok(entries) => entries,
        Err(error) => return scan.found.unreadable(proc, error),
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return scan.found.unreadable(proc, error),
        };
        let Some(pid) = number(entry.file_name()) else {
            continue;
        };
        if let Err(error) = scan.process(&dir, entry.file_name(), pid) {
            let path = proc.join(pid.to_string());
            scan.found.unreadable(&path, error);
        }
    }
    for name in KERNEL {
        if let Err(error) = scan.kernel(&dir, proc, name) {
            scan.found.unreadable(&proc.join(name), error);
        }
    }
}

struct Scan<'a> {
    needles: Needles,
    buffer: Vec<u8>,
    found: &'a mut Found,
}

impl Scan<'_> {
    fn process(&mut self, proc: &OwnedFd, name: &CStr, pid: u32) -> Result<(), Errno> {
        let Some(dir) = unless_gone(open_dir(proc, name))? else {
            return Ok(());
        };
        self.link(&dir, c"exe", pid, ProcessUse::Executable)?;
        self.link(&dir, c"cwd", pid, ProcessUse::WorkingDirectory)?;
        self.descriptors(&dir, pid)?;
        self.file(&dir, c"maps", pid, ProcessUse::Maps)?;
        self.file(&dir, c"environ", pid, ProcessUse::Environment)
    }

    fn descriptors(&mut self, process: &OwnedFd, pid: u32) -> Result<(), Errno> {
        let Some(dir) = unless_gone(open_dir(process, c"fd"))? else {
            return Ok(());
        };
        // A process that executes a program of another user closes this directory.
        let Some(entries) = unless_gone(Dir::read_from(&dir))? else {
            return Ok(());
        };
        for entry in entries {
            let Some(entry) = unless_gone(entry)? else {
                break;
            };
            if let Some(descriptor) = number(entry.file_name()) {
                let what = ProcessUse::Descriptor(descriptor);
                self.link(&dir, entry.file_name(), pid, what)?;
            }
        }
        Ok(())
    }

    fn link(
        &mut self,
        dir: &OwnedFd,
        name: &CStr,
        pid: u32,
        what: ProcessUse,
    ) -> Result<(), Errno> {
        let buffer = std::mem::take(&mut self.buffer);
        let target = match rustix::fs::readlinkat(dir, name, buffer) {
            // Anybody can be at a place so deep that the kernel can't name it. That must not
            // keep collectors from their work.
            Err(Errno::NAMETOOLONG) => None,
            target => unless_gone(target)?,
        };
        let Some(target) = target else {
            return Ok(());
        };
        if let Some(path) = self.needles.at_start(target.as_bytes()) {
            self.found.add(RootSource::Process { pid, what }, path);
        }
        self.buffer = target.into_bytes();
        Ok(())
    }

    fn file(
        &mut self,
        dir: &OwnedFd,
        name: &CStr,
        pid: u32,
        what: ProcessUse,
    ) -> Result<(), Errno> {
        if !self.read(dir, name)? {
            return Ok(());
        }
        for path in self.needles.all(&self.buffer) {
            self.found.add(RootSource::Process { pid, what }, path);
        }
        Ok(())
    }

    fn kernel(&mut self, dir: &OwnedFd, proc: &Path, name: &str) -> Result<(), Errno> {
        let c_name = std::ffi::CString::new(name).map_err(|_| Errno::INVAL)?;
        if self.read(dir, &c_name)?
            && let Some(path) = self.needles.at_start(&self.buffer)
        {
            self.found.add(RootSource::Kernel(proc.join(name)), path);
        }
        Ok(())
    }

    /// Reads a whole file into the buffer. False if there is none, or none for us.
    fn read(&mut self, dir: &OwnedFd, name: &CStr) -> Result<bool, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(dir, name, flags, Mode::empty());
        let Some(file) = unless_gone(opened)? else {
            return Ok(false);
        };
        self.buffer.clear();
        match File::from(file).read_to_end(&mut self.buffer) {
            Ok(_) => Ok(true),
            Err(error) => match Errno::from_io_error(&error) {
                // What a process has taken out of its memory names nothing any more.
                Some(Errno::IO) => Ok(true),
                Some(error) => unless_gone(Err(error)).map(|_: Option<()>| false),
                None => Err(Errno::NOMEM),
            },
        }
    }
}

/// Finds store paths in bytes.
struct Needles(Vec<Finder<'static>>);

impl Needles {
    fn new(layout: &StoreLayout) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let logical = layout.store_dir.as_str().as_bytes();
        let real = layout.real_store.as_os_str().as_bytes();
        let mut needles = vec![logical];
        if real != logical {
            needles.push(real);
        }
        let with_slash = |dir: &[u8]| Finder::new(&[dir, b"/"].concat()).into_owned();
        Self(needles.into_iter().map(with_slash).collect())
    }

    /// The store path in which the file with this path lies.
    fn at_start(&self, path: &[u8]) -> Option<StorePath> {
        let mut rest = self.0.iter().filter_map(|n| path.strip_prefix(n.needle()));
        rest.find_map(path_at)
    }

    /// All store paths that `text` names, each once.
    fn all(&self, text: &[u8]) -> Vec<StorePath> {
        let mut names: Vec<&[u8]> = Vec::new();
        for needle in &self.0 {
            let starts = needle.find_iter(text).map(|at| at + needle.needle().len());
            names.extend(starts.filter_map(|start| name_at(&text[start..])));
        }
        names.sort_unstable();
        names.dedup();
        let paths = names.into_iter().map(StorePath::from_base_name_bytes);
        paths.filter_map(Result::ok).collect()
    }
}

fn path_at(below: &[u8]) -> Option<StorePath> {
    StorePath::from_base_name_bytes(name_at(below)?).ok()
}

/// The base name of a store path with which `below` begins. Whatever can't be part of it ends it:
/// a slash, or ` (deleted)`.
fn name_at(below: &[u8]) -> Option<&[u8]> {
    let longest = &below[..below.len().min(HASH_DIGITS + 1 + MAX_NAME_LEN)];
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._?=".contains(byte);
    let end = longest.iter().position(|byte| !is_name(byte));
    let name = &longest[..end.unwrap_or(longest.len())];
    (name.get(HASH_DIGITS) == Some(&b'-')).then_some(name)
}

/// `None` if the process has ended, or is none of those that we may look at.
fn unless_gone<T>(result: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT | Errno::SRCH | Errno::ACCESS | Errno::PERM) => Ok(None),
        Err(error) => Err(error),
    }
}

fn open_dir(dir: impl std::os::fd::AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

fn number(name: &CStr) -> Option<u32> {
    name.to_str().ok()?.parse().ok()
}

/// Programs that the kernel starts.
const KERNEL: [&str; 3] = [
    "sys/kernel/modprobe",
    "sys/kernel/fbsplash",
    "sys/kernel/poweroff_cmd",
];

#[cfg(test)]
mod tests;
