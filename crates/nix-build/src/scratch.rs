//! Where outputs are while they are built.
//!
//! A builder gets a path for each output beforehand. Mostly that is the final one: if it is
//! known, and the sandbox or an empty place in the store keeps a valid object from harm.
//! Otherwise the output gets a scratch path, made from the derivation and the output alone,
//! and the digits of its hash are replaced when the build is over.
//!
//! ```text
//! scratch path = makeStorePath("rewrite:" drv ":name:" output, zeros, output path name)   path unknown
//!                makeStorePath("rewrite:" drv ":" known, zeros, name of known)            path known
//! drv, known: base names; zeros: a SHA-256 of 32 zero bytes
//! ```

use std::collections::{BTreeMap, BTreeSet};

use bstr::BString;
use nix_base::store_path::make::{make_store_path, output_path_name};
use nix_base::{Hash, HashAlgo, OutputName, StoreDir, StorePath, StorePathHash, StorePathSet};
use nix_drv::{BasicDerivation, Placeholder, Rewrites};

/// What scratch paths depend on.
#[derive(Debug, Clone, Copy)]
pub struct ScratchInput<'a> {
    /// The store.
    pub store_dir: &'a StoreDir,
    /// The path of the derivation.
    pub drv_path: &'a StorePath,
    /// The derivation.
    pub drv: &'a BasicDerivation,
    /// Outputs that are valid and stay so: with known paths, when the build is a
    /// comparison or only some outputs are missing.
    pub valid: &'a BTreeSet<OutputName>,
    /// Whether the builder has a root directory of its own, so that what it writes to the
    /// store doesn't come in the way of what is there.
    pub confined: bool,
}

/// The paths of one output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScratchOutput {
    /// Its final path, if that is known before the build.
    pub known: Option<StorePath>,
    /// The path that the builder gets.
    pub scratch: StorePath,
}

/// The paths of all outputs of a derivation during its build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScratchPaths {
    store_dir: StoreDir,
    outputs: BTreeMap<OutputName, ScratchOutput>,
}

impl ScratchPaths {
    /// The paths for a build.
    ///
    /// # Errors
    /// An output's name gets too long for a path, or its content address gives none.
    pub fn compute(input: &ScratchInput<'_>) -> nix_drv::Result<Self> {
        let mut outputs = BTreeMap::new();
        for (name, output) in &input.drv.outputs {
            let known = output.known_path(input.store_dir, &input.drv.name, name)?;
            let scratch = match &known {
                None => input.fallback_of_unknown(name)?,
                Some(path) if input.confined || !input.valid.contains(name) => path.clone(),
                Some(path) => input.fallback_of_known(path),
            };
            outputs.insert(name.clone(), ScratchOutput { known, scratch });
        }
        Ok(Self {
            store_dir: input.store_dir.clone(),
            outputs,
        })
    }

    /// The path that the builder gets for `output`; `None` if the derivation hasn't such
    /// an output.
    #[must_use]
    pub fn scratch(&self, output: &OutputName) -> Option<&StorePath> {
        self.outputs.get(output).map(|paths| &paths.scratch)
    }

    /// The final path of `output`, if it is known before the build.
    #[must_use]
    pub fn known(&self, output: &OutputName) -> Option<&StorePath> {
        self.outputs.get(output)?.known.as_ref()
    }

    /// All outputs, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&OutputName, &ScratchOutput)> {
        self.outputs.iter()
    }

    /// All paths that the builder gets: candidates in the scan for references.
    #[must_use]
    pub fn scratch_paths(&self) -> StorePathSet {
        self.outputs.values().map(|o| o.scratch.clone()).collect()
    }

    /// What is replaced in the text that the builder gets.
    #[must_use]
    pub fn rewrites(&self) -> InputRewrites {
        let mut rewrites = InputRewrites::default();
        for (name, paths) in &self.outputs {
            let scratch = self.store_dir.print(&paths.scratch);
            rewrites
                .placeholders
                .add(&Placeholder::of_own_output(name), scratch);
            if let Some(known) = &paths.known
                && known != &paths.scratch
            {
                rewrites.hashes.insert(*known.hash(), *paths.scratch.hash());
            }
        }
        rewrites
    }

    /// What is replaced in the outputs when their final paths are known; outputs that had
    /// theirs all along don't count.
    #[must_use]
    pub fn hash_rewrites(
        &self,
        finals: &BTreeMap<OutputName, StorePath>,
    ) -> BTreeMap<StorePathHash, StorePathHash> {
        finals
            .iter()
            .filter_map(|(name, path)| Some((*self.scratch(name)?.hash(), *path.hash())))
            .filter(|(from, to)| from != to)
            .collect()
    }
}

impl ScratchInput<'_> {
    fn fallback_of_unknown(&self, output: &OutputName) -> nix_drv::Result<StorePath> {
        let kind = format!("rewrite:{}:name:{output}", self.drv_path);
        let name = output_path_name(self.drv.name.as_str(), output.as_str())?;
        Ok(make_store_path(self.store_dir, &kind, &zeros(), &name))
    }

    fn fallback_of_known(&self, known: &StorePath) -> StorePath {
        let kind = format!("rewrite:{}:{known}", self.drv_path);
        make_store_path(self.store_dir, &kind, &zeros(), known.name())
    }
}

fn zeros() -> Hash {
    Hash::new(HashAlgo::Sha256, &[0; 32]).expect("a SHA-256 has 32 bytes")
}

/// Replacements in the text that a builder gets: placeholders of its outputs, and the
/// digits of final paths whose outputs are built elsewhere.
#[derive(Debug, Default)]
pub struct InputRewrites {
    placeholders: Rewrites,
    hashes: BTreeMap<StorePathHash, StorePathHash>,
}

impl InputRewrites {
    /// `text` with all of them replaced.
    #[must_use]
    pub fn apply(&self, text: &[u8]) -> BString {
        let mut text = self.placeholders.apply(text);
        for (from, to) in &self.hashes {
            let found: Vec<usize> =
                memchr::memmem::find_iter(&text, from.as_str().as_bytes()).collect();
            for at in found {
                let to = to.as_str().as_bytes();
                text[at..at + to.len()].copy_from_slice(to);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests;
