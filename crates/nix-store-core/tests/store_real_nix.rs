//! Stores that real Nix uses as well, for each release that is here; and many processes
//! that make one store.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test panics when something is amiss, and its child process takes its task from the environment"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix_base::{
    NarHashSink, OutputName, StoreDir, StorePath, StorePathSet, UnkeyedValidPathInfo, ValidPathInfo,
};
use nix_store_core::{
    Access, CheckContents, Error, IncludeOutputs, LocalStore, Registration, Store, StoreConfig,
    StoreLayout,
};
use test_support::{Peer, TempStore, run_ok, say};

fn config(root: &Path) -> StoreConfig {
    StoreConfig::new(StoreLayout::chroot(StoreDir::default(), root))
}

fn each_peer(test: impl Fn(&'static Peer)) {
    for peer in Peer::all() {
        say(&format!("with Nix {}", peer.version()));
        test(peer);
    }
}

fn command(peer: &Peer, program: &str, store: &TempStore, args: &[&str]) -> Command {
    let mut command = peer.command(program);
    command.args(["--store", &store.address()]).args(args);
    command
}

fn nix_store(peer: &Peer, store: &TempStore, args: &[&str]) -> Vec<String> {
    run_ok(command(peer, "nix-store", store, args))
}

fn nix_store_with_input(peer: &Peer, store: &TempStore, args: &[&str], input: &str) {
    let mut child = command(peer, "nix-store", store, args)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
}

/// Opens without waiting long, so that a lock left behind shows.
fn open(store: &TempStore) -> LocalStore {
    LocalStore::open(config(store.root())).unwrap()
}

fn verify(store: &TempStore) {
    let report = open(store).verify(CheckContents::Yes, &mut |_| {}).unwrap();
    assert!(report.is_clean(), "{:?}", report.problems);
    assert!(report.paths > 0);
}

/// Makes a file valid, with the metadata that a store object must have.
fn add_file(store: &LocalStore, number: usize, references: &StorePathSet) -> StorePath {
    let path = numbered(number, &format!("file-{number}"));
    let file = store.layout().real_path(&path);
    fs::write(&file, format!("content {number}")).unwrap();
    let handle = fs::File::options().append(true).open(&file).unwrap();
    handle
        .set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1))
        .unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
    let mut sink = NarHashSink::new();
    store.dump_object(&path, &mut sink).unwrap();
    let (hash, size) = sink.finish();
    let mut info = UnkeyedValidPathInfo::new(hash, size);
    info.references = references.clone();
    if number.is_multiple_of(3) {
        info.deriver = Some(numbered(number + 1000, "some.drv"));
        info.references.insert(path.clone());
    }
    let registration = ValidPathInfo {
        path: path.clone(),
        info,
    };
    store.db().register(&[registration.into()]).unwrap();
    path
}

fn numbered(number: usize, name: &str) -> StorePath {
    let text = format!("/nix/store/{number:032}-{name}");
    StoreDir::default().parse(text).unwrap()
}

/// Compares every answer of real Nix about every path with ours.
fn assert_same_answers(peer: &Peer, store: &TempStore) {
    let ours = open(store);
    let dir = ours.store_dir().clone();
    let print = |paths: StorePathSet| -> BTreeSet<String> {
        paths.iter().map(|path| dir.print(path)).collect()
    };
    let all = ours.query_all_valid().unwrap();
    assert!(!all.is_empty());
    let ask = |option: &str, path: &str| nix_store(peer, store, &["-q", option, path]);
    let ask_set = |option, path: &str| ask(option, path).into_iter().collect::<BTreeSet<_>>();
    for path in &all {
        let full = dir.print(path);
        let info = ours.query_path_info(path).unwrap().unwrap();
        let references = ours.query_references(path).unwrap();
        assert_eq!(info.references, references);
        assert_eq!(ask_set("--references", &full), print(references));
        let referrers = ours.query_referrers(path).unwrap();
        assert_eq!(ask_set("--referrers", &full), print(referrers));
        let roots = StorePathSet::from([path.clone()]);
        let closure = ours.closure(&roots, IncludeOutputs::No).unwrap();
        assert_eq!(ask_set("-R", &full), print(closure));
        assert_eq!(ask("--hash", &full), [info.nar_hash.to_prefixed_nix32()]);
        assert_eq!(ask("--size", &full), [info.nar_size.to_string()]);
        let deriver = info.deriver.as_ref().map(|path| dir.print(path));
        let deriver = deriver.unwrap_or_else(|| "unknown-deriver".to_owned());
        assert_eq!(ask("--deriver", &full), [deriver]);
        if path.is_derivation() {
            let outputs = ours.query_derivation_outputs(path).unwrap();
            let outputs = outputs.into_iter().map(|(_, path)| path).collect();
            assert_eq!(ask_set("--outputs", &full), print(outputs));
        }
    }
}

