#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod client;
mod collector;
mod crash;
mod fault;
mod model;
mod properties;
mod state;
mod trace;

pub use fault::Fault;
pub use model::{Bounds, Happening, StoreModel, sorted};
pub use state::{
    At, CLIENTS, Client, Collector, CollectorAt, Disk, Left, PATHS, Paths, RootsFile, State, Task,
};
pub use trace::trace;
