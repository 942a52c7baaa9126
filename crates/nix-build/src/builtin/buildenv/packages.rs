//! The packages of an environment: which ones, and in which order.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::forest::Forest;
use super::{BuildEnvError, failed};
use crate::builtin::path_of;

/// A path of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) path: PathBuf,
    pub(super) is_active: bool,
    pub(super) priority: i32,
}

/// Why a list of packages can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PackagesError {
    /// A word must be a number and isn't.
    #[error("'{0}' isn't a number")]
    NotANumber(String),
    /// It ends within a package.
    #[error("it ends within a package")]
    TooShort,
}

/// Parses `ACTIVE PRIORITY COUNT PATH…`, any number of times.
pub(super) fn parse(text: &[u8]) -> Result<Vec<Package>, PackagesError> {
    let mut words = text
        .split(|byte| b" \t\n\r".contains(byte))
        .filter(|word| !word.is_empty());
    let mut packages = Vec::new();
    while let Some(active) = words.next() {
        let mut number = || leading_number(words.next().ok_or(PackagesError::TooShort)?);
        let (priority, count) = (number()?, number()?);
        let count =
            u32::try_from(count).map_err(|_| PackagesError::NotANumber(count.to_string()))?;
        for _ in 0..count {
            packages.push(Package {
                path: path_of(words.next().ok_or(PackagesError::TooShort)?),
                is_active: active != b"false",
                priority,
            });
        }
    }
    Ok(packages)
}

/// Adds the packages in their order, and then those that they name, and so on.
pub(super) fn add_all(
    forest: &mut Forest,
    out: &Path,
    mut packages: Vec<Package>,
) -> Result<(), BuildEnvError> {
    packages.sort_by(|a, b| {
        let key = |package: &Package| (package.priority, package.path.clone().into_os_string());
        key(a).cmp(&key(b))
    });
    let mut done = HashSet::<OsString>::new();
    let mut named = BTreeSet::new();
    let mut add = |path: PathBuf, priority, named: &mut BTreeSet<Vec<u8>>| {
        // Paths that are spelled differently are different packages.
        if !done.insert(path.clone().into_os_string()) {
            return Ok(());
        }
        forest.add(&path, out, priority)?;
        named.extend(propagated(&path)?);
        Ok(())
    };
    for package in packages.into_iter().filter(|package| package.is_active) {
        add(package.path, package.priority, &mut named)?;
    }
    let mut priority = FIRST_PROPAGATED_PRIORITY;
    while !named.is_empty() {
        for path in std::mem::take(&mut named) {
            add(path_of(&path), priority, &mut named)?;
            priority = priority.saturating_add(1);
        }
    }
    Ok(())
}

/// The paths that a package wants to have beside it.
fn propagated(package: &Path) -> Result<Vec<Vec<u8>>, BuildEnvError> {
    let list = package.join("nix-support/propagated-user-env-packages");
    let mut text = Vec::new();
    match File::open(&list).and_then(|mut file| file.read_to_end(&mut text)) {
        Ok(_) => {}
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(source) => return Err(failed("read", &list, source)),
    }
    Ok(text
        .split(|byte| b" \n".contains(byte))
        .filter(|word| !word.is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}

/// Whether there is nothing at a path, or something else than a directory on the way.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

// Nix compat: what follows the digits is ignored.
fn leading_number(word: &[u8]) -> Result<i32, PackagesError> {
    let sign = usize::from(matches!(word.first(), Some(b'+' | b'-')));
    let digits = word[sign..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    std::str::from_utf8(&word[..sign + digits])
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| PackagesError::NotANumber(String::from_utf8_lossy(word).into_owned()))
}

/// What packages named by others start with; each gets one more.
const FIRST_PROPAGATED_PRIORITY: i32 = 1000;