#[test]
fn every_release_uses_a_store_of_ours() {
    each_peer(|peer| {
        let store = TempStore::new();
        let ours = LocalStore::init(config(store.root())).unwrap();
        let mut kept = StorePathSet::new();
        for number in 1..6 {
            kept = StorePathSet::from([add_file(&ours, number, &kept)]);
        }
        drop(ours);
        store.verify_with(peer);
        assert_same_answers(peer, &store);
        use_with(peer, &store);
    });
}

#[test]
fn all_releases_use_one_store_of_ours_in_turn() {
    let store = TempStore::new();
    drop(LocalStore::init(config(store.root())).unwrap());
    for _ in 0..2 {
        each_peer(|peer| use_with(peer, &store));
    }
}

/// Adds, verifies and collects with real Nix, looking at the result each time.
fn use_with(peer: &Peer, store: &TempStore) {
    let file = store.root().join("to-add");
    fs::write(&file, peer.version()).unwrap();
    let added = nix_store(peer, store, &["--add", file.to_str().unwrap()]);
    let path = StoreDir::default().parse(&added[0]).unwrap();
    assert!(open(store).is_valid(&path).unwrap());
    verify(store);
    store.verify_with(peer);
    nix_store(peer, store, &["--gc"]);
    assert!(open(store).query_all_valid().unwrap().is_empty());
    store.verify_with(peer);
}

#[test]
fn stores_of_every_release_give_us_the_same_answers() {
    each_peer(|peer| {
        let store = TempStore::new();
        nix_store(peer, &store, &["--init"]);
        nix_store_with_input(peer, &store, &["--load-db"], &registrations());
        let expression = "derivation { name = \"x\"; system = \"none\"; \
                          builder = \"/none\"; outputs = [ \"out\" \"dev\" ]; }";
        run_ok(command(
            peer,
            "nix-instantiate",
            &store,
            &["--expr", expression],
        ));
        assert_same_answers(peer, &store);
        // And the other way round, what we add to such a store.
        let ours = open(&store);
        let mut drv: Registration = ours
            .query_path_info(&numbered(1, "loaded"))
            .unwrap()
            .unwrap()
            .into();
        drv.info.path = numbered(500, "y.drv");
        drv.info.info.references.insert(numbered(7, "loaded"));
        let output = (OutputName::new("out").unwrap(), numbered(7, "loaded"));
        drv.outputs = vec![output];
        ours.db().register(&[drv]).unwrap();
        let derivers = ours.query_valid_derivers(&numbered(7, "loaded")).unwrap();
        assert_eq!(derivers, StorePathSet::from([numbered(500, "y.drv")]));
        drop(ours);
        let drv = StoreDir::default().print(&numbered(500, "y.drv"));
        let references = nix_store(peer, &store, &["-q", "--references", &drv]);
        assert!(references.contains(&StoreDir::default().print(&numbered(7, "loaded"))));
    });
}

/// What `nix-store --load-db` reads: path, hash, size, deriver, references.
fn registrations() -> String {
    let print = |number| StoreDir::default().print(&numbered(number, "loaded"));
    let mut text = String::new();
    for number in 1..9 {
        let mut references = vec![print(number)];
        references.extend((1..number).filter(|other| number % other == 0).map(print));
        let deriver = match number % 2 {
            0 => StoreDir::default().print(&numbered(number + 100, "loaded.drv")),
            _ => String::new(),
        };
        let count = references.len();
        let references = references.join("\n");
        text.push_str(&format!(
            "{}\n{number:064x}\n{}\n{deriver}\n{count}\n{references}\n",
            print(number),
            number * 8
        ));
    }
    text
}

