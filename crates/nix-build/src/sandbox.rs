//! The confinement of builders on Linux.
//!
//! [`plan`] decides, purely; the other modules carry a plan out, in the child of the
//! [helper](crate::helper) that is to become the builder.

pub mod bytes;
pub mod cgroup;
pub mod error;
pub mod input;
pub mod landlock;
pub mod network;
pub mod plan;
pub mod seccomp;

pub use error::{SandboxError, SetupFailure};
