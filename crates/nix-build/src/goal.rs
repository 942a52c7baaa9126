//! (module goal)
