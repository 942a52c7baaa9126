//! One test for each release of real Nix.

/// Makes a test of a function of a `&Peer` for each release, in a module of that name; with
/// `since 2.8` it leaves out the older one.
///
/// A test does nothing where its release, or machines to run it on, are missing. That has been
/// said then, and is a failure in CI where it must not be.
///
/// ```
/// # use test_support::{Peer, with_each_release};
/// with_each_release!(names_a_version: |peer| assert!(!peer.version().is_empty()));
/// with_each_release!(is_new_enough since 2.8: |peer| assert!(peer.is_at_least(2, 8)));
/// ```
#[macro_export]
macro_rules! with_each_release {
    ($name:ident since 2.8: $body:expr) => {
        $crate::with_each_release!(
            $name [nix_2_8 "2.8", nix_2_26 "2.26", newest_nix "newest"]: $body
        );
    };
    ($name:ident: $body:expr) => {
        $crate::with_each_release!(
            $name [nix_2_3 "2.3", nix_2_8 "2.8", nix_2_26 "2.26", newest_nix "newest"]: $body
        );
    };
    ($name:ident [$($test:ident $label:literal),*]: $body:expr) => {
        mod $name {
            #[allow(unused_imports, reason = "what the body needs is known to the caller")]
            use super::*;

            $(#[test]
            fn $test() {
                if let Some(peer) = $crate::Peer::on_machines($label) {
                    let body: fn(&$crate::Peer) = $body;
                    body(peer);
                }
            })*
        }
    };
}
