//! Building the root file system of a sandbox, and entering it.
//!
//! Mount points are made component by component, by descriptors and without following
//! links, and only in what belongs to the sandbox: its tmpfs and the directories made for
//! this build. Nothing is ever created inside a path of the host.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, chownat, fchown, fstat,
    mkdirat, openat, openat2, readlinkat, statat, symlinkat,
};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount,
    mount_change, move_mount, open_tree, unmount,
};
use rustix::process::{fchdir, pivot_root};

use super::error::SandboxError;
use super::plan::{Bind, BindKind, KernelFs};
use super::sys;
use crate::config::Layer;

type Result<T, E = SandboxError> = std::result::Result<T, E>;

/// Cuts the mounts of this namespace off from those of the host.
pub(super) fn make_private() -> Result<()> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", flags).map_err(|e| failed("make all mounts private", e))
}

/// A root file system in the making.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
    /// The directory of the host that the tree is mounted on, and what it hides.
    hidden: (PathBuf, Option<OwnedFd>),
    /// What is below a directory made for this build, by its path inside.
    own: Vec<(PathBuf, OwnedFd)>,
    owner: Option<(Uid, Gid)>,
}

impl Tree {
    /// Mounts a tmpfs on a directory, and makes it the working directory.
    pub(super) fn create(on: &Path, options: &str, owner: Option<(u32, u32)>) -> Result<Self> {
        let hidden = clone_tree(on, OpenTreeFlags::AT_SYMLINK_NOFOLLOW)
            .map_err(|e| failed("get hold of", e).at(on))?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        let data = c_string(options.as_bytes())?;
        mount("none", on, "tmpfs", flags, data.as_c_str())
            .map_err(|e| failed("mount a tmpfs for the root", e))?;
        let root =
            openat(CWD, on, DIRECTORY, Mode::empty()).map_err(|e| failed("open the root", e))?;
        fchdir(&root).map_err(|e| failed("enter the root", e))?;
        Ok(Self {
            root,
            hidden: (on.to_owned(), Some(hidden)),
            own: Vec::new(),
            owner: owner.map(|(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid))),
        })
    }

    /// Makes a directory; one that is there stays as it is.
    pub(super) fn directory(&self, path: &Path, mode: u32) -> Result<()> {
        let (parent, name) = self.own_parent(path)?;
        match mkdirat(parent.as_fd(), name, Mode::from_raw_mode(mode)) {
            Ok(()) => self.give_away(parent.as_fd(), name),
            Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error),
        }
        .map_err(|e| failed("make the directory", e).at(path))
    }

    /// Makes a file.
    pub(super) fn file(&self, path: &Path, contents: &[u8]) -> Result<()> {
        let (parent, name) = self.own_parent(path)?;
        let write = || -> io::Result<()> {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = openat(parent.as_fd(), name, flags, Mode::from_raw_mode(0o644))?;
            if let Some((uid, gid)) = self.owner {
                fchown(&file, Some(uid), Some(gid))?;
            }
            io::Write::write_all(&mut std::fs::File::from(file), contents)
        };
        write().map_err(|e| failed("write the file", e).at(path))
    }

    /// Makes a symbolic link.
    pub(super) fn link(&self, path: &Path, target: &Path) -> Result<()> {
        let (parent, name) = self.own_parent(path)?;
        symlinkat(target, parent.as_fd(), name).map_err(|e| failed("make the link", e).at(path))
    }

    /// Lets something of the host appear inside.
    pub(super) fn bind(&mut self, bind: &Bind) -> Result<()> {
        let (source, target) = (bind.source.as_path(), bind.target.as_path());
        let flags = match bind.kind {
            BindKind::Own | BindKind::Input => OpenTreeFlags::AT_SYMLINK_NOFOLLOW,
            BindKind::Any { .. } => OpenTreeFlags::AT_RECURSIVE,
            BindKind::Device | BindKind::File => OpenTreeFlags::empty(),
        };
        let hidden = match self.hidden.0 == source {
            true => self.hidden.1.take(),
            false => None,
        };
        let tree = match hidden.map_or_else(|| clone_tree(source, flags), Ok) {
            Ok(tree) => tree,
            Err(Errno::NOENT) if bind.kind == (BindKind::Any { optional: true }) => return Ok(()),
            Err(error) => return Err(failed("get hold of", error).at(source)),
        };
        let stat = fstat(&tree).map_err(|e| failed("look at", e).at(source))?;
        let is_directory = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => return self.same_link(&tree, target),
            kind => kind == FileType::Directory,
        };
        let attributes = match bind.kind {
            BindKind::Own => sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV,
            BindKind::Input | BindKind::File => {
                sys::MOUNT_ATTR_RDONLY | sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV
            }
            BindKind::Device | BindKind::Any { .. } => 0,
        };
        if attributes != 0 {
            sys::add_mount_attributes(tree.as_fd(), attributes)
                .map_err(|e| failed("set the attributes of the mount of", e).at(source))?;
        }
        let (parent, name) = self.mount_point(target, is_directory)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&tree, "", parent.as_fd(), name, flags)
            .map_err(|e| failed("mount at", e).at(target))?;
        drop(parent);
        if bind.kind == BindKind::Own {
            self.own.push((target.to_owned(), tree));
        }
        Ok(())
    }

    /// Mounts a file system of the kernel's at its place. The root is the working directory.
    pub(super) fn kernel(&self, fs: &KernelFs) -> Result<()> {
        let shm;
        let (path, kind, data) = match fs {
            KernelFs::Proc => ("proc", "proc", c""),
            KernelFs::Sys => ("sys", "sysfs", c""),
            KernelFs::Shm(size) => {
                shm = c_string(format!("size={size}").as_bytes())?;
                ("dev/shm", "tmpfs", shm.as_c_str())
            }
            KernelFs::Pts => ("dev/pts", "devpts", c"newinstance,mode=0620,ptmxmode=0666"),
        };
        let inside = Path::new("/").join(path);
        self.directory(&inside, 0o755)?;
        let step = match fs {
            KernelFs::Proc => "mount (a container may have a masked one)",
            _ => "mount",
        };
        mount("none", path, kind, MountFlags::empty(), data).map_err(|e| failed(step, e).at(inside))
    }

    /// Makes the root read-only.
    pub(super) fn seal(&self) -> Result<()> {
        sys::add_mount_attributes(self.root.as_fd(), sys::MOUNT_ATTR_RDONLY)
            .map_err(|e| failed("make the root read-only", e))
    }

    /// Makes the tree the root, and drops the old one. Gives the new root, by which
    /// [`is_root`] knows it.
    pub(super) fn enter(self) -> Result<Stat> {
        let stat = fstat(&self.root).map_err(|e| failed("look at the root", e))?;
        fchdir(&self.root).map_err(|e| failed("enter the root", e))?;
        // Both at one place: the old root comes to lie on the new one, and is taken off.
        pivot_root(".", ".").map_err(|e| failed("change the root", e))?;
        unmount(".", UnmountFlags::DETACH).map_err(|e| failed("drop the old root", e))?;
        rustix::process::chdir("/").map_err(|e| failed("enter the new root", e))?;
        Ok(stat)
    }

    /// A link with the same target as the one in `tree`.
    fn same_link(&self, tree: &OwnedFd, path: &Path) -> Result<()> {
        let target =
            readlinkat(tree, "", Vec::new()).map_err(|e| failed("read the link", e).at(path))?;
        let (parent, name) = self.own_parent(path)?;
        match symlinkat(&target, parent.as_fd(), name) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) if readlinkat(parent.as_fd(), name, Vec::new()) == Ok(target) => {
                Ok(())
            }
            Err(error) => Err(failed("make the link", error).at(path)),
        }
    }

    /// A directory or an empty file at `path`, as its parent and name.
    fn mount_point<'a>(
        &'a self,
        path: &'a Path,
        is_directory: bool,
    ) -> Result<(Parent<'a>, &'a OsStr)> {
        let (parent, name) = self.parent(path)?;
        let made = if parent.is_foreign {
            Err(Errno::EXIST)
        } else if is_directory {
            mkdirat(parent.as_fd(), name, Mode::from_raw_mode(0o755))
        } else {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            openat(parent.as_fd(), name, flags, Mode::from_raw_mode(0o444)).map(drop)
        };
        let checked = match made {
            Ok(()) => self.give_away(parent.as_fd(), name),
            Err(Errno::EXIST) => fits(parent.as_fd(), name, is_directory),
            Err(error) => Err(error),
        };
        checked.map_err(|e| failed("make the mount point", e).at(path))?;
        Ok((parent, name))
    }

    /// The directory that is to contain `path`, made if need be, and the last name.
    fn parent<'a>(&'a self, path: &'a Path) -> Result<(Parent<'a>, &'a OsStr)> {
        let wrong = || failed("use the path", Errno::INVAL).at(path);
        let (base, rest) = self
            .own
            .iter()
            .filter_map(|(at, fd)| Some((fd, path.strip_prefix(at).ok()?)))
            .filter(|(_, rest)| !rest.as_os_str().is_empty())
            .min_by_key(|(_, rest)| rest.as_os_str().len())
            .or_else(|| Some((&self.root, path.strip_prefix("/").ok()?)))
            .ok_or_else(wrong)?;
        let name = rest.file_name().ok_or_else(wrong)?;
        let mut parent = Parent {
            base: base.as_fd(),
            inner: None,
            is_foreign: false,
        };
        for component in rest.parent().into_iter().flat_map(Path::components) {
            let Component::Normal(component) = component else {
                return Err(wrong());
            };
            let (directory, is_foreign) = self
                .step_into(&parent, component)
                .map_err(|e| failed("make directories for", e).at(path))?;
            parent.inner = Some(directory);
            parent.is_foreign |= is_foreign;
        }
        Ok((parent, name))
    }

    /// The same, where the last name can be made as well.
    fn own_parent<'a>(&'a self, path: &'a Path) -> Result<(Parent<'a>, &'a OsStr)> {
        let (parent, name) = self.parent(path)?;
        match parent.is_foreign {
            true => Err(failed("write to the host for", Errno::ROFS).at(path)),
            false => Ok((parent, name)),
        }
    }

    /// Opens or makes a directory; also says whether it is on another file system, where
    /// nothing may be made.
    fn step_into(&self, parent: &Parent<'_>, name: &OsStr) -> Result<(OwnedFd, bool), Errno> {
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
        let open = |resolve| openat2(parent.as_fd(), name, DIRECTORY, Mode::empty(), resolve);
        match open(resolve | ResolveFlags::NO_XDEV) {
            Ok(directory) => Ok((directory, false)),
            Err(Errno::XDEV) => Ok((open(resolve)?, true)),
            Err(Errno::NOENT) if !parent.is_foreign => {
                mkdirat(parent.as_fd(), name, Mode::from_raw_mode(0o755))?;
                self.give_away(parent.as_fd(), name)?;
                Ok((open(resolve | ResolveFlags::NO_XDEV)?, false))
            }
            Err(error) => Err(error),
        }
    }

    /// Gives what was just made to the owner of the tree.
    fn give_away(&self, parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
        match self.owner {
            Some((uid, gid)) => chownat(
                parent,
                name,
                Some(uid),
                Some(gid),
                AtFlags::SYMLINK_NOFOLLOW,
            ),
            None => Ok(()),
        }
    }
}

