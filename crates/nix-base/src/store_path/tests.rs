use super::*;

const HASH: &str = "i9pmrzmpshapij2kin22pff6fc2adavx";

fn path(name: &str) -> Result<StorePath, StorePathError> {
    StorePath::from_base_name(&format!("{HASH}-{name}"))
}

#[test]
fn accepts_what_the_newest_rule_accepts() {
    for name in [
        "a",
        "A+-._?=9",
        ".hidden",
        "..x",
        "...",
        "-",
        &"x".repeat(211),
    ] {
        assert_eq!(path(name).unwrap().name().as_str(), name);
    }
}

#[test]
fn rejects_names_that_break_a_rule() {
    for name in [
        "",
        ".",
        "..",
        ".-",
        "..-",
        ".-x",
        "..-x",
        "a b",
        "a/b",
        "a\0",
        "é",
        "a\n",
        &"x".repeat(212),
    ] {
        assert!(path(name).is_err(), "{name:?}");
    }
    let message = |name: &str| path(name).unwrap_err().to_string();
    insta::assert_snapshot!(message("a b"), @"path 'i9pmrzmpshapij2kin22pff6fc2adavx-a b' is not a valid store path: name 'a b' contains illegal character ' '");
    insta::assert_snapshot!(message("a\n"), @r"path 'i9pmrzmpshapij2kin22pff6fc2adavx-a\n' is not a valid store path: name 'a\n' contains illegal character '\n'");
}

#[test]
fn rejects_digests_that_are_no_nix32() {
    for base in [
        "",
        "x",
        HASH,
        "e9pmrzmpshapij2kin22pff6fc2adavx-x",
        "I9pmrzmpshapij2kin22pff6fc2adavx-x",
        "i9pmrzmpshapij2kin22pff6fc2adavx_x",
    ] {
        assert!(StorePath::from_base_name(base).is_err(), "{base}");
    }
    assert!(StorePath::from_base_name_bytes(b"\xff9pmrzmpshapij2kin22pff6fc2adavx-x").is_err());
}

#[test]
fn digest_and_digits_convert() {
    let p = path("x").unwrap();
    assert_eq!(StorePathHash::from_digest(p.hash().to_digest()), *p.hash());
}

#[test]
fn order_is_that_of_the_text() {
    let names = ["a", "a-b", "a.b", "B", "b", "ab"];
    for a in names {
        for b in names {
            let (x, y) = (path(a).unwrap(), path(b).unwrap());
            assert_eq!(x.cmp(&y), x.base_name().cmp(&y.base_name()));
        }
    }
}
