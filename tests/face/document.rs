//! The list of differences as users read it.