/// A directory in a [`Tree`].
#[derive(Debug)]
struct Parent<'a> {
    base: BorrowedFd<'a>,
    inner: Option<OwnedFd>,
    /// Whether it belongs to the host.
    is_foreign: bool,
}

impl AsFd for Parent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_ref().map_or(self.base, AsFd::as_fd)
    }
}

/// Whether `/` is this directory, with nothing above it.
pub(super) fn is_root(root: &Stat) -> io::Result<bool> {
    for path in ["/", "/.."] {
        let stat = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?;
        if (stat.st_dev, stat.st_ino) != (root.st_dev, root.st_ino) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A detached copy of the mount at `path`, beginning there.
fn clone_tree(path: &Path, flags: OpenTreeFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, path, flags)
}

/// Whether what is there can be mounted on: a directory on a directory, and anything but a
/// link on other things.
fn fits(parent: BorrowedFd<'_>, name: &OsStr, is_directory: bool) -> Result<(), Errno> {
    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory if is_directory => Ok(()),
        FileType::Directory => Err(Errno::ISDIR),
        FileType::Symlink => Err(Errno::LOOP),
        _ if is_directory => Err(Errno::NOTDIR),
        _ => Ok(()),
    }
}

fn c_string(bytes: &[u8]) -> Result<CString> {
    CString::new(OsStr::from_bytes(bytes).as_bytes())
        .map_err(|e| failed("use the mount options", io::Error::other(e)))
}

fn failed(step: &'static str, error: impl Into<io::Error>) -> SandboxError {
    let error = error.into();
    match error.raw_os_error() == Some(Errno::NOSYS.raw_os_error()) {
        true => SandboxError::new(Layer::Mounts, format!("{step} (needs Linux 5.12)"), error),
        false => SandboxError::new(Layer::Mounts, step, error),
    }
}

const DIRECTORY: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
