//! Servers under a policy: what is in force is said by flags and files of the operator, and
//! by nothing else.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nix_store_core::TrustDb;
use nix_store_core::trust::Usage;
use test_support::{PathToAdd, ServeSession, TempStore};

use crate::program::{nix_serve, on, run};

/// A store with a policy file.
fn store_with(policy: &str) -> TempStore {
    let store = TempStore::new();
    run(on(&store, ["init"])).lines();
    let dir = store.state_dir().join("nix-serve");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("policy.toml"), policy).unwrap();
    store
}

fn serving(store: &TempStore, words: &str) -> Command {
    let address = store.address();
    nix_serve(words.split(' ').chain(["--store", &address]))
}

/// What a server says that ends before it greets.
fn not_started(store: &TempStore, words: &str) -> String {
    let mut session = ServeSession::spawn(serving(store, words));
    assert!(session.at_end(), "it greeted:\n{}", session.transcript());
    let ended = session.finish();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    ended.stderr
}

/// Variables that would each lead somewhere else, if they were looked at.
const HOSTILE: [(&str, &str); 22] = [
    ("NIX_STORE_DIR", "/evil/store"),
    ("NIX_STORE", "/evil/store"),
    ("NIX_STATE_DIR", "/evil/state"),
    ("NIX_LOG_DIR", "/evil/log"),
    ("NIX_CONF_DIR", "/evil/conf"),
    ("NIX_REMOTE", "ssh://evil"),
    ("NIX_CONFIG", "this is no configuration"),
    ("NIX_USER_CONF_FILES", "/evil/nix.conf"),
    ("NIX_SSHOPTS", "-oProxyCommand=evil"),
    ("NIX_IGNORE_SYMLINK_STORE", "1"),
    ("NIX_SSL_CERT_FILE", "/evil/certificates"),
    ("SSL_CERT_FILE", "/evil/certificates"),
    ("CREDENTIALS_DIRECTORY", "/evil/secrets"),
    ("XDG_CONFIG_HOME", "/evil/config"),
    ("XDG_CONFIG_DIRS", "/evil/config"),
    ("XDG_DATA_HOME", "/evil/data"),
    ("HOME", "/evil/home"),
    ("TMPDIR", "/evil/tmp"),
    ("SQLITE_TMPDIR", "/evil/tmp"),
    ("PATH", "/evil/bin"),
    ("LC_ALL", "evil"),
    ("SSH_ORIGINAL_COMMAND", "nix-serve serve --write"),
];

#[test]
fn a_hostile_environment_changes_nothing() {
    let store = TempStore::new();
    run(on(&store, ["init"])).lines();
    let mut command = serving(&store, "serve --write --untrusted --as bob");
    command.env_clear().envs(HOSTILE);
    let mut session = ServeSession::open(command, 7);
    let added = PathToAdd::file("0123456789abcdfghijklmnpqrsvwxyz", "evil", b"text");
    assert!(
        session
            .query_valid_paths(false, false, [&added.path])
            .is_empty()
    );
    let _ = session.try_send(added.request().as_bytes());
    session.close_input();
    let ended = session.finish();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert!(run(on(&store, ["dump-db"])).lines().is_empty());
    assert!(store.state_dir().join("nix-serve/audit").is_dir());
}

#[test]
fn reading_servers_with_a_name_are_sealed_too() {
    let store = store_with("[key.bob]\nallow = ['query']\n");
    let mut command = serving(&store, "serve --as bob");
    command.env_clear().envs(HOSTILE);
    let mut session = ServeSession::open(command, 7);
    let path = PathToAdd::file("0123456789abcdfghijklmnpqrsvwxyz", "x", b"");
    assert!(
        session
            .query_valid_paths(false, false, [&path.path])
            .is_empty()
    );
    session.finish_ok();
}

