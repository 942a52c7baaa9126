use super::*;

fn pair(text: &str, host: &str) -> Option<(String, String)> {
    let credentials = find(text.as_bytes(), host)?;
    Some((
        String::from_utf8(credentials.user).unwrap(),
        String::from_utf8(credentials.password).unwrap(),
    ))
}

fn some(user: &str, password: &str) -> Option<(String, String)> {
    Some((user.to_owned(), password.to_owned()))
}

#[test]
fn the_first_entry_that_fits_counts() {
    let text = "machine a login u1 password p1\nmachine b\n  login u2\n  password p2\n\
                machine b login u3 password p3\ndefault login u4 password p4\n";
    assert_eq!(pair(text, "a"), some("u1", "p1"));
    assert_eq!(pair(text, "B"), some("u2", "p2"));
    assert_eq!(pair(text, "c"), some("u4", "p4"));
}

#[test]
fn without_a_default_other_hosts_get_nothing() {
    assert_eq!(pair("machine a login u password p", "aa"), None);
    assert_eq!(pair("machine a", "a"), None);
    assert_eq!(pair("", "a"), None);
    assert_eq!(pair("machine", "a"), None);
    assert_eq!(pair("login u password p", "a"), None);
}

#[test]
fn quotes_comments_and_macros_are_understood() {
    let text = "# machine a login no password no\nmachine a account x login \"u v\" \
                password \"p\\\"\\\\q\"\nmacdef m\n machine b login no password no\n\n\
                machine b password only";
    assert_eq!(pair(text, "a"), some("u v", "p\"\\q"));
    assert_eq!(pair(text, "b"), some("", "only"));
}
