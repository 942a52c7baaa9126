//! One test for each release of real Nix.

use test_support::{Machine, Peer};

/// Makes a test of `$body`, a function of a `&Peer`, for each release, in a
/// module `$name`. With `since 2.8` it leaves out the older one.
macro_rules! with_each_release {
    ($name:ident since 2.8: $body:expr) => {
        with_each_release!($name [nix_2_8 "2.8", nix_2_26 "2.26", newest_nix "newest"]: $body);
    };
    ($name:ident: $body:expr) => {
        with_each_release!(
            $name [nix_2_3 "2.3", nix_2_8 "2.8", nix_2_26 "2.26", newest_nix "newest"]: $body
        );
    };
    ($name:ident [$($test:ident $label:literal),*]: $body:expr) => {
        mod $name {
            use super::*;

            $(#[test]
            fn $test() {
                if let Some(peer) = $crate::releases::find($label) {
                    let body: fn(&Peer) = $body;
                    body(peer);
                }
            })*
        }
    };
}

/// The release, if it and machines to run it on are here. What is missing has
/// been said, and is a failure in CI where it must not be.
pub(crate) fn find(label: &str) -> Option<&'static Peer> {
    Peer::find(label).filter(|_| Machine::available())
}
