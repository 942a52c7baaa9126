//! (module slots)
