//! A program that does nothing but run builders, for the tests of this crate.

fn main() {
    nix_build::helper::main_if_asked();
}
