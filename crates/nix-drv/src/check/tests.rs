use std::collections::HashMap;

use super::*;
use crate::aterm::Strictness;

const A: &str = r#"Derive([("out","/nix/store/vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a","","")],[],[],"x86_64-linux","/bin/sh",["-c","echo \"hi\\\\\"\n\t> $out"],[("builder","/bin/sh"),("name","a"),("out","/nix/store/vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a"),("system","x86_64-linux")])"#;
const FIXED: &str = r#"Derive([("out","/nix/store/1p9q0bz6f22dyxh4lw8xs08p4201vyq4-f","sha256","5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03")],[],[],"s","/bin/sh",[],[("out","/nix/store/1p9q0bz6f22dyxh4lw8xs08p4201vyq4-f")])"#;

/// The result of checking `text` as the derivation `name`: paths or the error.
fn check_with(text: &str, name: &str, files: &HashMap<StorePath, Vec<u8>>) -> String {
    let store = StoreDir::default();
    let name = name.parse().unwrap();
    let drv = Derivation::parse(text.as_bytes(), &store, &name, Strictness::Lenient).unwrap();
    let path = drv.store_path(&store).unwrap();
    let read = |path: &StorePath| files.get(path).cloned().ok_or("no such file");
    match check_derivation(&drv, &path, &store, &mut HashMemo::new(), read) {
        Ok(known) => known
            .iter()
            .map(|(name, path)| format!("{name} {path}"))
            .collect(),
        Err(error) => error.to_string(),
    }
}

fn check(text: &str, name: &str) -> String {
    check_with(text, name, &HashMap::new())
}

#[test]
fn accepts_what_follows() {
    insta::assert_snapshot!(check(A, "a"), @"out vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a");
    insta::assert_snapshot!(check(FIXED, "f"), @"out 1p9q0bz6f22dyxh4lw8xs08p4201vyq4-f");
}

#[test]
fn rejects_paths_that_do_not_follow() {
    let other = A.replace("vr92cq", "0r92cq");
    insta::assert_snapshot!(check(&other, "a"), @"derivation '/nix/store/6mv4ci1kpjpah4gl32hy4gabvynrgwgk-a.drv' has incorrect output '/nix/store/0r92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a', should be '/nix/store/vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a'");
    insta::assert_snapshot!(check(A, "b"), @"derivation '/nix/store/87sxcfv60nzg62274526k7219278xq87-b.drv' has incorrect output '/nix/store/vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a', should be '/nix/store/f9mfm33by5lqbcyxvr0p2lczqvmkadj0-b'");
}

#[test]
fn rejects_variables_that_do_not_hold_the_path() {
    let missing = FIXED.replace(
        r#""out","/nix/store/1p9q0bz6f22dyxh4lw8xs08p4201vyq4-f")])"#,
        r#""x","")])"#,
    );
    insta::assert_snapshot!(check(&missing, "f"), @"derivation '/nix/store/34ni4cy4adwwbj6b52yg759napz2a0vn-f.drv' has incorrect environment variable 'out', should be '/nix/store/1p9q0bz6f22dyxh4lw8xs08p4201vyq4-f'");
    let other = FIXED.replace(r#"-f")])"#, r#"-g")])"#);
    insta::assert_snapshot!(check(&other, "f"), @"derivation '/nix/store/l9z4fl856ipsd7x33jcg1s2ld4n2mfgv-f.drv' has incorrect environment variable 'out', should be '/nix/store/1p9q0bz6f22dyxh4lw8xs08p4201vyq4-f'");
}

#[test]
fn rejects_outputs_that_do_not_go_together() {
    let none = r#"Derive([],[],[],"s","/b",[],[])"#;
    insta::assert_snapshot!(check(none, "x"), @"must have at least one output");
    let mixed = r#"Derive([("a","","",""),("b","","r:sha256","")],[],[],"s","/b",[],[])"#;
    insta::assert_snapshot!(check(mixed, "x"), @"can't mix derivation output types");
    let algorithms =
        r#"Derive([("a","","r:sha1",""),("b","","r:sha256","")],[],[],"s","/b",[],[])"#;
    insta::assert_snapshot!(check(algorithms, "x"), @"all floating outputs must use the same hash algorithm");
    let fixed = FIXED.replace(
        r#"[("out","/nix/store/1p9q0bz6f22dyxh4lw8xs08p4201vyq4-f","sha256""#,
        r#"[("lib","/x","sha256""#,
    );
    insta::assert_snapshot!(check(&fixed, "f"), @r#"single fixed output must be named "out""#);
    let hash = "00".repeat(32);
    let two = format!(
        r#"Derive([("a","/x","sha256","{hash}"),("b","/x","sha256","{hash}")],[],[],"s","/b",[],[])"#
    );
    insta::assert_snapshot!(check(&two, "x"), @"only one fixed output is allowed for now");
}

#[test]
fn rejects_a_stated_path_above_a_floating_input() {
    let store = StoreDir::default();
    let floating = r#"Derive([("out","","r:sha256","")],[],[],"s","/b",[],[])"#;
    let drv = Derivation::parse(
        floating.as_bytes(),
        &store,
        &"x".parse().unwrap(),
        Strictness::Strict,
    );
    let input = drv.unwrap().store_path(&store).unwrap();
    let files = HashMap::from([(input.clone(), floating.as_bytes().to_vec())]);
    let path = "/nix/store/vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a";
    let text = format!(
        r#"Derive([("out","{path}","","")],[("/nix/store/{input}",["out"])],[],"s","/b",[],[("out","{path}")])"#
    );
    insta::assert_snapshot!(check_with(&text, "a", &files), @"derivation '/nix/store/kifmd4www2jqj56rla60sncdh5avcyh5-a.drv' has incorrect output '/nix/store/vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a', should be deferred");
    insta::assert_snapshot!(check(&text, "a"), @"cannot read derivation 'hld30kp4zdff8l7iq08dk6f261vp8ppw-x.drv'");
}

#[test]
fn the_name_is_that_of_the_path() {
    let store = StoreDir::default();
    let drv = Derivation::parse(
        A.as_bytes(),
        &store,
        &"a".parse().unwrap(),
        Strictness::Strict,
    )
    .unwrap();
    let path = "0127k303nfrwsqmlnx96lslb3y8q82yf-b.drv".parse().unwrap();
    let read = |_: &StorePath| Err("unused");
    let error = check_derivation(&drv, &path, &store, &mut HashMemo::new(), read).unwrap_err();
    insta::assert_snapshot!(error, @"derivation '/nix/store/0127k303nfrwsqmlnx96lslb3y8q82yf-b.drv' has name 'a' which does not match its path");
}
