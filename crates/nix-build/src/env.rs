//! (module env)
