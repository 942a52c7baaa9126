//! What to look at, what to do about it, and whom to tell.

use nix_base::{StorePath, StorePathSet};

use super::problem::VerifyProblem;
use super::repair::RepairError;

/// Whether to read and hash every object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CheckContents {
    /// Only see whether the objects are there.
    #[default]
    No,
    /// Compare every object's hash and size with the recorded ones.
    Yes,
}

/// What is done about what is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Remedy {
    /// Nothing is changed.
    #[default]
    Report,
    /// What `nix-store --verify` does without being asked: the database forgets paths that
    /// disappeared and that nothing needs, and learns hashes and sizes that it lacks.
    Tidy,
    /// Objects come anew from a source, deduplicated files that are damaged go; and what
    /// [`Self::Tidy`] does.
    Repair,
}

/// Whether a check of the whole store leaves marks of how far it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Journal {
    /// None.
    #[default]
    None,
    /// From the beginning.
    Fresh,
    /// From where the last one was cut, if it was.
    Resume,
}

/// How to verify.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyOptions {
    /// Whether to read and hash.
    pub contents: CheckContents,
    /// Whether to look at owners, modes, times and attributes.
    pub metadata: bool,
    /// Only these paths, which must be valid; the database and the deduplicated files are
    /// left out then.
    pub paths: Option<StorePathSet>,
    /// What is done about what is wrong.
    pub remedy: Remedy,
    /// How many threads read; 0 for as many as there are processors.
    pub threads: usize,
    /// At most so many bytes in a second, all threads together.
    pub rate: Option<u64>,
    /// Marks of how far a check of contents came.
    pub journal: Journal,
}

/// A part of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerifyPhase {
    /// Whether the objects are there.
    Existence,
    /// The deduplicated files.
    Links,
    /// What is in the objects.
    Contents,
}

/// Who is told what happens, while it does.
pub trait VerifyWatch {
    /// A part of the check begins.
    fn begins(&mut self, phase: VerifyPhase) {
        let _ = phase;
    }

    /// `path` is looked at; in the order of the paths.
    fn looks_at(&mut self, path: &StorePath) {
        let _ = path;
    }

    /// So many bytes were read more.
    fn has_read(&mut self, bytes: u64) {
        let _ = bytes;
    }

    /// Something is wrong.
    fn found(&mut self, problem: &VerifyProblem) {
        let _ = problem;
    }

    /// What was found last is put right.
    fn repaired(&mut self, problem: &VerifyProblem) {
        let _ = problem;
    }

    /// The database has forgotten the path, which nothing needs.
    fn forgot(&mut self, problem: &VerifyProblem) {
        let _ = problem;
    }

    /// It can't be put right.
    fn cannot_repair(&mut self, problem: &VerifyProblem, error: &RepairError) {
        let _ = (problem, error);
    }

    /// Whether to stop. What was found so far is reported then.
    fn is_cancelled(&mut self) -> bool {
        false
    }
}

/// Tells nobody.
impl VerifyWatch for () {}
