//! (module scheduler)
