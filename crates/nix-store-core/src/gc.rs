//! Garbage collection: what keeps paths alive, and what becomes of the others.

mod collect;
mod options;
mod report;
pub(crate) mod reserved;
mod roots;

pub use options::{AutoGc, GcAction, GcOptions, GcPolicy};
pub use report::{GcPhase, GcProgress, GcReport, GcTimes};
pub use roots::{ProcessUse, Root, RootNote, RootOptions, RootSource, Roots};
