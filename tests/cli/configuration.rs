//! Where the store and the settings come from.

use test_support::TempStore;

use crate::program::{add_file, nix_serve, on, run};

#[test]
fn the_environment_names_the_store() {
    let store = TempStore::new();
    let path = add_file(&store, "file", "contents");
    let mut by_address = nix_serve(["path-info", &path]);
    by_address.env("NIX_REMOTE", store.address());
    assert_eq!(run(by_address).line(), path);

    let mut by_setting = nix_serve(["path-info", &path]);
    by_setting.env("NIX_CONFIG", format!("store = {}", store.address()));
    assert_eq!(run(by_setting).line(), path);

    let mut overridden = on(&store, ["path-info", &path]);
    overridden.env("NIX_REMOTE", "local?root=/nonexistent");
    assert_eq!(run(overridden).line(), path);
}

#[test]
fn directories_of_the_environment_make_another_store_with_other_hashes() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().canonical().join(name);
    let file = at("file");
    std::fs::write(&file, "contents").unwrap();
    let in_place = |words: &[&str]| {
        let mut command = nix_serve(words);
        command
            .env("NIX_STORE_DIR", at("store"))
            .env("NIX_STATE_DIR", at("state"))
            .env("NIX_LOG_DIR", at("log"));
        run(command)
    };
    let added = in_place(&["add", file.to_str().unwrap()]);
    let path = added.line();
    assert!(path.starts_with(at("store").to_str().unwrap()), "{path}");
    assert_eq!(std::fs::read(path).unwrap(), b"contents");
    assert!(at("state/db/db.sqlite").symlink_metadata().is_ok());
    let elsewhere = TempStore::new();
    let other = run(on(&elsewhere, ["add", file.to_str().unwrap()]));
    let hash = |path: &str| path.rsplit('/').next().unwrap()[..32].to_owned();
    assert_ne!(hash(path), hash(other.line()));
    assert!(in_place(&["verify", "--check-contents"]).lines().is_empty());
}

/// `canonicalize` without the lint: the temporary directory may be behind a symlink.
trait Canonical {
    fn canonical(&self) -> std::path::PathBuf;
}

impl Canonical for std::path::Path {
    #[expect(clippy::disallowed_methods, reason = "outside of any store")]
    fn canonical(&self) -> std::path::PathBuf {
        std::fs::canonicalize(self).unwrap()
    }
}

#[test]
fn bad_configuration_is_refused_with_its_place() {
    let store = TempStore::new();
    let refused = |config: &str| {
        let mut command = on(&store, ["init"]);
        command.env("NIX_CONFIG", config);
        run(command).refusal().to_owned()
    };
    assert_eq!(
        refused("a=b"),
        "error: syntax error in configuration line 'a=b' in 'NIX_CONFIG'"
    );
    assert_eq!(
        refused("use-sqlite-wal = maybe"),
        "error: setting 'use-sqlite-wal' has the invalid value 'maybe': expected 'true' or 'false'"
    );
    assert!(store.names().is_empty());
}

#[test]
fn configuration_files_are_read_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let store = TempStore::new();
    let path = add_file(&store, "file", "contents");
    std::fs::write(file("nix.conf"), "store = dummy://\ninclude more.conf\n").unwrap();
    std::fs::write(file("more.conf"), "unheard-of = 1 # said\n").unwrap();
    std::fs::write(file("user.conf"), format!("store = {}\n", store.address())).unwrap();
    let mut command = nix_serve(["path-info", &path]);
    command
        .env("NIX_CONF_DIR", directory.path())
        .env("NIX_USER_CONF_FILES", file("user.conf"));
    assert_eq!(run(command).line(), path);

    let mut command = nix_serve(["path-info", &path]);
    command.env("NIX_CONF_DIR", directory.path());
    assert!(run(command).refusal().contains("'dummy://'"));
    std::fs::remove_file(file("more.conf")).unwrap();
    let mut command = nix_serve(["path-info", &path]);
    command.env("NIX_CONF_DIR", directory.path());
    assert!(run(command).refusal().ends_with("nix.conf' not found"));
}

