use super::*;
use crate::builtin::fetchurl::address::Address;

fn proxy_of(variables: &[(&str, &str)], url: &str) -> Option<String> {
    let variables = variables
        .iter()
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect();
    let Address::Http(address) = Address::parse(url).unwrap() else {
        panic!("{url}");
    };
    let proxy = find(&variables, &address).unwrap()?;
    Some(format!("{}:{}", proxy.host(), proxy.port()))
}

#[test]
fn each_protocol_has_its_variables() {
    let variables = [
        ("http_proxy", "http://one:1"),
        ("HTTP_PROXY", "http://never:9"),
        ("https_proxy", "http://two:2"),
        ("all_proxy", "http://three:3"),
    ];
    assert_eq!(proxy_of(&variables, "http://h/").unwrap(), "one:1");
    assert_eq!(proxy_of(&variables, "https://h/").unwrap(), "two:2");
    assert_eq!(proxy_of(&variables[3..], "https://h/").unwrap(), "three:3");
    assert_eq!(proxy_of(&variables[1..2], "http://h/"), None);
    assert_eq!(proxy_of(&[("http_proxy", "")], "http://h/"), None);
}

#[test]
fn excepted_hosts_are_reached_directly() {
    for (list, host, direct) in [
        ("*", "h", true),
        ("h", "h", true),
        ("h", "sub.h", true),
        (".h", "SUB.h", true),
        ("h", "ah", false),
        ("x, h", "h", true),
        ("x", "h", false),
        ("", "h", false),
    ] {
        let variables = [("http_proxy", "http://p:1"), ("no_proxy", list)];
        let proxy = proxy_of(&variables, &format!("http://{host}/"));
        assert_eq!(proxy.is_none(), direct, "{list} {host}");
    }
}

#[test]
fn a_bad_proxy_is_an_error_without_its_password() {
    let variables = BTreeMap::from([(b"http_proxy".to_vec(), b"what://u:secret@h".to_vec())]);
    let Address::Http(address) = Address::parse("http://h/").unwrap() else {
        panic!("an address");
    };
    let error = find(&variables, &address).unwrap_err().to_string();
    assert_eq!(error, "the proxy 'h' can't be used");
}
