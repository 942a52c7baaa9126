//! (module active)
