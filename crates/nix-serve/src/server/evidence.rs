//! Whether a build that a client asks for makes at its output paths what they say.
//!
//! ```text
//! classify ─┬─ content-addressed    checked when it is built
//!           ├─ self-contained       paths computed again, and right
//!           └─ needs proof ─┬─ .drv file at the derivation's path ┐
//!                           └─ proof sent with the request        ┴─ E ⊆ inputs, all there,
//!                                                                    closures equal
//! ```
//!
//! What was used of others' outputs is only ever valid by the same rules, so one level is
//! enough. The texts of a proof need no trust: they are looked up by their hashes.

mod files;
mod graph;

use nix_base::{StorePath, StorePathSet};
use nix_build::failure::with_causes;
use nix_drv::proof::{
    Classification, PackedProof, Proof, ProofText, UnpackError, classify, verify,
};
use nix_drv::{BasicDerivation, Derivation};
use nix_store_core::{IncludeOutputs, Lock, Store};

use super::ServeError;
use super::guard::Guard;
use super::refusal::{Refusal, Rule};
use crate::policy::Capability;
use crate::text::printable;

/// A build that was let pass.
#[derive(Debug)]
pub(super) struct CheckedBuild {
    /// Outputs that the client doesn't see.
    pub(super) hidden: StorePathSet,
    /// Whether the derivation's path is the right one.
    pub(super) is_vouched_for: bool,
    /// By what it was verified, for records.
    pub(super) how: &'static str,
    /// Texts that were shown, or that the build may be shown by later.
    pub(super) texts: Vec<ProofText>,
}

