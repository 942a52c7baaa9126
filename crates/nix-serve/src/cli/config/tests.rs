use super::*;

fn parsed(text: &str) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    config.read_variable("NIX_CONFIG", text)?;
    Ok(config)
}

fn value(text: &str, name: &str) -> Option<String> {
    parsed(text).unwrap().value(name).map(str::to_owned)
}

#[test]
fn words_are_joined_by_one_blank_and_comments_dropped() {
    let text = "# all\nsubstituters =  a\t b   c # d\n\n  sandbox = true\n";
    assert_eq!(value(text, "substituters").as_deref(), Some("a b c"));
    assert_eq!(value(text, "sandbox").as_deref(), Some("true"));
}

#[test]
fn the_last_value_wins_and_extra_appends() {
    let text = "trusted-public-keys = a:1\nextra-trusted-public-keys = b:2\n";
    assert_eq!(
        value(text, "trusted-public-keys").as_deref(),
        Some("a:1 b:2")
    );
    let text = "extra-trusted-public-keys = b:2\ntrusted-public-keys = a:1\n";
    assert_eq!(value(text, "trusted-public-keys").as_deref(), Some("a:1"));
}

#[test]
fn old_names_mean_the_new_settings() {
    assert_eq!(
        value("binary-cache-public-keys = k:1", "trusted-public-keys").as_deref(),
        Some("k:1")
    );
    assert_eq!(
        value("gc-keep-outputs = true", "keep-outputs").as_deref(),
        Some("true")
    );
}

#[test]
fn an_old_name_may_append() {
    for name in ["build-extra-sandbox-paths", "extra-build-sandbox-paths"] {
        let config = parsed(&format!("sandbox-paths = /a\n{name} = /b\n")).unwrap();
        assert_eq!(config.value("sandbox-paths"), Some("/a /b"), "{name}");
        let config = parsed(&format!("{name} = /b\n")).unwrap();
        assert!(config.is_only_appended("sandbox-paths"), "{name}");
    }
}

#[test]
fn unknown_settings_are_no_error() {
    assert_eq!(
        value("no-such-thing = 1 2", "no-such-thing").as_deref(),
        Some("1 2")
    );
}

#[test]
fn an_equals_sign_needs_blanks_around_it() {
    for text in ["a=b", "a =b", "a", "include", "include a b", "= b c"] {
        let error = parsed(text).unwrap_err().to_string();
        let expected = format!("syntax error in configuration line '{text}' in 'NIX_CONFIG'");
        assert_eq!(error, expected, "{text}");
    }
}

#[test]
fn an_empty_value_is_a_value() {
    assert_eq!(
        value("build-users-group =", "build-users-group").as_deref(),
        Some("")
    );
}

#[test]
fn booleans_have_three_spellings() {
    let config = parsed("use-sqlite-wal = no\nfsync-metadata = yes\nrequire-sigs = 2").unwrap();
    assert_eq!(config.boolean("use-sqlite-wal").unwrap(), Some(false));
    assert_eq!(config.boolean("fsync-metadata").unwrap(), Some(true));
    assert_eq!(config.boolean("keep-outputs").unwrap(), None);
    assert_eq!(
        config.boolean("require-sigs").unwrap_err().to_string(),
        "setting 'require-sigs' has the invalid value '2': expected 'true' or 'false'"
    );
}

#[test]
fn includes_are_relative_and_must_be_there_unless_marked() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    std::fs::write(
        file("a.conf"),
        "include b.conf\n!include none.conf\ncores = 2\n",
    )
    .unwrap();
    std::fs::write(file("b.conf"), "cores = 1\nsandbox = relaxed\n").unwrap();
    let mut config = Config::default();
    config.read_file(&file("a.conf")).unwrap();
    assert_eq!(config.value("cores"), Some("2"));
    assert_eq!(config.value("sandbox"), Some("relaxed"));

    std::fs::write(file("c.conf"), "include none.conf\n").unwrap();
    let error = config.read_file(&file("c.conf")).unwrap_err().to_string();
    let (none, from) = (file("none.conf"), file("c.conf"));
    let expected = format!(
        "file '{}' included from '{}' not found",
        none.display(),
        from.display()
    );
    assert_eq!(error, expected);
}

#[test]
fn a_file_that_includes_itself_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("loop.conf");
    std::fs::write(&file, "include loop.conf\n").unwrap();
    let error = Config::default().read_file(&file).unwrap_err().to_string();
    assert!(error.ends_with("more than 32 levels deep"), "{error}");
}

#[test]
fn a_missing_file_is_empty() {
    let mut config = Config::default();
    config
        .read_file(Path::new("/nonexistent/nix.conf"))
        .unwrap();
    assert_eq!(config, Config::default());
}
