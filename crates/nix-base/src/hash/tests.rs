use super::*;

#[test]
fn known_digests_of_hello() {
    let hash = Hash::of(HashAlgo::Sha256, b"hello\n");
    assert_eq!(
        hash.render(HashFormat::Nix32),
        "00xyyr3fi8l6hb839bv3f7yb86yjv7xi1cgh1xnhipym4asvb4aq"
    );
    let empty = |algo| Hash::of(algo, b"").render(HashFormat::Nix32);
    assert_eq!(empty(HashAlgo::Md5), "3y8bwfr609h3lh9ch0izcqq7fl");
    assert_eq!(empty(HashAlgo::Sha1), "143xibwh31h9bvxzalr0sjvbbvpa6ffs");
    assert_eq!(
        empty(HashAlgo::Sha512),
        "0zdl9zrg8r3i9c1g90lgg9ip5ijzv3yhz91i0zzn3r8ap9ws784gkp9dk9j3aglhgf1amqb0pj21mh7h1nxcl18akqvvf7ggqsy30yg"
    );
    assert_eq!(
        Hash::of(HashAlgo::Blake3, b"").render(HashFormat::Base16),
        "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    );
}

#[test]
fn every_form_parses_back() {
    for algo in HashAlgo::ALL {
        let hash = Hash::of(algo, b"x");
        for format in [
            HashFormat::Base16,
            HashFormat::Nix32,
            HashFormat::Base64,
            HashFormat::Sri,
        ] {
            let text = hash.render_prefixed(format);
            assert_eq!(Hash::parse_any(&text, None).unwrap(), hash, "{text}");
            assert_eq!(Hash::parse_any(&text, Some(algo)).unwrap(), hash);
            if format != HashFormat::Sri {
                let bare = hash.render(format);
                assert_eq!(Hash::parse_digits(algo, &bare).unwrap(), hash, "{bare}");
            }
        }
        let upper = hash.render(HashFormat::Base16).to_uppercase();
        assert_eq!(Hash::parse_digits(algo, &upper).unwrap(), hash);
    }
}

#[test]
fn errors_name_what_is_wrong() {
    let message = |text, context| Hash::parse_any(text, context).unwrap_err().to_string();
    insta::assert_snapshot!(message("sha3:00", None), @"unknown hash algorithm 'sha3'");
    insta::assert_snapshot!(message("00", None), @"hash '00' does not include a type");
    insta::assert_snapshot!(message("sha1:00", Some(HashAlgo::Sha256)), @"hash 'sha1:00' should have type 'sha256'");
    insta::assert_snapshot!(message("sha256:00", None), @"hash '00' has wrong length for hash algorithm 'sha256'");
    insta::assert_snapshot!(message("sha256-AAAA", None), @"invalid SRI hash 'sha256-AAAA'");
    insta::assert_snapshot!(message("md5:zz8bwfr609h3lh9ch0izcqq7fl", None), @"invalid base-32 hash 'zz8bwfr609h3lh9ch0izcqq7fl'");
}

#[test]
fn nar_hash_takes_every_form_of_sha256_and_nothing_else() {
    let hash = NarHash::of(b"x");
    for text in [
        hash.to_base16(),
        hash.to_prefixed_base16(),
        hash.to_prefixed_nix32(),
        Hash::from(hash).render(HashFormat::Sri),
    ] {
        assert_eq!(NarHash::parse_any(&text).unwrap(), hash);
    }
    assert!(NarHash::parse_any("md5:3y8bwfr609h3lh9ch0izcqq7fl").is_err());
}
