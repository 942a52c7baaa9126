use nix_base::StorePathName;

use super::*;
use crate::aterm::Strictness;

const A: &str = r#"Derive([("out","/nix/store/vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a","","")],[],[],"x86_64-linux","/bin/sh",["-c","echo \"hi\\\\\"\n\t> $out"],[("builder","/bin/sh"),("name","a"),("out","/nix/store/vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a"),("system","x86_64-linux")])"#;
const HELLO: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
const F_OUT: &str = "/nix/store/1p9q0bz6f22dyxh4lw8xs08p4201vyq4-f";

fn store() -> StoreDir {
    StoreDir::default()
}

fn parse(text: &str, name: &str) -> Derivation {
    let name: StorePathName = name.parse().unwrap();
    Derivation::parse(text.as_bytes(), &store(), &name, Strictness::Strict).unwrap()
}

/// A fixed output of the contents `hello\n`, with one more variable.
fn fixed(extra: &str) -> Derivation {
    let text = format!(
        r#"Derive([("out","{F_OUT}","sha256","{HELLO}")],[],[],"x86_64-linux","/bin/sh",[],[("builder","/bin/sh"),("name","f"),("out","{F_OUT}"),("outputHash","{HELLO}"),("outputHashAlgo","sha256"),("outputHashMode","flat"),("system","x86_64-linux"){extra}])"#
    );
    parse(&text, "f")
}

fn put(memo: &mut HashMemo, drv: &Derivation) -> StorePath {
    let path = drv.store_path(&store()).unwrap();
    let hash = drv.input_hash(&store(), memo).unwrap();
    memo.insert(&path, hash);
    path
}

/// Gives the outputs of `drv` the paths that follow.
fn fill(drv: &mut Derivation, memo: &HashMemo) {
    drv.fill_in_outputs(&store(), memo).unwrap();
}

fn printed(drv: &Derivation) -> Vec<String> {
    let known = drv.known_outputs(&store()).unwrap();
    known.iter().map(|(_, path)| path.to_string()).collect()
}

#[test]
fn published_hashes_and_paths() {
    let mut memo = HashMemo::new();
    let a = parse(A, "a");
    let masked = a.masked_hash(&store(), &memo).unwrap();
    assert_eq!(
        masked.hash.render(HashFormat::Base16),
        "0de92fc103c680d318f4b8601a3c74c7b65a3dff2bddc5648662d5472195b0dc"
    );
    let a_path = put(&mut memo, &a);
    assert_eq!(a_path.to_string(), "0127k303nfrwsqmlnx96lslb3y8q82yf-a.drv");
    assert_eq!(
        memo.find(&a_path).unwrap().as_base16(),
        "ba4225a2258e2c5aa9456dec465c4399371eae3160bdbf813d559fbcd23cede2"
    );
    let f = fixed("");
    let f_path = put(&mut memo, &f);
    assert_eq!(
        memo.find(&f_path).unwrap().as_base16(),
        "9dfa15de2b8c57cbb8f0b06018af837b2a7ac14f1272261c57ea5f6c67cfb3f6"
    );
    let (first, second) = if a_path < f_path {
        (&a_path, &f_path)
    } else {
        (&f_path, &a_path)
    };
    let mut b = parse(
        &format!(
            r#"Derive([("dev","","",""),("out","","","")],[("/nix/store/{first}",["out"]),("/nix/store/{second}",["out"])],[],"x86_64-linux","/bin/sh",[],[("a","/nix/store/vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a"),("builder","/bin/sh"),("dev",""),("f","{F_OUT}"),("name","b"),("out",""),("outputs","out dev"),("system","x86_64-linux")])"#
        ),
        "b",
    );
    fill(&mut b, &memo);
    assert_eq!(
        String::from_utf8(b.modulo_text(&store(), &memo, Masked::Yes).unwrap()).unwrap(),
        format!(
            r#"Derive([("dev","","",""),("out","","","")],[("9dfa15de2b8c57cbb8f0b06018af837b2a7ac14f1272261c57ea5f6c67cfb3f6",["out"]),("ba4225a2258e2c5aa9456dec465c4399371eae3160bdbf813d559fbcd23cede2",["out"])],[],"x86_64-linux","/bin/sh",[],[("a","/nix/store/vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a"),("builder","/bin/sh"),("dev",""),("f","{F_OUT}"),("name","b"),("out",""),("outputs","out dev"),("system","x86_64-linux")])"#
        )
    );
    let masked = b.masked_hash(&store(), &memo).unwrap();
    assert_eq!(
        masked.hash.render(HashFormat::Base16),
        "64717bbf8d6de587dc318a01e27b48b97b8896c3d68321968ba0cb21a3a93bb6"
    );
    assert_eq!(
        printed(&b),
        [
            "09ypglil1mi9ddavq6g97n9b61s1h3hv-b-dev",
            "k52pddii1gzgjlbj42l672jdxa13kn3j-b"
        ]
    );
}

