//! (module builtin)
