#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a harness for tests: it panics when something is amiss, and reads CI and HOME itself"
)]

mod bytes;
mod corpus;
mod delay;
mod drv;
mod kill_point;
mod machine;
pub mod nar;
mod one_byte;
mod peer;
mod releases;
mod say;
mod session;
mod sha256;
mod small_disk;
mod sshd;
mod temp_store;
pub mod transcript;
pub mod vectors;
mod verify;

pub use bytes::{Message, PathToAdd, command};
pub use corpus::Corpus;
pub use delay::{DelayedLink, DistantServer};
pub use drv::{RawBuildResult, RawDrv, RawLimits, Workshop, all_features, without_colours};
pub use kill_point::{Call, Traced, calls_of, run_and_kill_at};
pub use machine::Machine;
pub use one_byte::OneByteReader;
pub use peer::{Peer, busybox};
pub use say::{is_ci, poll_until, say, say_missing};
pub use session::{CLIENT_MAGIC, Ended, RawPathInfo, SERVER_MAGIC, ServeSession};
pub use small_disk::SmallDisk;
pub use sshd::Sshd;
pub use temp_store::TempStore;
pub use verify::{
    VerifyReport, assert_same_contents, collect_really, run, run_ok, verify_command, verify_with,
};
