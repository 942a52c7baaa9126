//! `builtin:buildenv`: one tree of symlinks to the files of several packages.
//!
//! A directory that only one package has becomes one link; as soon as a second package has
//! it too, the link is replaced by a directory of links. Files that several packages have
//! are settled by priority: the lower number wins, equal ones are an error. Packages that a
//! package names in `nix-support/propagated-user-env-packages` follow behind all others.
//!
//! The attributes are `derivations`, words in groups (active, priority, number of paths,
//! the paths), and `manifest`, which `manifest.nix` is linked to.

mod forest;
mod packages;

use std::io;
use std::path::{Path, PathBuf};

use super::{BuiltinCall, BuiltinError};

pub use self::packages::PackagesError;

/// Why it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildEnvError {
    /// The list of packages can't be understood.
    #[error("attribute 'derivations' can't be read")]
    Packages(#[source] PackagesError),
    /// A system call failed.
    #[error("cannot {what} '{}'", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A package has a directory where another has a file.
    #[error("collision between '{}' and non-directory '{}'", .directory.display(), .other.display())]
    DirectoryOverFile {
        /// The directory.
        directory: PathBuf,
        /// The file.
        other: PathBuf,
    },
    /// A package has a file where others have a directory.
    #[error("collision between non-directory '{}' and directory '{}'", .file.display(), .directory.display())]
    FileOverDirectory {
        /// The file.
        file: PathBuf,
        /// The directory of the tree that is being made.
        directory: PathBuf,
    },
    /// Two packages of equal priority have the same file.
    #[error(
        "Unable to build profile. There is a conflict for the following files:\n\n  '{}'\n  '{}'",
        .first.display(),
        .second.display()
    )]
    Conflict {
        /// The file that was there first.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
        /// The priority of both.
        priority: i32,
    },
}

pub(super) fn run(call: &BuiltinCall) -> Result<(), BuiltinError> {
    let out = call.out()?;
    let packages =
        packages::parse(&call.required("derivations")?).map_err(BuildEnvError::Packages)?;
    let manifest = call.required("manifest")?;
    build(out, packages, &super::path_of(&manifest))?;
    Ok(())
}

fn build(
    out: &Path,
    packages: Vec<packages::Package>,
    manifest: &Path,
) -> Result<(), BuildEnvError> {
    std::fs::create_dir(out).map_err(|source| failed("create directory", out, source))?;
    let mut forest = forest::Forest::default();
    packages::add_all(&mut forest, out, packages)?;
    let link = out.join("manifest.nix");
    std::os::unix::fs::symlink(manifest, &link)
        .map_err(|source| failed("create symlink", &link, source))
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> BuildEnvError {
    BuildEnvError::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests;
