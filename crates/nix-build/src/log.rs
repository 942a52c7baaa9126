//! Build logs: the channel that builders write to, the lines that clients see, and the
//! files that are kept.
//!
//! What a builder writes is raw bytes. They are kept as they are; only for people they are
//! cut into lines.

pub mod file;
pub mod lines;
pub mod pty;

pub use self::file::{LogError, keep_log, log_path, open_log};
pub use self::pty::{LogChannel, LogReader};
