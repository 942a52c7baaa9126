#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod db;
mod error;
pub mod gc;
mod layout;
mod local;
pub mod lock;
mod memory;
mod store;
pub mod trust;

pub use db::{Db, Durability, JournalMode, Registration};
pub use error::{BoxedCause, Error, FullPath, LockHolder, Result};
pub use layout::StoreLayout;
pub use local::{
    Access, BATCH_BYTES, BATCH_PATHS, CanonicaliseError, Canonicaliser, CheckContents,
    CommitOutcome, Fetched, ImportBatch, Journal, LocalStore, Measure, MetadataFault, NewOutput,
    OptimiseOptions, OptimiseProgress, OptimiseReport, PrivateDir, Remedy, RepairError,
    RepairFailure, RepairSource, Reregister, Scrutiny, StoreConfig, Unpacked, VerifyOptions,
    VerifyPhase, VerifyProblem, VerifyReport, VerifyWatch, git_object_id,
};
pub use memory::MemoryStore;
pub use store::{IncludeOutputs, Lock, Store};
pub use trust::TrustDb;