#[test]
fn inputs_of_equal_hash_are_united() {
    let mut memo = HashMemo::new();
    let mut middles = Vec::new();
    for x in ["1", "2"] {
        let f = put(&mut memo, &fixed(&format!(r#",("x","{x}")"#)));
        let mut m = parse(
            &format!(
                r#"Derive([("dev","","",""),("out","","","")],[("/nix/store/{f}",["out"])],[],"x86_64-linux","/bin/sh",[],[("builder","/bin/sh"),("dev",""),("f","{F_OUT}"),("name","m"),("out",""),("system","x86_64-linux")])"#
            ),
            "m",
        );
        fill(&mut m, &memo);
        middles.push(put(&mut memo, &m));
    }
    middles.sort();
    let mut top = parse(
        &format!(
            r#"Derive([("out","","","")],[("/nix/store/{}",["dev"]),("/nix/store/{}",["out"])],[],"x86_64-linux","/bin/sh",[],[("builder","/bin/sh"),("name","top"),("out",""),("system","x86_64-linux")])"#,
            middles[0], middles[1]
        ),
        "top",
    );
    fill(&mut top, &memo);
    assert_eq!(printed(&top), ["9psw84vjiszdlgi41w9wmgfy4lfz5ik5-top"]);
}

#[test]
fn inputs_of_which_nothing_is_wanted_do_not_count() {
    let mut memo = HashMemo::new();
    let f = put(&mut memo, &fixed(r#",("x","1")"#));
    let mut emp = parse(
        &format!(
            r#"Derive([("out","","","")],[("/nix/store/{f}",[])],[],"x86_64-linux","/bin/sh",[],[("builder","/bin/sh"),("name","emp"),("out",""),("system","x86_64-linux")])"#
        ),
        "emp",
    );
    fill(&mut emp, &memo);
    assert_eq!(printed(&emp), ["dn490hncpkp36zr9795ya42w9f2k9lpz-emp"]);
}

#[test]
fn an_output_that_the_input_does_not_have_is_an_error() {
    let mut memo = HashMemo::new();
    let a = put(&mut memo, &parse(A, "a"));
    let text = format!(
        r#"Derive([("out","","","")],[("/nix/store/{a}",["lib"])],[],"s","/b",[],[("out","")])"#
    );
    let error = parse(&text, "x").input_hash(&store(), &memo).unwrap_err();
    insta::assert_snapshot!(error, @"no hash for output 'lib' of derivation '0127k303nfrwsqmlnx96lslb3y8q82yf-a.drv'");
    let error = parse(&text, "x")
        .input_hash(&store(), &HashMemo::new())
        .unwrap_err();
    insta::assert_snapshot!(error, @"the hash of input derivation '0127k303nfrwsqmlnx96lslb3y8q82yf-a.drv' is not known");
}

#[test]
fn what_depends_on_a_floating_output_is_deferred() {
    let mut memo = HashMemo::new();
    let floating = r#"Derive([("out","","r:sha256","")],[],[],"s","/b",[],[])"#;
    let impure = r#"Derive([("out","","r:sha256","impure")],[],[],"s","/b",[],[])"#;
    for text in [floating, impure] {
        let input = put(&mut memo, &parse(text, "x"));
        let text = format!(
            r#"Derive([("out","","","")],[("/nix/store/{input}",["out"])],[],"s","/b",[],[])"#
        );
        let mut drv = parse(&text, "y");
        assert_eq!(
            drv.masked_hash(&store(), &memo).unwrap().kind,
            HashKind::Deferred
        );
        fill(&mut drv, &memo);
        assert_eq!(printed(&drv), [""; 0]);
        let hash = drv.input_hash(&store(), &memo).unwrap();
        assert_eq!(hash.kind(), HashKind::Deferred);
    }
}

/// A chain of derivations, each depending on the one before, as files.
fn chain(length: usize) -> Vec<(StorePath, Vec<u8>)> {
    let mut memo = HashMemo::new();
    let mut files: Vec<(StorePath, Vec<u8>)> = Vec::new();
    for n in 0..length {
        let input = files
            .last()
            .map(|(path, _)| format!(r#"("/nix/store/{path}",["out"])"#));
        let input = input.unwrap_or_default();
        let text = format!(
            r#"Derive([("out","","","")],[{input}],[],"s","/b",["{n}"],[("name","n"),("out","")])"#
        );
        let mut drv = parse(&text, "n");
        fill(&mut drv, &memo);
        files.push((put(&mut memo, &drv), drv.to_aterm(&store()).unwrap()));
    }
    files
}

#[test]
fn long_chains_are_hashed_without_recursion() {
    let files: HashMap<_, _> = chain(3000).into_iter().collect();
    let mut visited = 0;
    let mut reads = 0;
    let roots: Vec<_> = files.keys().cloned().collect();
    let mut memo = HashMemo::new();
    let read = |path: &StorePath| {
        reads += 1;
        files.get(path).cloned().ok_or("no such file")
    };
    visit_graph(roots, &store(), &mut memo, read, |drv| {
        visited += 1;
        let masked = drv.masked_hash()?;
        for (name, output) in drv.outputs() {
            let path = crate::outputs::output_path(&store(), drv.name(), name, &masked)?;
            assert_eq!(output.known_path(&store(), drv.name(), name)?, Some(path));
        }
        Ok(())
    })
    .unwrap();
    assert_eq!((visited, reads, memo.len()), (3000, 3000, 3000));
}

#[test]
fn canonical_and_other_texts_have_the_same_hash() {
    let mut files = chain(3);
    // A comma that lenient readers let pass sends the text the other way.
    files[1].1 = String::from_utf8(files[1].1.clone())
        .unwrap()
        .replace("Derive([(", "Derive([,(")
        .into();
    let files: HashMap<_, _> = files.into_iter().collect();
    let straight: HashMap<_, _> = chain(3).into_iter().collect();
    let load = |files: &HashMap<StorePath, Vec<u8>>| {
        let mut memo = HashMemo::new();
        let read = |path: &StorePath| files.get(path).cloned().ok_or("no such file");
        memo.load(straight.keys().cloned(), &store(), read).unwrap();
        memo
    };
    let (one, two) = (load(&files), load(&straight));
    for path in straight.keys() {
        assert_eq!(one.find(path), two.find(path), "{path}");
    }
}

#[test]
fn circles_and_missing_files_are_errors() {
    let (one, two) = (
        "0127k303nfrwsqmlnx96lslb3y8q82yf-a.drv"
            .parse::<StorePath>()
            .unwrap(),
        "1127k303nfrwsqmlnx96lslb3y8q82yf-b.drv"
            .parse::<StorePath>()
            .unwrap(),
    );
    let text = |input: &StorePath| {
        format!(r#"Derive([("out","","","")],[("/nix/store/{input}",["out"])],[],"s","/b",[],[])"#)
    };
    let files = HashMap::from([(one.clone(), text(&two)), (two.clone(), text(&one))]);
    let read = |path: &StorePath| {
        files
            .get(path)
            .map(|t| t.clone().into_bytes())
            .ok_or("gone")
    };
    let error = HashMemo::new()
        .load([one.clone()], &store(), read)
        .unwrap_err();
    insta::assert_snapshot!(error, @"derivation '0127k303nfrwsqmlnx96lslb3y8q82yf-a.drv' depends on itself");
    let none = |_: &StorePath| Err::<Vec<u8>, _>("gone");
    let error = HashMemo::new().load([one], &store(), none).unwrap_err();
    insta::assert_snapshot!(error, @"cannot read derivation '0127k303nfrwsqmlnx96lslb3y8q82yf-a.drv'");
}
