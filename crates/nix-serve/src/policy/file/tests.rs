use std::os::unix::fs::PermissionsExt;

use super::*;

fn parse(text: &str) -> Result<PolicyFile, PolicyError> {
    PolicyFile::parse(text, Path::new("/p.toml"))
}

fn problem(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

fn name(text: &str) -> KeyName {
    text.parse().unwrap()
}

#[test]
fn an_entry_takes_what_it_leaves_out_from_the_default() {
    let text = "[default]\nstored-bytes = '2G'\nslots = 1\n[key.\"a@b\"]\nslots = 3\n";
    let policy = parse(text).unwrap();
    let own = policy.entry(&name("a@b")).unwrap();
    assert_eq!(
        (own.slots, own.stored_bytes),
        (Some(3), Some(Bytes(2 << 30)))
    );
    let other = policy.entry(&name("c")).unwrap();
    assert_eq!(other.slots, Some(1));
    assert_eq!(policy.names().collect::<Vec<_>>(), [&name("a@b")]);
}

#[test]
fn without_a_default_only_named_keys_have_an_entry() {
    let policy = parse("[key.a]\n").unwrap();
    assert!(policy.entry(&name("a")).is_some());
    assert!(policy.entry(&name("b")).is_none());
    assert!(parse("").unwrap().entry(&name("a")).is_none());
}

#[test]
fn amounts_have_units() {
    let policy = parse("[default]\nbuild-time = '10h'\nstored-bytes = 5\n").unwrap();
    let entry = policy.entry(&name("x")).unwrap();
    assert_eq!(entry.build_time, Some(Seconds(36_000)));
    assert_eq!(entry.stored_bytes, Some(Bytes(5)));
    for amount in [
        "'10x'",
        "-1",
        "''",
        "'M'",
        "'+1'",
        "'99999999999T'",
        "1.5",
        "true",
    ] {
        assert!(
            parse(&format!("[default]\nstored-bytes = {amount}\n")).is_err(),
            "{amount}"
        );
    }
}

#[test]
fn whatever_is_not_understood_is_refused_with_its_line() {
    let texts = [
        "[default]\n\nalow = []\n",
        "[default]\nallow = [\n  'query',\n  'fly'\n]\n",
        "[default]\nview = 'all'\n",
        "[default]\nslots = -1\n",
        "[default]\ntrusted-keys = ['x']\n",
        "# é\n[key.'-x']\n",
        "[keys.x]\n",
        "[default]\nslots = 1\nslots = 2\n",
        "[default\n",
    ];
    insta::assert_snapshot!(texts.map(problem).join("\n"), @r#"
    /p.toml:3: unknown field 'alow', expected one of 'allow', 'view', 'share', 'expose', 'stored-bytes', 'slots', 'build-time', 'impure-env-vars', 'weak-hashes', 'system-features', 'trusted-keys'
    /p.toml:4: 'fly' is no capability: there are query, dump, import-ca, import-signed, import-any, build-verified, build-any, substitute, keep-failed and network
    /p.toml:2: 'all' is no view: there are 'own' and 'everything'
    /p.toml:2: invalid value: integer '-1', expected u64
    /p.toml:2: 'x' is no public key NAME:BASE64
    /p.toml:2: '-x' is no name for a key: expected up to 64 letters, digits and '._@+-', not beginning with '-' or '.'
    /p.toml:1: unknown field 'keys', expected 'default' or 'key'
    /p.toml:3: duplicate key
    /p.toml:1: unclosed table, expected ']'
    "#);
}

#[test]
fn a_file_that_others_may_write_to_is_no_policy() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("policy.toml");
    assert!(PolicyFile::read(&file).unwrap().is_none());
    std::fs::write(&file, "[default]\n").unwrap();
    for (mode, is_fine) in [(0o644, true), (0o600, true), (0o664, false), (0o602, false)] {
        std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        assert_eq!(PolicyFile::read(&file).is_ok(), is_fine, "{mode:o}");
    }
    let huge = format!("#{}", " ".repeat(1 << 20));
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::write(&file, huge).unwrap();
    assert!(matches!(
        PolicyFile::read(&file),
        Err(PolicyError::TooLarge { .. })
    ));
    let unreadable = PolicyFile::read(dir.path());
    assert!(matches!(
        unreadable,
        Err(PolicyError::Read { .. } | PolicyError::Foreign { .. })
    ));
}
