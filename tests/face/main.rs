//! The faces of `nix-store`, `nix-copy-closure` and `nix-collect-garbage` beside real Nix.
//!
//! Each case runs by each release that is here and by this program, on copies of one store that
//! a real Nix made. What they print, how they end and what they leave behind is the same, or the
//! difference is told in `explained.toml`. An entry that explains nothing fails the test, so the
//! list can't grow stale. `docs/nix-store-face.md` shows the list to users.
//!
//! Of stderr the lines that name errors are compared: ours have all words of real Nix's, and may
//! say more. Where the releases differ in their words, there is an error or there is none.
//!
//! `FACE=PATTERN,…` runs the cases whose names match one of these and prints all differences.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't do its work has failed"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "variables choose cases and write documentation"
)]

mod cases;
mod compare;
mod differences;
mod document;
mod explained;
mod fixture;
mod glob;
mod run;
mod side;
mod state;
