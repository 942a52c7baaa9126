use super::*;
use crate::error::FieldError;

const PATH: &str = "/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-x";
const FIXED_HASH: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

fn parse(text: &str, strictness: Strictness) -> Result<Derivation> {
    Derivation::parse(
        text.as_bytes(),
        &StoreDir::default(),
        &"f".parse().unwrap(),
        strictness,
    )
}

fn strict(text: &str) -> Result<Derivation> {
    parse(text, Strictness::Strict)
}

fn lenient(text: &str) -> Result<Derivation> {
    parse(text, Strictness::Lenient)
}

/// A derivation with other outputs, input derivations and sources.
fn with(outputs: &str, drvs: &str, srcs: &str) -> String {
    format!(r#"Derive([{outputs}],[{drvs}],[{srcs}],"s","/b",[],[])"#)
}

fn with_output(path: &str, hash_algo: &str, hash: &str) -> String {
    with(
        &format!(r#"("out","{path}","{hash_algo}","{hash}")"#),
        "",
        "",
    )
}

/// The error with its cause.
fn explain(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn both_reject(text: &str) -> String {
    let error = explain(&strict(text).unwrap_err());
    assert_eq!(explain(&lenient(text).unwrap_err()), error);
    error
}

#[test]
fn kinds_of_outputs_by_their_fields() {
    let kind = |path: &str, algo: &str, hash: &str| {
        let drv = lenient(&with_output(path, algo, hash)).unwrap();
        drv.basic.outputs.into_values().next().unwrap()
    };
    let nar = ContentAddressMethod::NixArchive;
    let algo = HashAlgo::Sha256;
    let path: StorePath = StoreDir::default().parse(PATH).unwrap();
    assert_eq!(kind(PATH, "", ""), DerivationOutput::InputAddressed(path));
    assert_eq!(kind("", "", ""), DerivationOutput::Deferred);
    let floating = DerivationOutput::CaFloating { method: nar, algo };
    assert_eq!(kind("", "r:sha256", ""), floating);
    assert_eq!(
        kind("", "r:sha256", "impure"),
        DerivationOutput::Impure { method: nar, algo }
    );
    let DerivationOutput::CaFixed(ca) = kind(PATH, "text:sha256", FIXED_HASH) else {
        panic!()
    };
    assert_eq!(ca.method, ContentAddressMethod::Text);
}

#[test]
fn bad_outputs_are_refused_with_their_offset() {
    insta::assert_snapshot!(both_reject(&with_output("", "sha256", FIXED_HASH)), @"bad field at offset 16: bad path '' in derivation");
    insta::assert_snapshot!(both_reject(&with_output("x", "", "")), @"bad field at offset 16: bad path 'x' in derivation");
    insta::assert_snapshot!(both_reject(&with_output("/etc/passwd", "", "")), @"bad field at offset 16: path '/etc/passwd' is not in the Nix store");
    insta::assert_snapshot!(both_reject(&with_output(PATH, "r:sha256", "")), @"bad field at offset 16: content-addressing derivation output should not specify output path");
    insta::assert_snapshot!(both_reject(&with_output(PATH, "r:sha256", "impure")), @"bad field at offset 16: impure derivation output should not specify output path");
    insta::assert_snapshot!(both_reject(&with_output(PATH, "sha257", FIXED_HASH)), @"bad field at offset 64: unknown hash algorithm 'sha257'");
    insta::assert_snapshot!(both_reject(&with_output(PATH, "sha256", "00")), @"bad field at offset 73: hash '00' has wrong length for hash algorithm 'sha256'");
    insta::assert_snapshot!(both_reject(&with(r#"("a b","","","")"#, "", "")), @"bad field at offset 10: 'a b' is not a valid output name");
    insta::assert_snapshot!(both_reject(&with("", r#"("/nix/store/x.drv",["out"])"#, "")), @"bad field at offset 13: path 'x.drv' is not a valid store path: it must start with 32 base-32 digits and a dash");
    insta::assert_snapshot!(both_reject(&with("", "", r#""/nix/store/x""#)), @"bad field at offset 15: path 'x' is not a valid store path: it must start with 32 base-32 digits and a dash");
}

#[test]
fn only_strict_readers_insist_on_the_canonical_form() {
    let fixed = "/nix/store/1p9q0bz6f22dyxh4lw8xs08p4201vyq4-f";
    strict(&with_output(fixed, "sha256", FIXED_HASH)).unwrap();
    let reject = |text: &str| {
        let drv = lenient(text).unwrap();
        let printed = drv.to_aterm(&StoreDir::default()).unwrap();
        assert_ne!(printed, text.as_bytes());
        assert_eq!(strict(&String::from_utf8(printed).unwrap()).unwrap(), drv);
        explain(&strict(text).unwrap_err())
    };
    insta::assert_snapshot!(reject(&with_output(PATH, "sha256", FIXED_HASH)), @"bad field at offset 16: output has path '/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-x', which does not match its content address ('/nix/store/1p9q0bz6f22dyxh4lw8xs08p4201vyq4-f')");
    insta::assert_snapshot!(reject(&with_output("/", "sha256", FIXED_HASH)), @"bad field at offset 16: output has path '/', which does not match its content address ('/nix/store/1p9q0bz6f22dyxh4lw8xs08p4201vyq4-f')");
    insta::assert_snapshot!(reject(&with_output(fixed, "sha256", &FIXED_HASH.to_uppercase())), @"bad field at offset 73: '5891B5B522D5DF086D0FF0B110FBD9D21BB4FC7163AF34D08286A2E846F6BE03' is not in canonical form");
    insta::assert_snapshot!(reject(&with_output(PATH, "", "abc")), @"bad field at offset 67: output has a hash without a hash algorithm");
    insta::assert_snapshot!(reject(&with_output("/nix/store/./00bgd045z0d4icpbc2yyz4gx48ak44la-x", "", "")), @"bad field at offset 16: '/nix/store/./00bgd045z0d4icpbc2yyz4gx48ak44la-x' is not in canonical form");
    insta::assert_snapshot!(reject(&with("", "", r#""/nix/store//00bgd045z0d4icpbc2yyz4gx48ak44la-x""#)), @"bad field at offset 15: '/nix/store//00bgd045z0d4icpbc2yyz4gx48ak44la-x' is not in canonical form");
    insta::assert_snapshot!(reject(&with("", r#"("//nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-x.drv",[])"#, "")), @"bad field at offset 13: '//nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-x.drv' is not in canonical form");
}

#[test]
fn of_two_alike_lenient_readers_take_what_real_nix_takes() {
    let outputs = r#"("out","","r:sha256",""),("out","","",""),("a","","","")"#;
    let drvs = format!(r#"("{PATH}",["a","a"]),("{PATH}",["b"])"#);
    let text = with(outputs, &drvs, "").replace(",[])", r#",[("k","1"),("k","2")])"#);
    let drv = lenient(&text).unwrap();
    assert!(matches!(
        drv.outputs[&"out".parse().unwrap()],
        DerivationOutput::CaFloating { .. }
    ));
    let nodes: Vec<_> = drv.input_drvs.values().collect();
    assert_eq!(nodes[0].outputs, ["b".parse().unwrap()].into());
    assert_eq!(drv.env_var("k"), Some(&b"2"[..]));
    strict(&text).unwrap_err();
}

#[test]
fn errors_in_files_name_the_path() {
    let store = StoreDir::default();
    let path = "00bgd045z0d4icpbc2yyz4gx48ak44la-x.drv".parse().unwrap();
    let error = Derivation::parse_file(b"nothing", &store, &path, Strictness::Lenient).unwrap_err();
    insta::assert_snapshot!(explain(&error), @"error parsing derivation '/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-x.drv': derivation does not start with 'Derive' or 'DrvWithVersion' at offset 0");
    let path = "00bgd045z0d4icpbc2yyz4gx48ak44la-x".parse().unwrap();
    let error = Derivation::parse_file(b"nothing", &store, &path, Strictness::Lenient).unwrap_err();
    insta::assert_snapshot!(explain(&error), @"path '00bgd045z0d4icpbc2yyz4gx48ak44la-x' is not a valid derivation path: its name must end in '.drv'");
}

#[test]
fn references_are_sources_and_input_derivations() {
    let text = with(
        r#"("out","","","")"#,
        r#"("/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-b.drv",["out"])"#,
        &format!(r#""{PATH}""#),
    );
    let names: Vec<_> = strict(&text)
        .unwrap()
        .references()
        .iter()
        .map(|path| path.name().to_string())
        .collect();
    assert_eq!(names, ["b.drv", "x"]);
}

#[test]
fn another_store_directory_is_another_store() {
    let store = StoreDir::new("/gnu/store").unwrap();
    let name = "f".parse().unwrap();
    let text = with_output(PATH, "", "");
    let error = Derivation::parse(text.as_bytes(), &store, &name, Strictness::Strict).unwrap_err();
    let Error::Field {
        source: FieldError::StorePath(_),
        ..
    } = error
    else {
        panic!("{error}")
    };
}
