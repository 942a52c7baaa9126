//! The confinement of builders on Linux.
//!
//! [`plan`] decides, purely; the other modules carry a plan out, in the child of the
//! [helper](crate::helper) that is to become the builder.

pub mod bytes;
pub mod cgroup;
pub(crate) mod confine;
pub mod error;
mod ids;
pub mod input;
pub mod landlock;
mod mounts;
pub(crate) mod namespaces;
pub mod network;
pub mod plan;
pub mod seccomp;
pub(crate) mod sys;
mod verify;

pub use error::{SandboxError, SetupFailure};
