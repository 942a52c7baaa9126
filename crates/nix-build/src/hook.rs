//! (module hook)