#[test]
fn every_level_of_durability_works_and_others_do_not() {
    for level in ["none", "ordered", "full"] {
        let store = TempStore::new();
        run(on(&store, ["init", "--durability", level])).lines();
        let address = format!("{}&durability={level}", store.address());
        run(nix_serve(["verify", "--store", &address])).lines();
    }
    let ran = run(nix_serve([
        "init",
        "--store",
        "/nonexistent?durability=some",
    ]));
    assert!(
        ran.refusal()
            .contains("expected 'none', 'ordered' or 'full'")
    );
}

#[test]
fn a_database_without_log_works_as_well() {
    let store = TempStore::new();
    let no_log = ["init", "--option", "use-sqlite-wal", "false"];
    run(on(&store, no_log)).lines();
    let log = store.state_dir().join("db/db.sqlite-wal");
    assert!(log.symlink_metadata().is_err());
    let path = add_file(&store, "file", "contents");
    assert_eq!(run(on(&store, ["path-info", &path])).line(), path);
}

#[test]
fn stores_behind_a_daemon_or_of_other_kinds_are_refused_with_a_way_out() {
    for address in ["daemon", "unix:///x", "s3://bucket", "nonsense"] {
        let ran = run(nix_serve(["add", "x", "--store", address]));
        let error = ran.refusal();
        assert!(
            error.contains(&format!("'{address}'")) && error.contains("use "),
            "{error}"
        );
    }
    let ran = run(nix_serve(["add", "x", "--store", "ssh://host"]));
    assert!(
        ran.refusal().contains("'add' needs a local store"),
        "{}",
        ran.stderr
    );
}

#[test]
fn the_store_of_a_daemon_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let file = at("file");
    std::fs::write(&file, "contents").unwrap();
    let in_place = |words: &[&str], remote: &str| {
        let mut command = nix_serve(words);
        command
            .env("NIX_STORE_DIR", at("store"))
            .env("NIX_STATE_DIR", at("state"))
            .env("NIX_REMOTE", remote);
        run(command)
    };
    let added = in_place(&["add", file.to_str().unwrap()], "local");
    let path = added.line();
    assert_eq!(in_place(&["path-info", path], "daemon").line(), path);
    let refused = in_place(&["add", file.to_str().unwrap()], "daemon");
    assert!(
        refused.refusal().contains("use --store local"),
        "{}",
        refused.stderr
    );
}

#[test]
fn whoever_may_not_write_is_told_a_way_out() {
    use std::os::unix::process::CommandExt;
    if !rustix::process::geteuid().is_root() {
        test_support::say("skipped: whoever_may_not_write_is_told_a_way_out: not root");
        return;
    }
    let store = TempStore::new();
    let path = add_file(&store, "file", "contents");
    std::fs::set_permissions(
        store.root(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    // A copy that others may run, wherever the program lies.
    let directory = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    let program = directory.path().join("nix-serve");
    std::fs::copy(crate::program::NIX_SERVE, &program).unwrap();
    let as_nobody = |words: &[&str]| {
        let mut command = std::process::Command::new(&program);
        command.args(words).args(["--store", &store.address()]);
        command.env_clear().uid(65534).gid(65534).current_dir("/");
        run(command)
    };
    let refused = as_nobody(&["add", "/etc/hostname"]);
    let error = refused.refusal();
    assert!(
        error.starts_with("error: user 65534 may not open the store in"),
        "{error}"
    );
    assert!(error.contains("--store DIR"), "{error}");
    assert_eq!(
        as_nobody(&["path-info", &path]).line(),
        path,
        "reading is allowed"
    );
}

#[test]
fn a_store_behind_a_symlink_is_refused_unless_allowed() {
    let store = TempStore::new();
    run(on(&store, ["init"])).lines();
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(store.root(), &link).unwrap();
    let link = link.to_str().unwrap();
    let ran = run(nix_serve(["verify", "--store", link]));
    assert!(ran.refusal().contains("is a symlink"), "{}", ran.stderr);
    let mut command = nix_serve(["verify", "--store", link]);
    command.env("NIX_IGNORE_SYMLINK_STORE", "1");
    run(command).lines();
    run(nix_serve([
        "verify",
        "--store",
        link,
        "--option",
        "allow-symlinked-store",
        "true",
    ]))
    .lines();
}
