//! The `nix-serve` program.

fn main() {}
