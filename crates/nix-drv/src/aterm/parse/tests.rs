use super::*;

const PLAIN: &str = r#"Derive([("out","/o","","")],[("/a.drv",["dev","out"])],["/s"],"sys","/b\t",["-c","x\\\"\n\r"],[("a",""),("b","é")])"#;
const NESTED: &str = r#"DrvWithVersion("xp-dyn-drv",[],[("/a.drv",(["x"],[("x",["y"]),("z",([],[("z",["w"])]))]))],[],"","",[],[])"#;

fn strict(text: &str) -> Result<RawDerivation<'_>, ParseError> {
    document(text.as_bytes(), Strictness::Strict)
}

fn lenient(text: &str) -> Result<RawDerivation<'_>, ParseError> {
    document(text.as_bytes(), Strictness::Lenient)
}

/// What both modes say about a text that is wrong for both.
fn both_reject(text: &str) -> String {
    let error = strict(text).unwrap_err();
    assert_eq!(lenient(text).unwrap_err(), error, "{text}");
    error.to_string()
}

/// What the strict mode says about a text that the other takes.
fn strict_rejects(text: &str) -> String {
    lenient(text).unwrap();
    strict(text).unwrap_err().to_string()
}

#[test]
fn strings_are_borrowed_unless_they_have_escapes() {
    let drv = strict(PLAIN).unwrap();
    assert_eq!(*drv.builder, *b"/b\t");
    assert_eq!(*drv.args[1], *b"x\\\"\n\r");
    let is_borrowed = |string: &Cow<'_, [u8]>| matches!(string, Cow::Borrowed(_));
    assert!(is_borrowed(&drv.platform) && is_borrowed(&drv.args[0]));
    assert!(!is_borrowed(&drv.builder) && !is_borrowed(&drv.args[1]));
    assert_eq!(drv.wanted(&drv.input_drvs[0]).len(), 2);
    let span = &drv.env[1].span;
    assert_eq!(&PLAIN[span.clone()], r#""é""#);
    assert_eq!(
        &PLAIN[drv.spans.input_drvs.clone()],
        r#"[("/a.drv",["dev","out"])]"#
    );
}

#[test]
fn nodes_may_nest() {
    let drv = strict(NESTED).unwrap();
    assert!(drv.is_dynamic());
    let input = &drv.input_drvs[0];
    assert_eq!(*drv.wanted(input)[0], *b"x");
    assert_eq!(*input.children[0].1.outputs[0], *b"y");
    assert_eq!(*input.children[1].1.children[0].1.outputs[0], *b"w");
}

#[test]
fn every_prefix_is_refused() {
    for text in [PLAIN, NESTED] {
        for end in 0..text.len() {
            let prefix = &text.as_bytes()[..end];
            let error = document(prefix, Strictness::Strict).unwrap_err();
            assert!(error.offset <= end, "{end}: {error}");
            document(prefix, Strictness::Lenient).unwrap_err();
        }
    }
}

#[test]
fn wrong_punctuation_is_named_with_its_offset() {
    insta::assert_snapshot!(both_reject(""), @"derivation does not start with 'Derive' or 'DrvWithVersion' at offset 0");
    insta::assert_snapshot!(both_reject("derive("), @"derivation does not start with 'Derive' or 'DrvWithVersion' at offset 0");
    insta::assert_snapshot!(both_reject("Derive()"), @"expected string '[' at offset 7");
    insta::assert_snapshot!(both_reject("Derive([) "), @"expected string '(' at offset 8");
    insta::assert_snapshot!(both_reject("Derive([],[]"), @"expected string ',' at offset 12");
    insta::assert_snapshot!(both_reject(r#"Derive([("out",x"#), @r#"expected string '"' at offset 15"#);
    insta::assert_snapshot!(both_reject(r#"Derive([],[],["a"#), @"unterminated string in derivation at offset 14");
    insta::assert_snapshot!(both_reject(r#"Derive([],[],[],"","",["a\"#), @"unterminated string in derivation at offset 23");
    insta::assert_snapshot!(both_reject(r#"Derive([],[],[],"","",["a",],[])"#), @r#"expected string '"' at offset 27"#);
    insta::assert_snapshot!(both_reject(r#"Derive([],[("/a",(["x"],[]))],[],"","",[],[])"#), @"expected string '[' at offset 17");
    insta::assert_snapshot!(both_reject(r#"DrvWithVersion("2",[],[],[],"","",[],[])"#), @"unknown derivation ATerm format version '2' at offset 15");
}

#[test]
fn lists_that_only_lenient_readers_take() {
    let args = |list: &str| format!(r#"Derive([],[],[],"","",{list},[])"#);
    insta::assert_snapshot!(strict_rejects(&args(r#"["a""b"]"#)), @"expected string ',' at offset 26");
    insta::assert_snapshot!(strict_rejects(&args(r#"[,"a"]"#)), @r#"expected string '"' at offset 23"#);
    let taken = args(r#"[,"a""b","c"]"#);
    assert_eq!(lenient(&taken).unwrap().args.len(), 3);
    both_reject(&args(r#"["a",,"b"]"#));
}

#[test]
fn strings_that_only_lenient_readers_take() {
    let arg = |string: &str| format!(r#"Derive([],[],[],"","",["{string}"],[])"#);
    insta::assert_snapshot!(strict_rejects(&arg("a\nb")), @"control character 0x0a without escape in string at offset 25");
    insta::assert_snapshot!(strict_rejects(&arg("a\\n\tb")), @"control character 0x09 without escape in string at offset 27");
    insta::assert_snapshot!(strict_rejects(&arg(r"a\b")), @"needless escape in string at offset 25");
    let text = arg(r"\a\n\\");
    assert_eq!(*lenient(&text).unwrap().args[0], *b"a\n\\");
    // The platform is written as it is, so only there a line feed is canonical.
    let platform = "Derive([],[],[],\"a\nb\",\"\",[],[])";
    assert_eq!(*strict(platform).unwrap().platform, *b"a\nb");
    insta::assert_snapshot!(strict_rejects(r#"Derive([],[],[],"a\\b","",[],[])"#), @"needless escape in string at offset 18");
}

#[test]
fn orders_that_only_lenient_readers_take() {
    insta::assert_snapshot!(strict_rejects(&PLAIN.replace(r#"("b","#, r#"("A","#)), @"'A' is out of order among the environment variables at offset 106");
    insta::assert_snapshot!(strict_rejects(&PLAIN.replace(r#"("b","#, r#"("a","#)), @"'a' is there twice among the environment variables at offset 106");
    insta::assert_snapshot!(strict_rejects(&PLAIN.replace(r#""dev""#, r#""zev""#)), @"'out' is out of order among the wanted outputs at offset 47");
    insta::assert_snapshot!(strict_rejects(&PLAIN.replace(r#"["/s"]"#, r#"["/s","/r"]"#)), @"'/r' is out of order among the sources at offset 62");
    insta::assert_snapshot!(strict_rejects(&PLAIN.replace(r#")],["/s"]"#, r#"),("/a.drv",[])],["/s"]"#)), @"'/a.drv' is there twice among the input derivations at offset 56");
    insta::assert_snapshot!(strict_rejects(&PLAIN.replace(r#"[("out""#, r#"[("z","","",""),("out""#)), @"'out' is out of order among the outputs at offset 25");
    insta::assert_snapshot!(strict_rejects(&NESTED.replace(r#"("z",(["#, r#"("w",(["#)), @"'w' is out of order among the wanted outputs at offset 64");
    insta::assert_snapshot!(strict_rejects(&format!("{PLAIN}\n")), @"bytes after the end of the derivation at offset 116");
}

#[test]
fn the_long_form_is_for_nested_nodes_only() {
    let plain = r#"DrvWithVersion("xp-dyn-drv",[],[("/a",["x"])],[],"","",[],[])"#;
    insta::assert_snapshot!(strict_rejects(plain), @"'DrvWithVersion' or a nested node without need at offset 0");
    let empty = r#"DrvWithVersion("xp-dyn-drv",[],[("/a",(["x"],[]))],[],"","",[],[])"#;
    insta::assert_snapshot!(strict_rejects(empty), @"'DrvWithVersion' or a nested node without need at offset 38");
}

#[test]
fn deep_nesting_is_an_error_rather_than_a_crash() {
    let depth = 100_000;
    let open = r#"([],[("o","#.repeat(depth);
    let text = format!(r#"DrvWithVersion("xp-dyn-drv",[],[("/a",{open}"#);
    insta::assert_snapshot!(both_reject(&text), @"outputs of input derivations nest deeper than 64 levels at offset 678");
}
