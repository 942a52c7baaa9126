use super::*;

fn parameters(pairs: &[(&str, &str)]) -> Parameters {
    pairs
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect()
}

fn ssh(text: &str) -> SshAddress {
    match StoreAddress::parse(text).unwrap() {
        StoreAddress::Ssh(address) => address,
        other => panic!("{other:?}"),
    }
}

#[test]
fn local_stores_by_name_and_by_path() {
    for (text, expected) in [
        ("auto", StoreAddress::Auto(Parameters::new())),
        ("", StoreAddress::Auto(Parameters::new())),
        ("local", StoreAddress::Local(Parameters::new())),
        ("local://", StoreAddress::Local(Parameters::new())),
        (
            "local?root=/a%20b&state=/c",
            StoreAddress::Local(parameters(&[("root", "/a b"), ("state", "/c")])),
        ),
        ("/a/b", StoreAddress::Local(parameters(&[("root", "/a/b")]))),
        ("./b", StoreAddress::Local(parameters(&[("root", "./b")]))),
    ] {
        let address = StoreAddress::parse(text).unwrap();
        assert_eq!(address, expected, "{text}");
        assert!(!address.is_remote());
    }
}

#[test]
fn hosts_with_user_port_and_brackets() {
    for (text, user, host, port) in [
        ("ssh://h", None, "h", None),
        ("ssh://u@h:2222", Some("u"), "h", Some(2222)),
        ("ssh://::1", None, "::1", None),
        ("ssh://[::1]:22", None, "::1", Some(22)),
        ("ssh://u@[fe80::1%25eth0]", Some("u"), "fe80::1%eth0", None),
        ("ssh://fe80::1%eth0", None, "fe80::1%eth0", None),
    ] {
        let address = ssh(text);
        assert_eq!(address.user.as_deref(), user, "{text}");
        assert_eq!(
            (address.host.as_str(), address.port),
            (host, port),
            "{text}"
        );
    }
    assert_eq!(ssh("ssh://u@[::1]:22").to_string(), "ssh://u@[::1]:22");
    assert_eq!(ssh("ssh://u@h").destination(), "u@h");
}

#[test]
fn only_the_bare_word_localhost_needs_no_ssh() {
    assert!(ssh("ssh://localhost").is_localhost());
    for other in ["ssh://u@localhost", "ssh://localhost:22", "ssh://127.0.0.1"] {
        assert!(!ssh(other).is_localhost(), "{other}");
    }
}

#[test]
fn parameters_are_decoded() {
    let address = ssh("ssh://h?remote-program=nix-serve%20-v&compress=true&odd=1");
    assert_eq!(address.parameters["remote-program"], "nix-serve -v");
    assert_eq!(address.unknown_parameters().collect::<Vec<_>>(), ["odd"]);
}

#[test]
fn hosts_of_nix_copy_closure_need_no_scheme() {
    for text in ["u@h", "ssh://u@h"] {
        let address = StoreAddress::parse_host(text).unwrap();
        assert_eq!(address.to_string(), "ssh://u@h");
    }
    let exec = StoreAddress::parse_host("exec:nix-store --serve --write").unwrap();
    assert_eq!(exec, StoreAddress::Exec("nix-store --serve --write".into()));
    assert_eq!(exec.to_string(), "exec:nix-store");
}

#[test]
fn refuses_what_ssh_would_take_for_options_and_other_nonsense() {
    let error = |text: &str| StoreAddress::parse(text).unwrap_err().to_string();
    insta::assert_snapshot!(error("ssh://-oProxyCommand=x"), @"invalid SSH host name '-oProxyCommand=x'");
    insta::assert_snapshot!(error("ssh://-l@h"), @"invalid SSH user name '-l'");
    insta::assert_snapshot!(error("ssh://"), @"invalid SSH host name ''");
    insta::assert_snapshot!(error("ssh://a b"), @"invalid SSH host name 'a b'");
    insta::assert_snapshot!(error("ssh://h:0"), @"invalid port '0'");
    insta::assert_snapshot!(error("ssh://h:+22"), @"invalid port '+22'");
    insta::assert_snapshot!(error("ssh://[::1"), @"invalid SSH host name '[::1'");
    insta::assert_snapshot!(error("ssh://h?compress"), @"parameter 'compress' of 'ssh://h?compress' should have the form 'name=value'");
    insta::assert_snapshot!(error("local?root=%zz"), @"'%zz' has a malformed percent escape");
    insta::assert_snapshot!(error("exec: "), @"don't know how to open Nix store 'exec: '");
    insta::assert_snapshot!(error("somewhere"), @"don't know how to open Nix store 'somewhere'");
}
