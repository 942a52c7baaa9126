//! Roots as real Nix finds them.