#[test]
fn contradictions_end_a_server_before_it_greets() {
    let store = TempStore::new();
    for (words, reason) in [
        ("serve --untrusted", "needs '--write'"),
        ("serve --allow import-ca", "it needs '--write'"),
        (
            "serve --write --untrusted --allow build-any",
            "could do harm",
        ),
        ("serve --write --allow query,fly", "'fly' is no capability"),
        ("serve --write --untrusted --as ../x", "no name for a key"),
        ("serve --write --as bob", "needs '--untrusted'"),
        (
            "serve --write --untrusted --expose /etc",
            "not in the Nix store",
        ),
    ] {
        let said = not_started(&store, words);
        assert!(said.contains(reason), "{words}: {said}");
    }
}

#[test]
fn a_policy_that_is_not_understood_ends_a_server_before_it_greets() {
    let store = store_with("[default]\nslots = 1\n\n[key.alice]\nallow = ['query', 'fly']\n");
    // The entry is another key's.
    let said = not_started(&store, "serve --write --untrusted --as bob");
    assert!(
        said.contains("policy.toml:5: 'fly' is no capability"),
        "{said}"
    );
    let file = store.state_dir().join("nix-serve/policy.toml");
    std::fs::write(&file, "[key.alice]\n").unwrap();
    let said = not_started(&store, "serve --write --untrusted --as bob");
    assert!(
        said.contains("neither [key.\"bob\"] nor [default]"),
        "{said}"
    );
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).unwrap();
    let said = not_started(&store, "serve --write --untrusted --as alice");
    assert!(said.contains("mode 0666"), "{said}");
    // Flags of upstream alone have nothing to do with it.
    ServeSession::open(serving(&store, "serve --write"), 7).finish_ok();
}

#[test]
fn what_clients_do_and_are_refused_is_written_down() {
    let store = store_with("[key.bob]\nallow = ['query']\n");
    let words = "serve --write --untrusted --as bob";
    let mut session = ServeSession::open(serving(&store, words), 7);
    let path = PathToAdd::file("0123456789abcdfghijklmnpqrsvwxyz", "x", b"text");
    session.query_valid_paths(false, false, [&path.path]);
    let _ = session.try_send(path.request().as_bytes());
    session.close_input();
    let ended = session.finish();
    assert!(ended.stderr.contains("import-ca"), "{}", ended.stderr);
    let refused = run(on(&store, ["audit", "--key", "bob", "--refused"]));
    let refused = refused.lines();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(
        refused[0].contains("  bob  AddToStoreNar  refused  "),
        "{refused:?}"
    );
    assert!(refused[0].contains("(SEC-20)"), "{refused:?}");
    let all = run(on(&store, ["audit", "--json", "--since", "1h"]));
    let all = all.lines();
    assert!(all.len() > 1 && all.iter().all(|line| line.starts_with('{')));
    assert!(
        run(on(&store, ["audit", "--key", "alice"]))
            .lines()
            .is_empty()
    );
    let file = store.state_dir().join("nix-serve/audit/current.jsonl");
    let mode = std::fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn what_keys_have_used_up_is_told_and_build_time_begins_anew() {
    let store = store_with("[key.bob]\nbuild-time = '1h'\n");
    let used = Usage {
        stored_bytes: 7,
        build_seconds: 90,
    };
    let trust = TrustDb::open(&store.state_dir()).unwrap();
    for account in ["key:bob", "key:eve"] {
        trust.add_usage(account, used).unwrap();
    }
    let all = run(on(&store, ["quota"]));
    let eve = "eve: 7 bytes stored, 90 seconds of builds";
    let bob = "bob: 7 bytes stored, 90 of 3600 seconds of builds";
    assert_eq!(all.lines(), [bob, eve]);
    let reset = run(on(&store, ["quota", "--reset-build-time", "bob"]));
    assert_eq!(
        reset.lines(),
        ["bob: 7 bytes stored, 0 of 3600 seconds of builds"]
    );
    assert_eq!(run(on(&store, ["quota", "eve"])).lines(), [eve]);
    let unknown = run(on(&store, ["quota", "mallory"]));
    assert!(
        unknown
            .refusal()
            .contains("nothing is booked for a key 'mallory'")
    );
}

#[test]
fn asking_for_quotas_begins_no_books() {
    let store = TempStore::new();
    drop(on(&store, ["add", "/dev/null"]).output());
    assert_eq!(run(on(&store, ["quota"])).lines(), [""; 0]);
    let unknown = run(on(&store, ["quota", "eve"]));
    assert!(unknown.refusal().contains("nothing is booked"));
    let state = store.state_dir();
    assert!(
        state.join("db").is_dir()
            && state
                .join("nix-serve/trust.sqlite")
                .symlink_metadata()
                .is_err()
    );
}

#[test]
fn plain_servers_keep_no_audit_log() {
    let store = TempStore::new();
    let path = PathToAdd::file("0123456789abcdfghijklmnpqrsvwxyz", "x", b"text");
    let mut session = ServeSession::open(serving(&store, "serve --write"), 7);
    session.add(&path);
    session.finish_ok();
    assert!(!Path::is_dir(&store.state_dir().join("nix-serve/audit")));
}

/// A key made for these tests alone; its other half was thrown away.
const KEY: &str = "ssh-ed25519 \
    AAAAC3NzaC1lZDI1NTE5AAAAIPZnQmvm5HOZg5EdtoCcBsMgut2hVF2/UnpmWd0uJ47p alice@lap";

#[test]
fn an_authorized_line_starts_the_server_it_describes() {
    let store = TempStore::new();
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key.pub");
    std::fs::write(&key, format!("{KEY}\n")).unwrap();
    let key = key.to_str().unwrap();
    let file = dir.path().join("ssh/authorized_keys");
    let words = [
        "authorize",
        "--key",
        key,
        "--install",
        file.to_str().unwrap(),
    ];
    run(on(&store, words)).lines();
    let text = std::fs::read_to_string(&file).unwrap();
    let line = text.strip_prefix("restrict,command=\"").unwrap();
    let (command, rest) = line.rsplit_once("\" ").unwrap();
    assert_eq!(rest.trim_end(), KEY);
    assert!(
        command.contains("serve --write --untrusted --as alice@lap"),
        "{command}"
    );
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &command.replace("\\\"", "\"")]);
    shell.env("SSH_ORIGINAL_COMMAND", "nix-store --serve --write");
    ServeSession::open(shell, 7).finish_ok();
}

