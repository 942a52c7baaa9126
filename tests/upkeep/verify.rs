//! `verify`, as operators use it.
