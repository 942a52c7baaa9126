//! The vectors of other projects for everything that goes over the wire.

mod addresses;
mod json;
mod signatures;
mod values;
