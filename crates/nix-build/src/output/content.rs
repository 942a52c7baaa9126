//! What outputs are in the end: paths, hashes and references.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use nix_base::store_path::make::{MakePathError, References};
use nix_base::{
    BuildStatus, ContentAddress, ContentAddressMethod, Hash, HashAlgo, HashFormat, OutputName,
    StorePath, StorePathHash, UnkeyedValidPathInfo, ValidPathInfo,
};
use nix_drv::DerivationOutput;
use nix_nar::RefScanSink;

use super::OutputJob;
use super::tree::{Scanned, Tree, copy_name};
use crate::failure::{BuildFailure, Result};

/// A finished output, with canonical metadata, which isn't in its place yet.
#[derive(Debug)]
pub(super) struct Made<'t> {
    pub(super) tree: Tree<'t>,
    pub(super) info: ValidPathInfo,
}

/// Finishes outputs one after the other, each behind those that it refers to.
pub(super) struct Finisher<'f, 'j> {
    job: &'f OutputJob<'j>,
    /// The paths that candidates of the scan stand for.
    paths: &'f BTreeMap<StorePathHash, StorePath>,
    scanner: &'f mut RefScanSink,
    /// Final paths by the hash of the scratch path, where they differ.
    renamed: BTreeMap<StorePathHash, StorePath>,
}

/// What was found in an output, in terms of final paths.
struct Found {
    /// Whether it holds its own scratch hash.
    holds_own: bool,
    /// Other hashes in it that are to be replaced.
    rewrites: BTreeMap<StorePathHash, StorePathHash>,
    /// What counts as its references: nothing, if the derivation says so.
    references: References,
}

impl<'f, 'j> Finisher<'f, 'j> {
    pub(super) fn new(
        job: &'f OutputJob<'j>,
        paths: &'f BTreeMap<StorePathHash, StorePath>,
        scanner: &'f mut RefScanSink,
    ) -> Self {
        let known = job.scratch.iter().filter_map(|(_, output)| {
            let known = output.known.clone()?;
            (known != output.scratch).then(|| (*output.scratch.hash(), known))
        });
        Self {
            job,
            paths,
            scanner,
            renamed: known.collect(),
        }
    }

