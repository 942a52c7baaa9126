//! The process that runs builders.

/// Acts as the helper if this process was started as one; returns otherwise.
pub fn main_if_asked() {}
