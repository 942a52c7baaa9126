//! Who may do what on one connection.
//!
//! ```text
//! flags of `serve` ─┐
//!                   ├─ Role ─ the session asks it before each command
//! policy.toml ──────┘
//! ```
//!
//! A [`Role`] is settled when a connection starts and never widened afterwards: nothing a
//! client sends, and none of its environment, takes part. Whatever isn't understood fails
//! the start.

mod capability;
mod error;
mod file;
mod key_name;
mod role;
mod settle;

pub use capability::{Capability, UnknownCapability};
pub use error::{At, PolicyError};
pub use file::{Entry, PolicyFile};
pub use key_name::{InvalidKeyName, KeyName};
pub use role::{Quotas, Role, View};
pub use settle::{Surroundings, Wish, settle};
