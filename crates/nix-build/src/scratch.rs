//! (module scratch)
