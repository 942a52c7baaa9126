//! A model of what processes do to a shared store: temporary roots, the collector's lock and
//! socket, path locks, rows and contents.

mod fault;

pub use fault::Fault;
