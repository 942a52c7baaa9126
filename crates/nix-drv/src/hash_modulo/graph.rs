//! Hashing along the graph of derivations, inputs first.

use std::collections::HashSet;

use nix_base::{Hash, HashAlgo, OutputName, StoreDir, StorePath, StorePathName};

use super::raw::{Canonical, Reading};
use super::{HashKind, HashMemo, InputHash, MaskedHash};
use crate::aterm::{Masked, Strictness};
use crate::derivation::{
    Derivation, DerivationOutput, DerivationOutputs, DerivationType, drv_name,
};
use crate::error::{Error, ReadError, Result};
use crate::outputs::output_path;

/// A derivation on the way, all of whose inputs have their hashes.
pub struct Visited<'a> {
    path: &'a StorePath,
    form: &'a Form<'a>,
    store_dir: &'a StoreDir,
    memo: &'a HashMemo,
    input_hash: &'a InputHash,
}

impl std::fmt::Debug for Visited<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Visited")
            .field("path", self.path)
            .finish_non_exhaustive()
    }
}

impl Visited<'_> {
    /// The path of the `.drv` file.
    pub fn path(&self) -> &StorePath {
        self.path
    }

    /// The derivation's name.
    pub fn name(&self) -> &StorePathName {
        match self.form {
            Form::Canonical(drv) => drv.name,
            Form::Other(drv) => &drv.name,
        }
    }

    /// What it makes.
    pub fn outputs(&self) -> &DerivationOutputs {
        match self.form {
            Form::Canonical(drv) => &drv.outputs,
            Form::Other(drv) => &drv.outputs,
        }
    }

    /// What stands for it among the inputs of others.
    pub fn input_hash(&self) -> &InputHash {
        self.input_hash
    }

    /// The text whose hash [`input_hash`](Self::input_hash) is, for a
    /// [proof](crate::proof).
    ///
    /// # Errors
    /// A fixed output has no path.
    pub fn input_text(&self) -> Result<Vec<u8>> {
        match self.form {
            Form::Canonical(drv) => drv.input_text(self.store_dir),
            Form::Other(drv) => drv.input_text(self.store_dir, self.memo),
        }
    }

    /// The paths of its outputs as they follow from it, whatever it states; none
    /// for those that aren't known before the build.
    ///
    /// # Errors
    /// As [`masked_hash`](Self::masked_hash), which it calls if it has to.
    pub fn computed_outputs(&self) -> Result<Vec<(&OutputName, Option<StorePath>)>> {
        let mut masked = None;
        if self.outputs().values().any(follows_from_inputs) {
            masked = Some(self.masked_hash()?);
        }
        let path = |(name, output)| {
            let path = path_of(self.store_dir, self.name(), name, output, masked.as_ref())?;
            Ok((name, path))
        };
        self.outputs().iter().map(path).collect()
    }

    /// The same without the hashing, which is left to whoever has the time: half of
    /// the work on a graph can be done by another thread.
    ///
    /// # Errors
    /// As [`masked_hash`](Self::masked_hash).
    pub fn pending_outputs(&self) -> Result<PendingOutputs> {
        let mut masked = None;
        if self.outputs().values().any(follows_from_inputs) {
            masked = Some(match self.form {
                Form::Canonical(drv) => drv.masked_text(self.store_dir, self.memo)?,
                Form::Other(drv) => {
                    let text = drv.modulo_text(self.store_dir, self.memo, Masked::Yes)?;
                    (text, self.masked_hash()?.kind)
                }
            });
        }
        Ok(PendingOutputs {
            drv_path: self.path.clone(),
            name: self.name().clone(),
            outputs: self.outputs().clone(),
            masked,
        })
    }

    /// The hash that its output paths follow from; computed on each call.
    ///
    /// # Errors
    /// As [`Derivation::masked_hash`]; a fixed output's inputs are not visited
    /// for its sake, so that their hashes may be missing.
    pub fn masked_hash(&self) -> Result<MaskedHash> {
        match self.form {
            Form::Canonical(drv) => drv.masked_hash(self.store_dir, self.memo),
            Form::Other(drv) => drv.masked_hash(self.store_dir, self.memo),
        }
    }
}

/// A derivation on whose output paths only the last step is left to do.
#[derive(Clone, Debug)]
pub struct PendingOutputs {
    /// The path of the `.drv` file.
    pub drv_path: StorePath,
    name: StorePathName,
    outputs: DerivationOutputs,
    masked: Option<(Vec<u8>, HashKind)>,
}

impl PendingOutputs {
    /// Each output's name, the path that follows and the one that is stated; none
    /// where it isn't known before the build.
    ///
    /// # Errors
    /// A name is too long.
    pub fn finish(&self, store_dir: &StoreDir) -> Result<Vec<ComputedOutput<'_>>> {
        let masked = self.masked.as_ref().map(|(text, kind)| MaskedHash {
            hash: Hash::of(HashAlgo::Sha256, text),
            kind: *kind,
        });
        let compute = |(name, output)| {
            let masked = masked.as_ref();
            Ok(ComputedOutput {
                name,
                computed: path_of(store_dir, &self.name, name, output, masked)?,
                stated: output.known_path(store_dir, &self.name, name)?,
            })
        };
        self.outputs.iter().map(compute).collect()
    }
}

/// What [`PendingOutputs`] come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComputedOutput<'a> {
    /// The output's name.
    pub name: &'a OutputName,
    /// The path that follows from the derivation.
    pub computed: Option<StorePath>,
    /// The path that it states.
    pub stated: Option<StorePath>,
}

