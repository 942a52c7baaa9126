//! Finding and reading derivations.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, bail, ensure};
use nix_base::{StoreDir, StorePath, StorePathName};
use nix_drv::{Derivation, Strictness};
use nix_store_core::StoreLayout;

use crate::cli::path_arg::store_path;

/// A derivation and its path in the store, be it there or not.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) path: StorePath,
    pub(super) drv: Rc<Derivation>,
}

/// The files of derivations: those of a store, and those beside the ones that were
/// named.
#[derive(Debug)]
pub(super) struct Files {
    layout: StoreLayout,
    /// Directories of files that aren't in the store.
    beside: Vec<PathBuf>,
    /// Files that were named and aren't in the store.
    named: HashMap<StorePath, PathBuf>,
    /// What was read already, if it isn't too much.
    read: HashMap<StorePath, Rc<Derivation>>,
}

impl Files {
    pub(super) fn new(layout: StoreLayout) -> Self {
        Self {
            layout,
            beside: Vec::new(),
            named: HashMap::new(),
            read: HashMap::new(),
        }
    }

    /// The store directory of all paths.
    pub(super) fn store_dir(&self) -> &StoreDir {
        &self.layout.store_dir
    }

    /// The path of the derivation that an argument names, which isn't read if it is in
    /// the store.
    pub(super) fn locate(&mut self, argument: &Path) -> anyhow::Result<StorePath> {
        match self.in_store(argument)? {
            Some(path) => Ok(path),
            None => Ok(self.find(argument)?.path),
        }
    }

    fn in_store(&self, argument: &Path) -> anyhow::Result<Option<StorePath>> {
        let path = store_path(argument, &self.layout).ok();
        if let Some(path) = &path {
            ensure!(
                path.is_derivation(),
                "'{}' is not a derivation",
                self.layout.store_dir.display(path)
            );
        }
        Ok(path)
    }

    /// The derivation that an argument names.
    pub(super) fn find(&mut self, argument: &Path) -> anyhow::Result<Found> {
        if let Some(path) = self.in_store(argument)? {
            let drv = self.derivation(&path)?;
            return Ok(Found { path, drv });
        }
        let text = read_file(argument)
            .with_context(|| format!("cannot read derivation '{}'", argument.display()))?;
        let drv = self.parse_elsewhere(argument, &text)?;
        let path = drv.store_path(self.store_dir())?;
        if let Some(directory) = argument.parent() {
            self.beside.push(directory.to_owned());
        }
        self.named.insert(path.clone(), argument.to_owned());
        Ok(Found {
            path,
            drv: Rc::new(drv),
        })
    }

    /// A file outside of the store is called like a store path, or by its name alone.
    fn parse_elsewhere(&self, file: &Path, text: &[u8]) -> anyhow::Result<Derivation> {
        let stem = file
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".drv"));
        let Some(stem) = stem else {
            bail!(
                "'{}' is not a derivation: its name must end in '.drv'",
                file.display()
            );
        };
        let name = match StorePath::from_base_name(stem) {
            Ok(path) => path.name().clone(),
            Err(_) => StorePathName::new(stem)?,
        };
        Derivation::parse(text, self.store_dir(), &name, Strictness::Lenient)
            .with_context(|| format!("error parsing derivation '{}'", file.display()))
    }

    /// The derivation at a path.
    pub(super) fn derivation(&mut self, path: &StorePath) -> anyhow::Result<Rc<Derivation>> {
        if let Some(drv) = self.read.get(path) {
            return Ok(Rc::clone(drv));
        }
        let text = self.text(path).with_context(|| {
            format!(
                "cannot read derivation '{}'",
                self.layout.store_dir.display(path)
            )
        })?;
        let drv = Derivation::parse_file(&text, self.store_dir(), path, Strictness::Lenient)?;
        let drv = Rc::new(drv);
        if self.read.len() < MOST_KEPT {
            self.read.insert(path.clone(), Rc::clone(&drv));
        }
        Ok(drv)
    }

    /// The contents of the `.drv` file at a path.
    pub(super) fn text(&self, path: &StorePath) -> io::Result<Vec<u8>> {
        if let Some(file) = self.named.get(path) {
            return read_file(file);
        }
        let mut result = read_file(&self.layout.real_path(path));
        for directory in &self.beside {
            if result.is_ok() {
                break;
            }
            result = read_file(&directory.join(path.base_name())).or(result);
        }
        result
    }
}

/// Reads a file of at most [`MAX_FILE`] bytes.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    // Room for all and for seeing the end, so that two reads will do.
    let size = usize::try_from(metadata.len().min(MAX_FILE)).unwrap_or(0);
    let mut text = Vec::with_capacity(size + END_PROBE);
    file.take(MAX_FILE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::other("more than 128 MiB"));
    }
    Ok(text)
}

/// Largest derivation, in bytes.
const MAX_FILE: u64 = 128 << 20;
/// Bytes beyond the end that a read is given.
const END_PROBE: usize = 32;
/// How many derivations are kept parsed.
const MOST_KEPT: usize = 2000;