    /// Gives an output its path and content.
    pub(super) fn finish(
        &mut self,
        name: &OutputName,
        tree: Tree<'j>,
        scanned: Scanned,
    ) -> Result<Made<'j>> {
        let missing = || BuildFailure::misc(format!("derivation has no output '{name}'"));
        let output = self.job.request.drv.outputs.get(name).ok_or_else(missing)?;
        let scratch = self.job.scratch.scratch(name).ok_or_else(missing)?.clone();
        let found = self.found(name, &scratch, &scanned.found);
        let mut made = match output {
            DerivationOutput::InputAddressed(path) => {
                self.input_addressed(path, &scratch, tree, scanned, &found)?
            }
            DerivationOutput::CaFixed(ca) => {
                let made = self.content_addressed(
                    ca.method,
                    ca.hash.algo(),
                    &scratch,
                    tree,
                    scanned,
                    &found,
                )?;
                self.check_fixed(ca, &made)?;
                made
            }
            DerivationOutput::CaFloating { method, algo }
            | DerivationOutput::Impure { method, algo } => {
                self.content_addressed(*method, *algo, &scratch, tree, scanned, &found)?
            }
            DerivationOutput::Deferred => {
                return Err(BuildFailure::misc(format!(
                    "derivation '{}' has an output '{name}' whose path must be known before it is built",
                    self.print(&self.job.request.drv_path),
                )));
            }
        };
        if made.info.path != scratch {
            self.renamed.insert(*scratch.hash(), made.info.path.clone());
        }
        self.describe(&mut made.info);
        Ok(made)
    }

    /// Translates what the scan found.
    fn found(
        &self,
        name: &OutputName,
        scratch: &StorePath,
        hashes: &BTreeSet<StorePathHash>,
    ) -> Found {
        let mut found = Found {
            holds_own: hashes.contains(scratch.hash()),
            rewrites: BTreeMap::new(),
            references: References::default(),
        };
        for hash in hashes.iter().filter(|&hash| hash != scratch.hash()) {
            let path = self.renamed.get(hash).or_else(|| self.paths.get(hash));
            let Some(path) = path else { continue };
            if path.hash() != hash {
                found.rewrites.insert(*hash, *path.hash());
            }
            found.references.others.insert(path.clone());
        }
        found.references.to_self = found.holds_own;
        let discard = &self.job.options.unsafe_discard_references;
        if discard.get(name).copied().unwrap_or(false) {
            // The hashes are in it all the same, so they are replaced.
            found.references = References::default();
        }
        found
    }

    fn input_addressed(
        &mut self,
        path: &StorePath,
        scratch: &StorePath,
        tree: Tree<'j>,
        scanned: Scanned,
        found: &Found,
    ) -> Result<Made<'j>> {
        let mut rewrites = found.rewrites.clone();
        if found.holds_own && path != scratch {
            rewrites.insert(*scratch.hash(), *path.hash());
        }
        let (tree, scanned) = self.rewrite(tree, scanned, "final", &rewrites)?;
        Ok(made(tree, &scanned, path.clone(), &found.references, None))
    }

    fn content_addressed(
        &mut self,
        method: ContentAddressMethod,
        algo: HashAlgo,
        scratch: &StorePath,
        tree: Tree<'j>,
        scanned: Scanned,
        found: &Found,
    ) -> Result<Made<'j>> {
        let is_file = matches!(
            method,
            ContentAddressMethod::Flat | ContentAddressMethod::Text
        );
        if is_file && !tree.is_plain_file()? {
            return Err(BuildFailure::new(
                BuildStatus::OutputRejected,
                format!(
                    "output path '{}' should be a non-executable regular file since recursive hashing is not enabled (one of outputHashMode={{flat,text}} is true)",
                    tree.path().display()
                ),
            ));
        }
        let (tree, scanned) = self.rewrite(tree, scanned, "others", &found.rewrites)?;
        let blank = found.holds_own.then(|| *scratch.hash());
        let hash = content_hash(method, algo, &tree, &scanned, blank)?;
        let ca = ContentAddress { method, hash };
        let path = self.path_of(&ca, scratch, &found.references)?;
        let own = BTreeMap::from([(*scratch.hash(), *path.hash())]);
        let (tree, scanned) = match blank {
            Some(_) if path != *scratch => self.rewrite(tree, scanned, "own", &own)?,
            _ => (tree, scanned),
        };
        Ok(made(tree, &scanned, path, &found.references, Some(ca)))
    }

    fn path_of(
        &self,
        ca: &ContentAddress,
        scratch: &StorePath,
        references: &References,
    ) -> Result<StorePath> {
        let dir = self.job.store.store_dir();
        ca.path(dir, references, scratch.name())
            .map_err(|error| match error {
                MakePathError::ReferencesNotAllowed(name) => BuildFailure::misc(format!(
                    "fixed output derivation '{name}' is not allowed to refer to other store paths.\n\
                     You may need to use the 'unsafeDiscardReferences' derivation attribute, see the manual for more details."
                )),
                error => BuildFailure::because("cannot address an output by its content", &error),
            })
    }

    fn check_fixed(&self, wanted: &ContentAddress, made: &Made<'_>) -> Result<()> {
        let drv = self.print(&self.job.request.drv_path);
        let rejected = |message| BuildFailure::new(BuildStatus::OutputRejected, message);
        // Nix compat: the hash is checked first, since a wrong one says more; 2.26 has it the
        // other way round.
        let got = made.info.ca.map(|ca| ca.hash);
        if got != Some(wanted.hash) {
            let got = got
                .map(|hash| hash.render(HashFormat::Sri))
                .unwrap_or_default();
            let mut failure = rejected(format!(
                "hash mismatch in fixed-output derivation '{drv}':\n  specified: {}\n     got:    {got}",
                wanted.hash.render(HashFormat::Sri),
            ));
            failure.hash_mismatch = true;
            return Err(failure);
        }
        let references = &made.info.references;
        match references.first() {
            None => Ok(()),
            Some(first) => Err(rejected(format!(
                "fixed-output derivations must not reference store paths: '{drv}' references {} distinct paths, e.g. '{}'",
                references.len(),
                self.print(first),
            ))),
        }
    }

    /// Replaces hashes in a copy of the tree, if there are any to be replaced.
    fn rewrite(
        &mut self,
        tree: Tree<'j>,
        scanned: Scanned,
        purpose: &str,
        rewrites: &BTreeMap<StorePathHash, StorePathHash>,
    ) -> Result<(Tree<'j>, Scanned)> {
        if rewrites.is_empty() {
            return Ok((tree, scanned));
        }
        let name = copy_name(purpose, &tree.name);
        tree.copy_to(self.job.private, name, rewrites, self.scanner)
    }

    /// Says where the output comes from, and signs it.
    fn describe(&self, info: &mut ValidPathInfo) {
        // A path that nobody vouches for is a claim, not a fact.
        info.info.deriver = Some(&self.job.request)
            .filter(|request| request.requester.is_vouched_for)
            .map(|request| request.drv_path.clone());
        info.info.ultimate = true;
        info.info.registration_time = unix_seconds();
        for key in self.job.config.secret_keys.iter() {
            info.sign(self.job.store.store_dir(), key);
        }
    }

    fn print(&self, path: &StorePath) -> String {
        self.job.store.store_dir().print(path)
    }
}

fn made<'t>(
    tree: Tree<'t>,
    scanned: &Scanned,
    path: StorePath,
    references: &References,
    ca: Option<ContentAddress>,
) -> Made<'t> {
    let mut info = UnkeyedValidPathInfo::new(scanned.nar_hash, scanned.nar_size);
    info.references = references.others.clone();
    if references.to_self {
        info.references.insert(path.clone());
    }
    info.ca = ca;
    Made {
        tree,
        info: ValidPathInfo { path, info },
    }
}

fn content_hash(
    method: ContentAddressMethod,
    algo: HashAlgo,
    tree: &Tree<'_>,
    scanned: &Scanned,
    blank: Option<StorePathHash>,
) -> Result<Hash> {
    match method {
        ContentAddressMethod::NixArchive if algo == HashAlgo::Sha256 && blank.is_none() => {
            Ok(scanned.nar_hash.into())
        }
        ContentAddressMethod::NixArchive => tree.hash_archive(algo, blank),
        ContentAddressMethod::Flat | ContentAddressMethod::Text => tree.hash_file(algo, blank),
        ContentAddressMethod::Git => match algo {
            HashAlgo::Sha1 | HashAlgo::Sha256 => tree.hash_git(algo),
            _ => Err(BuildFailure::misc(format!(
                "git hashes are made with sha1 or sha256, not with {algo}"
            ))),
        },
    }
}

fn unix_seconds() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .unwrap_or(0)
}