#[test]
fn a_line_names_the_store_for_a_server_that_knows_nothing_of_this_environment() {
    let store = TempStore::new();
    let key = store.root().join("key.pub");
    std::fs::write(&key, KEY).unwrap();
    let key = key.to_str().unwrap();
    let mut command = nix_serve(["authorize", "--key", key]);
    command.env("NIX_STATE_DIR", store.state_dir());
    assert!(run(command).stderr.contains("name the store with --store"));
    let mut command = nix_serve(["authorize", "--key", key, "--store", "./here"]);
    command.current_dir(store.root());
    let line = run(command);
    let here = store.root().canonicalize().unwrap().join("here");
    let word = format!(" --store {}\" ", here.display());
    assert!(line.line().contains(&word), "{line:?}");
    let relative = ["authorize", "--key", key, "--store", "local?root=./here"];
    assert!(run(nix_serve(relative)).stderr.contains("absolute paths"));
}

#[test]
fn authorizing_says_what_is_granted_and_prints_one_line() {
    let store = TempStore::new();
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key.pub");
    std::fs::write(&key, KEY).unwrap();
    let mut command = on(
        &store,
        ["authorize", "--allow", "query,import-signed", "--as", "ci"],
    );
    command.arg("--key").arg(&key);
    let output = command.output().unwrap();
    assert!(output.status.success());
    let (line, said) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert_eq!(line.lines().count(), 1);
    assert!(
        line.contains(" --untrusted --as ci --allow 'query,import-signed' "),
        "{line}"
    );
    assert!(
        said.contains("import-signed: add paths that are signed by a trusted key"),
        "{said}"
    );
    assert!(!said.contains("build-verified"), "{said}");
}