/// Whether the path of an output is one that follows from the masked hash.
fn follows_from_inputs(output: &DerivationOutput) -> bool {
    matches!(
        output,
        DerivationOutput::InputAddressed(_) | DerivationOutput::Deferred
    )
}

fn path_of(
    store_dir: &StoreDir,
    drv_name: &StorePathName,
    name: &OutputName,
    output: &DerivationOutput,
    masked: Option<&MaskedHash>,
) -> Result<Option<StorePath>> {
    match masked {
        Some(masked) if follows_from_inputs(output) => (masked.kind == HashKind::Regular)
            .then(|| output_path(store_dir, drv_name, name, masked))
            .transpose(),
        _ => output.known_path(store_dir, drv_name, name),
    }
}

/// Calls `visit` for each of `roots` and all that their hashes take, inputs first,
/// unless it is in `memo`, where its hash goes. `read` supplies the text of a
/// `.drv` file; it may be asked twice for the same one, as at most
/// [`MAX_HELD`] bytes of text are kept for later.
///
/// # Errors
/// `read` or `visit` fails, or a text isn't a derivation with a hash.
pub fn visit_graph<E: Into<ReadError>>(
    roots: impl IntoIterator<Item = StorePath>,
    store_dir: &StoreDir,
    memo: &mut HashMemo,
    mut read: impl FnMut(&StorePath) -> Result<Vec<u8>, E>,
    mut visit: impl FnMut(&Visited<'_>) -> Result<()>,
) -> Result<()> {
    for root in roots {
        if memo.find(&root).is_some() {
            continue;
        }
        let mut walk = Walk::default();
        walk.stack.push(Frame {
            path: root,
            text: None,
        });
        while let Some(mut frame) = walk.stack.pop() {
            if memo.find(&frame.path).is_some() {
                continue;
            }
            let text = match frame.text.take() {
                Some(text) => {
                    walk.held -= text.len();
                    text
                }
                None => read(&frame.path).map_err(|error| Error::Read {
                    path: frame.path.clone(),
                    source: error.into(),
                })?,
            };
            let in_file = |source| Error::InFile {
                path: store_dir.print(&frame.path),
                source: Box::new(source),
            };
            let name = drv_name(&frame.path)?;
            let (form, missing) =
                match Form::read(&text, store_dir, &name, memo).map_err(in_file)? {
                    Ok(form) => (Some(form), Vec::new()),
                    Err(missing) => (None, missing),
                };
            if let Some(form) = form {
                let input_hash = form.input_hash(store_dir, memo).map_err(in_file)?;
                let (path, input_hash_ref) = (&frame.path, &input_hash);
                visit(&Visited {
                    path,
                    form: &form,
                    store_dir,
                    memo,
                    input_hash: input_hash_ref,
                })?;
                walk.waiting.remove(&frame.path);
                memo.insert(&frame.path, input_hash);
            } else {
                if walk.held + text.len() <= MAX_HELD {
                    walk.held += text.len();
                    frame.text = Some(text);
                }
                walk.wait_for(frame, missing)?;
            }
        }
    }
    Ok(())
}

/// How many bytes of texts that wait for their inputs are kept; beyond that they
/// are read again.
pub const MAX_HELD: usize = 4 << 20;

/// Derivations that wait for their inputs, the next one last.
#[derive(Default)]
struct Walk {
    stack: Vec<Frame>,
    /// Those of the stack whose inputs are above them: an input among these would
    /// close a circle.
    waiting: HashSet<StorePath>,
    held: usize,
}

struct Frame {
    path: StorePath,
    text: Option<Vec<u8>>,
}

impl Walk {
    fn wait_for(&mut self, frame: Frame, inputs: Vec<StorePath>) -> Result<()> {
        self.waiting.insert(frame.path.clone());
        self.stack.push(frame);
        for path in inputs {
            if self.waiting.contains(&path) {
                return Err(Error::Cycle(path));
            }
            self.stack.push(Frame { path, text: None });
        }
        Ok(())
    }
}

/// A parsed derivation: as pieces of its text if that is canonical.
enum Form<'a> {
    Canonical(Box<Canonical<'a>>),
    Other(Box<Derivation>),
}

impl<'a> Form<'a> {
    /// Reads a text, or else says which inputs have to be hashed first.
    fn read(
        text: &'a [u8],
        store_dir: &StoreDir,
        name: &'a StorePathName,
        memo: &HashMemo,
    ) -> Result<std::result::Result<Self, Vec<StorePath>>> {
        match Canonical::read(text, store_dir, name, memo) {
            Ok(Reading::Done(drv)) => return Ok(Ok(Self::Canonical(drv))),
            Ok(Reading::Missing(missing)) => return Ok(Err(missing)),
            // Read it the other way, which also finds the right words for what is wrong.
            Err(_) => {}
        }
        let drv = Derivation::parse(text, store_dir, name, Strictness::Lenient)?;
        let is_missing = |path: &&StorePath| memo.find(path).is_none();
        let missing: Vec<_> = match drv.derivation_type()? {
            DerivationType::CaFixed => Vec::new(),
            _ => drv.input_drvs.keys().filter(is_missing).cloned().collect(),
        };
        Ok(if missing.is_empty() {
            Ok(Self::Other(Box::new(drv)))
        } else {
            Err(missing)
        })
    }

    fn input_hash(&self, store_dir: &StoreDir, memo: &HashMemo) -> Result<InputHash> {
        match self {
            Self::Canonical(drv) => drv.input_hash(store_dir),
            Self::Other(drv) => drv.input_hash(store_dir, memo),
        }
    }
}
