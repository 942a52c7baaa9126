//! Garbage collection: what keeps paths alive, and what becomes of the others.

mod roots;

pub use roots::{ProcessUse, Root, RootNote, RootOptions, RootSource, Roots};
