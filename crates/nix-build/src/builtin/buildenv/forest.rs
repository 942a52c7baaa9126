//! The tree of links.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use super::packages::is_absent;
use super::{BuildEnvError, failed};
use crate::builtin::say;

/// The links made so far, with the priority of the package that each leads to.
#[derive(Debug, Default)]
pub(super) struct Forest {
    priorities: HashMap<PathBuf, i32>,
}

/// A directory of a package that is being linked into one of the tree.
struct Frame {
    source: PathBuf,
    target: PathBuf,
    priority: i32,
    names: std::vec::IntoIter<OsString>,
}

impl Forest {
    /// Links all that is in `source` into `target`.
    pub(super) fn add(
        &mut self,
        source: &Path,
        target: &Path,
        priority: i32,
    ) -> Result<(), BuildEnvError> {
        // A stack of our own: how deep a package goes isn't ours to say.
        let mut stack = Vec::new();
        push(&mut stack, source.to_owned(), target.to_owned(), priority)?;
        while let Some(frame) = stack.last_mut() {
            let Some(name) = frame.names.next() else {
                stack.pop();
                continue;
            };
            let priority = frame.priority;
            let source = frame.source.join(&name);
            let target = frame.target.join(&name);
            if name.as_bytes().starts_with(b".") {
                continue;
            }
            // What a link leads to counts, not the link.
            let is_directory = match fs::metadata(&source) {
                Ok(metadata) => metadata.is_dir(),
                Err(error) if is_absent(&error) => {
                    say::warning(&format!("skipping dangling symlink '{}'", target.display()));
                    continue;
                }
                Err(error) => return Err(failed("get status of", &source, error)),
            };
            if is_left_out(&source) {
                continue;
            }
            match is_directory {
                true => self.add_directory(&mut stack, source, target, priority)?,
                false => self.add_file(&source, target, priority)?,
            }
        }
        Ok(())
    }

    fn add_directory(
        &mut self,
        stack: &mut Vec<Frame>,
        source: PathBuf,
        target: PathBuf,
        priority: i32,
    ) -> Result<(), BuildEnvError> {
        match status(&target)? {
            None => self.link(&source, target, priority),
            Some(there) if there.is_symlink() => {
                let first = resolve(&target)?;
                if !fs::symlink_metadata(&first).is_ok_and(|metadata| metadata.is_dir()) {
                    return Err(BuildEnvError::DirectoryOverFile {
                        directory: source,
                        other: first,
                    });
                }
                let first_priority = self.priorities.get(&target).copied().unwrap_or(priority);
                fs::remove_file(&target).map_err(|error| failed("remove", &target, error))?;
                fs::DirBuilder::new()
                    .mode(0o755)
                    .create(&target)
                    .map_err(|error| failed("create directory", &target, error))?;
                // The last one pushed is the first one worked on: what was there before.
                push(stack, source, target.clone(), priority)?;
                push(stack, first, target, first_priority)
            }
            Some(_) => push(stack, source, target, priority),
        }
    }

    fn add_file(
        &mut self,
        source: &Path,
        target: PathBuf,
        priority: i32,
    ) -> Result<(), BuildEnvError> {
        match status(&target)? {
            None => {}
            Some(there) if there.is_symlink() => {
                let first_priority = self.priorities.get(&target).copied().unwrap_or(priority);
                if first_priority == priority {
                    let first = fs::read_link(&target)
                        .map_err(|error| failed("read symlink", &target, error))?;
                    return Err(BuildEnvError::Conflict {
                        first,
                        second: source.to_owned(),
                        priority,
                    });
                }
                if first_priority < priority {
                    return Ok(());
                }
                fs::remove_file(&target).map_err(|error| failed("remove", &target, error))?;
            }
            Some(_) => {
                return Err(BuildEnvError::FileOverDirectory {
                    file: source.to_owned(),
                    directory: target,
                });
            }
        }
        self.link(source, target, priority)
    }

    fn link(&mut self, source: &Path, target: PathBuf, priority: i32) -> Result<(), BuildEnvError> {
        symlink(source, &target).map_err(|error| failed("create symlink", &target, error))?;
        self.priorities.insert(target, priority);
        Ok(())
    }
}

fn push(
    stack: &mut Vec<Frame>,
    source: PathBuf,
    target: PathBuf,
    priority: i32,
) -> Result<(), BuildEnvError> {
    let names = match sorted_names(&source) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            say::warning(&format!(
                "not including '{}' in the user environment because it's not a directory",
                source.display()
            ));
            return Ok(());
        }
        Err(error) => return Err(failed("read directory", &source, error)),
    };
    stack.push(Frame {
        source,
        target,
        priority,
        names: names.into_iter(),
    });
    Ok(())
}

fn sorted_names(directory: &Path) -> io::Result<Vec<OsString>> {
    let mut names = fs::read_dir(directory)?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

/// Where all links of the way lead to, the last one included.
fn resolve(link: &Path) -> Result<PathBuf, BuildEnvError> {
    // A builder looks at its own inputs.
    #[allow(clippy::disallowed_methods)]
    fs::canonicalize(link).map_err(|error| failed("resolve", link, error))
}

fn status(path: &Path) -> Result<Option<Metadata>, BuildEnvError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("get status of", path, error)),
    }
}

/// Files of packages that make no sense in an environment.
fn is_left_out(source: &Path) -> bool {
    LEFT_OUT
        .iter()
        .any(|end| source.as_os_str().as_bytes().ends_with(end.as_bytes()))
}

const LEFT_OUT: [&str; 7] = [
    "/propagated-build-inputs",
    "/nix-support",
    "/perllocal.pod",
    "/info/dir",
    "/log",
    "/manifest.nix",
    "/manifest.json",
];
