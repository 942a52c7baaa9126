//! (module users)
