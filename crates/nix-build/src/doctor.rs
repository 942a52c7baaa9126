//! (module doctor)
