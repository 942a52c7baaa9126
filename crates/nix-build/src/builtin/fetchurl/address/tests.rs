use super::*;

fn http(text: &str) -> HttpAddress {
    match Address::parse(text).unwrap() {
        Address::Http(address) => address,
        Address::File(path) => panic!("{}", path.display()),
    }
}

#[test]
fn files_are_decoded() {
    let file = |text| Address::parse(text).unwrap();
    assert_eq!(file("file:///a/b"), Address::File("/a/b".into()));
    assert_eq!(
        file("file://localhost/a%20%2fb"),
        Address::File("/a /b".into())
    );
    assert_eq!(
        file("FILE:///100%/%zz%4"),
        Address::File("/100%/%zz%4".into())
    );
}

#[test]
fn credentials_are_not_part_of_what_is_shown() {
    let address = http("https://us%40er:p%3aw@host:81/x?q#fragment");
    assert_eq!(address.shown(), "https://host:81/x?q");
    let credentials = address.credentials.unwrap();
    assert_eq!(credentials.user, b"us@er");
    assert_eq!(credentials.password, b"p:w");
    assert!(!format!("{credentials:?}").contains("us@er"));
    assert!(http("http://host/a@b").credentials.is_none());
}

#[test]
fn refuses_what_is_no_address() {
    for (text, part) in [
        ("nonsense", "has no scheme"),
        ("", "has no scheme"),
        ("file://host/x", "must be absolute"),
        ("http:///x", "isn't a valid address"),
        ("http://ho st/x", "isn't a valid address"),
        ("http://host/with space", "isn't a valid address"),
        ("ftp://host/x", "unsupported protocol 'ftp'"),
        ("gopher://host/x", "unsupported protocol 'gopher'"),
    ] {
        let error = Address::parse(text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn redirects_are_relative_to_where_they_come_from() {
    let from = http("https://u:p@host:81/dir/file?q=1");
    for (location, to) in [
        ("http://other/x", "http://other/x"),
        ("//other/x", "https://other/x"),
        ("/x", "https://host:81/x"),
        ("x", "https://host:81/dir/x"),
        ("?r=2", "https://host:81/dir/file?r=2"),
        ("x/y:z", "https://host:81/dir/x/y:z"),
    ] {
        let address = from.redirected(location).unwrap();
        assert_eq!(address.shown(), to, "{location}");
        assert!(address.credentials.is_none());
    }
}

#[test]
fn servers_cannot_redirect_to_files() {
    let from = http("http://host/x");
    for location in [
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "ftp://host/x",
        "data:,x",
    ] {
        let error = from.redirected(location).unwrap_err();
        assert!(matches!(error, FetchError::RedirectTo { .. }), "{error}");
    }
}
