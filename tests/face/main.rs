//! The faces of `nix-store`, `nix-copy-closure` and `nix-collect-garbage` beside real Nix.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't do its work has failed"
)]