#[test]
fn schema_is_the_one_that_real_nix_makes() {
    each_peer(|peer| {
        let (theirs, ours) = (TempStore::new(), TempStore::new());
        nix_store(peer, &theirs, &["--init"]);
        drop(LocalStore::init(config(ours.root())).unwrap());
        assert_eq!(columns_and_links(&ours), columns_and_links(&theirs));
    });
}

/// Everything about the tables that has a meaning, as SQLite sees it.
fn columns_and_links(store: &TempStore) -> BTreeSet<String> {
    let conn = rusqlite::Connection::open(store.database()).unwrap();
    let mut found = BTreeSet::new();
    let mut ask = |sql: &str| {
        let mut statement = conn.prepare(sql).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let column = |i| format!("{:?}", row.get::<_, rusqlite::types::Value>(i).unwrap());
            let columns: Vec<String> = (0..columns).map(column).collect();
            found.insert(columns.join(" "));
        }
    };
    for table in ["ValidPaths", "Refs", "DerivationOutputs"] {
        for pragma in ["table_info", "foreign_key_list", "index_list"] {
            ask(&format!(
                "select '{table}', '{pragma}', * from pragma_{pragma}('{table}')"
            ));
        }
    }
    ask("select name, sql from sqlite_schema where type in ('index', 'trigger')");
    ask("select name from sqlite_schema where sql like '%autoincrement%'");
    ask("pragma journal_mode");
    let of_other_releases = ["SchemaMigrations"];
    found.retain(|line| !of_other_releases.iter().any(|name| line.contains(name)));
    found
}

#[test]
fn store_on_a_read_only_file_system_is_readable() {
    let can_mount = Command::new("unshare").args(["--mount", "true"]).output();
    if !can_mount.is_ok_and(|output| output.status.success()) {
        say("MISSING: the right to mount, without which no read-only file system can be had");
        return;
    }
    let store = TempStore::new();
    let ours = LocalStore::init(config(store.root())).unwrap();
    add_file(&ours, 1, &StorePathSet::new());
    let log = format!("{}-wal", store.database().display());
    assert!(fs::metadata(&log).unwrap().len() > 0);
    read_on_a_read_only_file_system(&store, "beside a writer");
    let log_with_changes = fs::read(&log).unwrap();
    drop(ours);
    for suffix in ["-wal", "-shm"] {
        let file = format!("{}{suffix}", store.database().display());
        fs::remove_file(file).unwrap();
    }
    read_on_a_read_only_file_system(&store, "alone");
    fs::write(&log, log_with_changes).unwrap();
    read_on_a_read_only_file_system(&store, "with changes in the log");
}

fn read_on_a_read_only_file_system(store: &TempStore, case: &str) {
    let script = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && \
                  exec \"$2\" --exact child_reads_a_read_only_file_system";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .args([store.root(), &std::env::current_exe().unwrap()])
        .env(CHILD_ROOT, store.root())
        .env(CHILD_CASE, case)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{case}: {text}");
}

#[test]
fn child_reads_a_read_only_file_system() {
    let Ok(case) = std::env::var(CHILD_CASE) else {
        // Only a child of the test above has something to do here.
        return;
    };
    let root = std::env::var_os(CHILD_ROOT).unwrap();
    let open = |access| {
        LocalStore::open(StoreConfig {
            access,
            ..config(Path::new(&root))
        })
    };
    let error = open(Access::ReadWrite).unwrap_err();
    assert!(error.is_read_only(), "{error:?}");
    for access in [Access::ReadOnly, Access::Auto] {
        if case == "with changes in the log" {
            let error = open(access).unwrap_err();
            assert!(matches!(error, Error::UnappliedLog { .. }), "{error:?}");
            continue;
        }
        let store = open(access).unwrap();
        assert!(store.is_read_only());
        let path = numbered(1, "file-1");
        assert!(store.is_valid(&path).unwrap());
        let error = store.db().invalidate(&path).unwrap_err();
        assert!(error.is_read_only(), "{error:?}");
        let report = store.verify(CheckContents::Yes, &mut |_| {}).unwrap();
        assert!(report.is_clean(), "{:?}", report.problems);
    }
}

