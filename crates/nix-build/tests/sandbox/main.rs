//! Builders in the sandbox, as root and without privileges.

mod confinement;
mod life;
mod missing;
mod network;
mod world;