impl Guard<'_> {
    /// Decides on a build of one derivation. Its inputs and outputs are kept from collectors
    /// already.
    ///
    /// # Errors
    /// [`ServeError::Refused`], or the store fails.
    pub(super) fn check_build(
        &self,
        drv_path: &StorePath,
        drv: &BasicDerivation,
        proof: Option<PackedProof>,
    ) -> Result<CheckedBuild, ServeError> {
        let known = match drv.known_outputs(self.dir()) {
            Ok(known) => known.into_iter().map(|(_, path)| path).collect(),
            // The builder says what is wrong with it.
            Err(_) => StorePathSet::new(),
        };
        let mut build = CheckedBuild {
            hidden: self.hidden(&known)?,
            is_vouched_for: true,
            how: "on the client's word",
            texts: Vec::new(),
        };
        let is_free = self.role().allows(Capability::BuildAny);
        if !is_free || !self.sees_everything() {
            self.require_inputs(drv_path, &drv.input_srcs)?;
        }
        if is_free {
            return Ok(build);
        }
        let wrong = |rule| {
            move |error: nix_drv::proof::ProofError| {
                Refusal::new(rule, self.explain(drv_path, &error)).unless(BUILD_ANY)
            }
        };
        build.how = match classify(drv, self.dir()).map_err(wrong(Rule::OutputPath))? {
            Classification::ContentAddressed(_) => "content-addressed",
            Classification::SelfContained => "self-contained",
            Classification::NeedsProof => return self.check_proven(build, drv_path, drv, proof),
        };
        build.is_vouched_for = self.is_path_of(drv_path, drv);
        build.texts.extend(self.text_of_leaf(drv));
        Ok(build)
    }

    fn check_proven(
        &self,
        mut build: CheckedBuild,
        drv_path: &StorePath,
        drv: &BasicDerivation,
        packed: Option<PackedProof>,
    ) -> Result<CheckedBuild, ServeError> {
        let on_file = self.proof_on_file(drv_path)?;
        let mut found_wrong = None;
        if let Some(file) = on_file {
            match verify(drv, &file.proof, self.dir()) {
                Ok(verified) => {
                    self.require_same_closure(drv_path, &drv.input_srcs, &verified.inputs)?;
                    build.is_vouched_for = file.is_path_right;
                    build.how = "proven by the derivation file";
                    build.texts = texts_of(file.proof, drv, self);
                    return Ok(build);
                }
                Err(error) => found_wrong = Some(self.explain(drv_path, &error)),
            }
        }
        let Some(packed) = packed else {
            return Err(self.no_evidence(drv_path, found_wrong).into());
        };
        let proof = match packed.unpack(|hash| self.known_text(hash)) {
            Ok(proof) => proof,
            Err(error) => return Err(self.incomplete(drv_path, &error).into()),
        };
        let verified = verify(drv, &proof, self.dir()).map_err(|error| {
            Refusal::new(Rule::Evidence, self.explain(drv_path, &error)).unless(BUILD_ANY)
        })?;
        self.require_same_closure(drv_path, &drv.input_srcs, &verified.inputs)?;
        build.is_vouched_for = false;
        build.how = "proven by the client";
        build.texts = texts_of(proof, drv, self);
        Ok(build)
    }

    /// All inputs are valid as far as the client knows.
    fn require_inputs(
        &self,
        drv_path: &StorePath,
        inputs: &StorePathSet,
    ) -> Result<(), ServeError> {
        let valid = self.valid(inputs, Lock::No)?;
        match inputs.difference(&valid).next() {
            None => Ok(()),
            Some(missing) => {
                let (missing, drv) = (self.dir().print(missing), self.dir().print(drv_path));
                let what = format!("input '{missing}' of '{drv}' is not valid");
                Err(Refusal::new(Rule::View, what).into())
            }
        }
    }

    /// What may be seen by the builder is what the proof is about.
    fn require_same_closure(
        &self,
        drv_path: &StorePath,
        inputs: &StorePathSet,
        proven: &StorePathSet,
    ) -> Result<(), ServeError> {
        if inputs == proven {
            return Ok(());
        }
        // The proven ones are among the requested ones, which are valid.
        let proven = self.store().closure(proven, IncludeOutputs::No)?;
        let Some(extra) = inputs.difference(&proven).next() else {
            return Ok(());
        };
        let (extra, drv) = (self.dir().print(extra), self.dir().print(drv_path));
        let what = format!("'{extra}' is no input of '{drv}' by its evidence");
        Err(Refusal::new(Rule::Evidence, what).unless(BUILD_ANY).into())
    }

    /// Whether the path is that of the derivation if it has no input derivations.
    fn is_path_of(&self, drv_path: &StorePath, drv: &BasicDerivation) -> bool {
        let drv = Derivation::from(drv.clone());
        drv.store_path(self.dir())
            .is_ok_and(|path| path == *drv_path)
    }

    fn explain(&self, drv_path: &StorePath, error: &dyn std::error::Error) -> String {
        let path = self.dir().display(drv_path);
        let text = format!("derivation '{path}': {}", with_causes(error));
        printable(text.as_bytes())
    }

    fn no_evidence(&self, drv_path: &StorePath, found_wrong: Option<String>) -> Refusal {
        let what = found_wrong.unwrap_or_else(|| {
            format!(
                "the output paths of '{}' follow from its input derivations, of which nothing \
                 is known here",
                self.dir().display(drv_path)
            )
        });
        Refusal::new(Rule::Evidence, what).unless(format!(
            "its derivation file with all inputs, a proof, or {BUILD_ANY}"
        ))
    }

    fn incomplete(&self, drv_path: &StorePath, error: &UnpackError) -> Refusal {
        let mut what = self.explain(drv_path, error);
        if let UnpackError::Missing(hashes) = error {
            for hash in hashes.iter().take(NAMED) {
                what.push(' ');
                what.push_str(&hex(hash));
            }
        }
        Refusal::new(Rule::Evidence, what)
            .unless(format!("a proof with these texts, or {BUILD_ANY}"))
    }
}

/// The texts of a proof, and that of what was proven.
fn texts_of(proof: Proof, drv: &BasicDerivation, guard: &Guard<'_>) -> Vec<ProofText> {
    let own = proof.text_of(drv, guard.dir()).ok();
    let inputs = proof.inputs.into_iter().map(|input| input.text);
    inputs.chain(own).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const BUILD_ANY: &str = "capability 'build-any'";
/// Missing texts that are named in a message.
const NAMED: usize = 5;
