//! Garbage collection: what keeps paths alive, and what becomes of the others.

mod auto;
mod collect;
mod delete;
mod entries;
mod links;
mod mark;
mod meter;
mod options;
mod order;
mod plan;
mod remover;
mod report;
pub(crate) mod reserved;
mod roots;
mod specific;
#[cfg(test)]
mod testing;

pub use auto::AutoCollector;
pub(crate) use auto::AutoGcState;
pub use options::{AutoGc, GcAction, GcOptions, GcPolicy};
pub use report::{Freed, GcPhase, GcProgress, GcReport, GcTimes};
pub use roots::{ProcessUse, Root, RootNote, RootOptions, RootSource, Roots};
