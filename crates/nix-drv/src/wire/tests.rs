use super::*;
use crate::{Derivation, Strictness};

const FIXED: &str = r#"Derive([("out","/nix/store/1p9q0bz6f22dyxh4lw8xs08p4201vyq4-f","sha256","5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03")],[],["/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-src"],"s","/bin/sh",["-e","a\nb"],[("__json","{}"),("out","/nix/store/1p9q0bz6f22dyxh4lw8xs08p4201vyq4-f")])"#;
const KINDS: &str = r#"Derive([("a","/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-a","",""),("b","","",""),("c","","r:sha256",""),("d","","git:sha1","impure")],[],[],"s","/b",[],[])"#;

fn store() -> StoreDir {
    StoreDir::default()
}

fn name() -> StorePathName {
    "f".parse().unwrap()
}

fn parse(text: &str) -> BasicDerivation {
    Derivation::parse(text.as_bytes(), &store(), &name(), Strictness::Strict)
        .unwrap()
        .basic
}

fn written(drv: &BasicDerivation) -> Vec<u8> {
    let mut bytes = Vec::new();
    drv.write_wire(&mut bytes, &store()).unwrap();
    bytes
}

fn read(mut bytes: &[u8]) -> Result<BasicDerivation> {
    let drv = BasicDerivation::read_wire(&mut bytes, &store(), &name())?;
    assert!(bytes.is_empty(), "{} bytes left", bytes.len());
    Ok(drv)
}

fn strings(items: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for item in items {
        bytes.write_bytes(item).unwrap();
    }
    bytes
}

#[test]
fn all_kinds_are_read_as_written() {
    for text in [FIXED, KINDS] {
        let drv = parse(text);
        assert_eq!(read(&written(&drv)).unwrap(), drv);
    }
}

#[test]
fn bytes_on_the_wire() {
    let drv = parse(r#"Derive([("out","","r:sha256","")],[],[],"s","/b",["x"],[("k","v")])"#);
    let expected = [
        &1u64.to_le_bytes()[..],
        &strings(&[b"out", b"", b"r:sha256", b""]),
        &0u64.to_le_bytes(),
        &strings(&[b"s", b"/b"]),
        &1u64.to_le_bytes(),
        &strings(&[b"x"]),
        &1u64.to_le_bytes(),
        &strings(&[b"k", b"v"]),
    ]
    .concat();
    assert_eq!(written(&drv), expected);
}

#[test]
fn every_prefix_is_an_unexpected_end() {
    let bytes = written(&parse(FIXED));
    for end in 0..bytes.len() {
        let error = read(&bytes[..end]).unwrap_err();
        assert!(
            matches!(&error, Error::Wire(wire) if wire.is_eof()),
            "{end}: {error:?}"
        );
    }
}

#[test]
fn rejects_a_fixed_path_that_does_not_follow() {
    let bytes = written(&parse(FIXED));
    let at = bytes.windows(6).position(|w| w == b"1p9q0b").unwrap();
    let mut other = bytes.clone();
    other[at] = b'0';
    let error = read(&other).unwrap_err();
    insta::assert_snapshot!(error, @"bad output path");
    insta::assert_snapshot!(std::error::Error::source(&error).unwrap(), @"output has path '/nix/store/0p9q0bz6f22dyxh4lw8xs08p4201vyq4-f', which does not match its content address ('/nix/store/1p9q0bz6f22dyxh4lw8xs08p4201vyq4-f')");
}

#[test]
fn rejects_what_is_there_twice() {
    let twice = [
        &2u64.to_le_bytes()[..],
        &strings(&[b"a", b"", b"", b"", b"a", b"", b"", b""]),
    ];
    let error = read(&twice.concat()).unwrap_err();
    insta::assert_snapshot!(error, @"'a' is there twice among the outputs");
    let head = [
        &0u64.to_le_bytes()[..],
        &0u64.to_le_bytes(),
        &strings(&[b"s", b"/b"]),
    ]
    .concat();
    let env = [
        &0u64.to_le_bytes()[..],
        &2u64.to_le_bytes(),
        &strings(&[b"k", b"", b"k", b""]),
    ];
    let error = read(&[head, env.concat()].concat()).unwrap_err();
    insta::assert_snapshot!(error, @"'k' is there twice among the environment");
}

#[test]
fn huge_counts_and_lengths_allocate_nothing() {
    let error = read(&u64::MAX.to_le_bytes()).unwrap_err();
    insta::assert_snapshot!(error, @"outputs has too many items: 18446744073709551615 where at most 10000 are allowed");
    let long = [1u64.to_le_bytes(), (u64::MAX >> 1).to_le_bytes()].concat();
    insta::assert_snapshot!(read(&long).unwrap_err(), @"output name is too long: 9223372036854775807 bytes where at most 134217728 are allowed");
}
