use super::*;

fn parse(text: &str) -> anyhow::Result<Address> {
    Address::parse(text, &Environment::default())
}

fn layout(text: &str) -> StoreLayout {
    match parse(text).unwrap() {
        Address::Local(address) => address.layout,
        Address::Remote(address, _) => panic!("'{address}' is remote"),
    }
}

fn error(text: &str) -> String {
    crate::cli::report::one_line(&parse(text).unwrap_err())
}

#[test]
fn a_root_moves_everything_but_the_logical_directory() {
    let expected = StoreLayout::chroot(StoreDir::default(), Path::new("/r"));
    for text in ["local?root=/r", "/r", "local?root=%2fr"] {
        assert_eq!(layout(text), expected, "{text}");
    }
    assert!(layout("./r").real_store.is_absolute());
}

#[test]
fn parameters_win_over_root() {
    let layout = layout("local?root=/r&state=/s&store=/x/store&real=/d");
    assert_eq!(layout.state, Path::new("/s"));
    assert_eq!(layout.real_store, Path::new("/d"));
    assert_eq!(layout.log, Path::new("/r/nix/var/log/nix"));
    assert_eq!(layout.store_dir.as_str(), "/x/store");
}

#[test]
fn the_environment_moves_the_system_store() {
    let environment = Environment {
        store_dir: Some("/e/store".into()),
        state_dir: Some("/e/state".into()),
        ..Environment::default()
    };
    let Address::Local(address) = Address::parse("auto", &environment).unwrap() else {
        panic!("auto is local");
    };
    assert_eq!(address.layout.real_store, Path::new("/e/store"));
    assert_eq!(address.layout.state, Path::new("/e/state"));
    assert_eq!(address.layout.log, Path::new("/nix/var/log/nix"));
}

#[test]
fn pipes_are_remote_with_all_their_words() {
    for text in [
        "ssh://a@b?compress=true",
        "exec:nix-store --serve --option a b?c",
    ] {
        let Address::Remote(given, _) = parse(text).unwrap() else {
            panic!("'{text}' is remote");
        };
        assert_eq!(given, text);
    }
}

#[test]
fn a_store_behind_a_daemon_is_the_systems_own() {
    for text in ["daemon", "unix://", "unix:///run/socket"] {
        let Address::Local(address) = parse(text).unwrap() else {
            panic!("'{text}' is local");
        };
        assert_eq!(address.layout, StoreLayout::default());
        assert_eq!(address.daemon.as_deref(), Some(text));
    }
}

#[test]
fn refusals_name_the_address_and_a_way_out() {
    insta::assert_snapshot!(error("s3://bucket"), @"don't know how to open Nix store 's3://bucket': use auto, local, a directory, local?root=DIR, ssh://HOST or exec:COMMAND");
    insta::assert_snapshot!(error("local?root"), @"cannot use store address 'local?root': parameter 'root' of 'local?root' should have the form 'name=value'");
    insta::assert_snapshot!(error("local?root=%+f"), @"cannot use store address 'local?root=%+f': '%+f' has a malformed percent escape");
    insta::assert_snapshot!(error("local?store=here"), @"cannot use store address 'local?store=here': 'here' is not a store directory: it must be an absolute path without '.', '..' or control characters");
    insta::assert_snapshot!(error("local?durability=high"), @"cannot use store address 'local?durability=high': parameter 'durability' has the invalid value 'high': expected 'none', 'ordered' or 'full'");
}
