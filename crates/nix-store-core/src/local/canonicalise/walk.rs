//! Walking a tree by descriptors, as deep as archives can be and no deeper.

use super::*;

/// What is done with the objects of a tree.
pub(super) trait Visit {
    /// Looks at every object first.
    fn check(&mut self, stat: &Stat, path: &dyn Fn() -> PathBuf) -> Result<()>;

    /// Then, at what is no directory, again.
    fn leaf(
        &mut self,
        _dir: BorrowedFd<'_>,
        _name: &CStr,
        _stat: &Stat,
        _path: &dyn Fn() -> PathBuf,
    ) -> Result<()> {
        Ok(())
    }

    /// Has seen all that is in a directory.
    fn leave(&mut self, _dir: &OwnedFd, _path: &dyn Fn() -> PathBuf) -> Result<()> {
        Ok(())
    }
}

/// A tree on disk.
pub(super) struct Tree<'t> {
    parent: BorrowedFd<'t>,
    parent_path: &'t Path,
    root: CString,
    /// The open directories, outermost first.
    levels: Vec<Level>,
}

struct Level {
    dir: OwnedFd,
    name: CString,
    /// What is still to be visited.
    entries: Vec<CString>,
}

impl<'t> Tree<'t> {
    pub(super) fn new(parent: BorrowedFd<'t>, parent_path: &'t Path, root: &OsStr) -> Result<Self> {
        let root = CString::new(root.as_bytes()).map_err(|error| CanonicaliseError::Io {
            action: "examine",
            path: parent_path.to_owned(),
            source: error.into(),
        })?;
        Ok(Self {
            parent,
            parent_path,
            root,
            levels: Vec::new(),
        })
    }

    pub(super) fn walk(mut self, visit: &mut dyn Visit) -> Result<()> {
        let root = self.root.clone();
        self.entry(root, visit)?;
        while let Some(level) = self.levels.last_mut() {
            if let Some(name) = level.entries.pop() {
                self.entry(name, visit)?;
            } else if let Some(done) = self.levels.pop() {
                visit.leave(&done.dir, &|| self.path(&done.name))?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, name: CString, visit: &mut dyn Visit) -> Result<()> {
        let dir = self.levels.last().map_or(self.parent, |l| l.dir.as_fd());
        let path = || self.path(&name);
        let stat = rustix::fs::statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| failed("examine", &path, e))?;
        visit.check(&stat, &path)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return visit.leaf(dir, &name, &stat, &path);
        }
        if self.levels.len() >= MAX_DEPTH {
            return Err(CanonicaliseError::TooDeep(path()));
        }
        let opened = open_directory(dir, &name, &stat).map_err(|e| failed("open", &path, e))?;
        let entries = list(&opened).map_err(|e| failed("read directory", &path, e))?;
        self.levels.push(Level {
            dir: opened,
            name,
            entries,
        });
        Ok(())
    }

    /// The path of an entry of the innermost open directory.
    fn path(&self, name: &CStr) -> PathBuf {
        let inner: Vec<CString> = self.levels.iter().map(|l| l.name.clone()).collect();
        child_path(self.parent_path, &inner, name)
    }
}

/// Opens a directory so that its entries can be read and replaced.
fn open_directory(dir: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> rustix::io::Result<OwnedFd> {
    if !Mode::from_raw_mode(stat.st_mode).contains(Mode::RWXU) {
        add_mode(dir, name, Mode::RWXU)?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

fn list(dir: &OwnedFd) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}