#[test]
fn program_with_the_rights_of_another_user_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = dir.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    if std::os::unix::fs::chown(&program, Some(NOBODY), None).is_err() {
        say("MISSING: the right to make a set-user-ID program");
        return;
    }
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    run_child(Command::new(program).env(CHILD_CASE, "set-user-ID"));
}

#[test]
fn users_without_rights_can_read_a_store() {
    let store = TempStore::new();
    let ours = LocalStore::init(config(store.root())).unwrap();
    add_file(&ours, 1, &StorePathSet::new());
    fs::set_permissions(store.root(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = store.root().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut ours = Some(ours);
    for case in ["beside a writer", "alone"] {
        if case == "alone" {
            drop(ours.take());
            for suffix in ["-wal", "-shm"] {
                let _ = fs::remove_file(format!("{}{suffix}", store.database().display()));
            }
        }
        let mut command = Command::new(&program);
        command.uid(NOBODY).gid(NOBODY);
        command.env(CHILD_ROOT, store.root()).env(CHILD_CASE, case);
        run_child(&mut command);
    }
}

/// Runs [`child_of_another_user`] in another process.
fn run_child(command: &mut Command) {
    let output = match command.args(["--exact", "child_of_another_user"]).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            say("MISSING: the right to become another user");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
}

#[test]
fn child_of_another_user() {
    let Ok(case) = std::env::var(CHILD_CASE) else {
        // Only a child of the tests above has something to do here.
        return;
    };
    if case == "set-user-ID" {
        let dir = tempfile::tempdir().unwrap();
        let error = LocalStore::init(config(dir.path())).unwrap_err();
        assert!(matches!(error, Error::SetUserId { .. }), "{error:?}");
        return;
    }
    let root = std::env::var_os(CHILD_ROOT).unwrap();
    let store = LocalStore::open(StoreConfig {
        access: Access::Auto,
        ..config(Path::new(&root))
    })
    .unwrap();
    assert!(store.is_read_only());
    assert_eq!(store.query_all_valid().unwrap().len(), 1);
    let error = LocalStore::open(config(Path::new(&root))).unwrap_err();
    assert!(error.is_forbidden() && !error.is_read_only(), "{error:?}");
}

#[test]
fn ten_processes_make_one_store() {
    let store = TempStore::new();
    let children: Vec<Child> = (0..10).map(|i| start_child(&store, i)).collect();
    release_and_wait(children);
    let valid = open(&store).query_all_valid().unwrap();
    assert_eq!(valid.len(), 10);
}

#[test]
fn our_processes_and_real_nix_make_one_store() {
    each_peer(|peer| {
        for _ in 0..3 {
            let store = TempStore::new();
            let children: Vec<Child> = (0..5).map(|i| start_child(&store, i)).collect();
            let real = command(peer, "nix-store", &store, &["--init"])
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            release_and_wait(children);
            let real = real.wait_with_output().unwrap();
            let stderr = String::from_utf8_lossy(&real.stderr);
            assert!(real.status.success(), "{stderr}");
            assert_eq!(open(&store).query_all_valid().unwrap().len(), 5);
        }
    });
}

/// This very program, running [`child_makes_the_store_and_registers`] once it is released.
fn start_child(store: &TempStore, number: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_makes_the_store_and_registers"])
        .env(CHILD_ROOT, store.root())
        .env(CHILD_NUMBER, number.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn release_and_wait(mut children: Vec<Child>) {
    for child in &mut children {
        drop(child.stdin.take());
    }
    for child in children {
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
    }
}

#[test]
fn child_makes_the_store_and_registers() {
    let Some(root) = std::env::var_os(CHILD_ROOT) else {
        // Only a child of the tests above has something to do here.
        return;
    };
    let number = std::env::var(CHILD_NUMBER).unwrap().parse().unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    let store = LocalStore::init(config(Path::new(&root))).unwrap();
    add_file(&store, number, &StorePathSet::new());
}

const CHILD_ROOT: &str = "STORE_TEST_ROOT";
const NOBODY: u32 = 65534;
const CHILD_CASE: &str = "STORE_TEST_CASE";
const CHILD_NUMBER: &str = "STORE_TEST_NUMBER";
