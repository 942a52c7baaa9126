use super::*;

fn call(name: &str) -> BuiltinCall {
    BuiltinCall {
        name: name.to_owned(),
        env: BTreeMap::from([(b"one".to_vec(), b"1".to_vec())]),
        structured_attrs: Some(
            br#"{"one":"json","text":"t","yes":true,"no":false,"n":5,"list":[1]}"#.to_vec(),
        ),
        outputs: BTreeMap::from([("out".to_owned(), PathBuf::from("/nonexistent/out"))]),
        ca_bundle: Some(b"pem".to_vec()),
        netrc: None,
        hashed_mirrors: vec!["http://m".to_owned()],
        fixed: Some(FixedOutput {
            algo: "sha256".to_owned(),
            hex: "00".to_owned(),
            flat: true,
        }),
        impure: false,
        connect_timeout: 3,
        public_only: false,
        build_dir: PathBuf::from("/build"),
    }
}

#[test]
fn unknown_ones_are_named() {
    assert_eq!(
        run(&call("nope")).unwrap_err().to_string(),
        "unsupported builtin builder 'nope'"
    );
    assert_eq!(run_to_exit_code(&call("nope")), 1);
    assert!(!is_known("nope"));
    assert!(is_known("fetchurl") && is_known("buildenv") && is_known("unpack-channel"));
}

#[test]
fn calls_survive_the_way_to_the_child() {
    let call = call("fetchurl");
    let bytes = postcard::to_stdvec(&call).unwrap();
    assert_eq!(postcard::from_bytes::<BuiltinCall>(&bytes).unwrap(), call);
}

#[test]
fn structured_attributes_stand_in_for_variables() {
    let call = call("x");
    let text = |name: &str| {
        call.attr(name)
            .unwrap()
            .map(|value| String::from_utf8(value).unwrap())
    };
    assert_eq!(text("one").unwrap(), "1", "the environment comes first");
    assert_eq!(text("text").unwrap(), "t");
    assert_eq!(text("yes").unwrap(), "1");
    assert_eq!(text("no").unwrap(), "");
    assert_eq!(text("n").unwrap(), "5");
    assert_eq!(text("list"), None);
    assert_eq!(text("absent"), None);
    assert!(call.is_set("yes").unwrap() && !call.is_set("n").unwrap());
}

#[test]
fn errors_come_with_their_causes() {
    let mut call = call("unpack-channel");
    call.env.insert(b"channelName".to_vec(), b"x".to_vec());
    call.env.insert(b"src".to_vec(), b"/nonexistent".to_vec());
    let error = run(&call).unwrap_err();
    assert!(
        say::with_causes(&error).starts_with("cannot open '/nonexistent': No such file"),
        "{error}"
    );
}
