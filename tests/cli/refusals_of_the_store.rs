//! What the store itself refuses: full, read-only, busy, of another release.

use std::os::unix::fs::PermissionsExt;

use test_support::{Message, PathToAdd, ServeSession, SmallDisk, TempStore};

use crate::program::{add_file, nix_serve, on, run};

fn serve(address: &str) -> ServeSession {
    ServeSession::open(nix_serve(["serve", "--write", "--store", address]), 7)
}

fn add_to(disk: &SmallDisk, name: &str) -> String {
    let file = disk.root().join(name);
    std::fs::write(&file, name).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    let words = ["add", file.to_str().unwrap(), "--store", &disk.address()];
    run(nix_serve(words)).line().to_owned()
}

/// How a session ends after `request`, which must fail.
fn refused(mut session: ServeSession, request: &Message) -> String {
    let _ = session.try_send(request.as_bytes());
    assert!(session.at_end(), "{}", session.transcript());
    let ended = session.finish();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    ended.stderr
}

#[test]
fn a_database_of_another_release() {
    let store = TempStore::new();
    run(on(&store, ["init"])).lines();
    let schema = store.state_dir().join("db/schema");
    for (version, advice) in [("11", "newer release"), ("7", "open the store once")] {
        std::fs::write(&schema, version).unwrap();
        let request = Message::query_valid_paths(false, false, Vec::<&str>::new());
        let said = refused(serve(&store.address()), &request);
        let expected =
            format!("current Nix store schema is version {version}, but I only support 10");
        assert!(said.contains(&expected) && said.contains(advice), "{said}");
        let ran = run(on(&store, ["add", "/etc/hostname"]));
        assert!(ran.refusal().contains(&expected), "{}", ran.stderr);
    }
    std::fs::write(&schema, "10\n").unwrap();
    let ran = run(on(&store, ["verify"]));
    assert!(
        ran.refusal().contains("db/schema' is corrupt"),
        "{}",
        ran.stderr
    );
    assert_eq!(std::fs::read(&schema).unwrap(), b"10\n");
    assert_eq!(store.names(), [".links"]);
}

#[test]
fn a_store_that_is_not_there() {
    let store = TempStore::new();
    let ran = run(on(&store, ["verify"]));
    assert!(
        ran.refusal().ends_with("make one with 'nix-serve init'"),
        "{}",
        ran.stderr
    );
    let address = store.address();
    let session = ServeSession::open(nix_serve(["serve", "--store", &address]), 7);
    let said = refused(session, &Message::query_path_infos(["/nix/store/x"]));
    assert!(said.contains("there is no store in"), "{said}");
    assert!(
        store.root().read_dir().unwrap().next().is_none(),
        "nothing was made"
    );
}

#[test]
fn a_busy_database() {
    let store = TempStore::new();
    run(on(&store, ["init"])).lines();
    let connection = rusqlite::Connection::open(store.database()).unwrap();
    connection.execute_batch("begin immediate").unwrap();
    let address = store.address();
    let words = [
        "serve",
        "--write",
        "--store",
        &address,
        "--option",
        "database-busy-timeout",
        "1",
    ];
    let path = PathToAdd::numbered("a", 1, b"contents");
    let said = refused(ServeSession::open(nix_serve(words), 7), &path.request());
    assert!(
        said.contains("db.sqlite' is busy for more than 1 s"),
        "{said}"
    );
    connection.execute_batch("rollback").unwrap();
    assert_eq!(store.names(), [".links"]);
    let mut session = serve(&address);
    session.add(&path);
    session.finish_ok();
}

#[test]
fn a_store_opened_for_reading() {
    let store = TempStore::new();
    run(on(&store, ["init"])).lines();
    let address = format!("{}&read-only=true", store.address());
    let path = PathToAdd::numbered("a", 1, b"contents");
    let said = refused(serve(&address), &path.request());
    assert!(said.contains("read-only"), "{said}");
    let ran = run(nix_serve(["add", "/etc/hostname", "--store", &address]));
    assert!(ran.refusal().contains("is read-only"), "{}", ran.stderr);
    assert_eq!(store.names(), [".links"]);
}

#[test]
fn a_read_only_file_system() {
    let Some(disk) = SmallDisk::mount("a_read_only_file_system", "16m") else {
        return;
    };
    let address = disk.address();
    let file = add_to(&disk, "file");
    disk.remount_read_only();
    let path = PathToAdd::numbered("a", 1, b"contents");
    let said = refused(serve(&address), &path.request());
    assert!(said.to_lowercase().contains("read-only"), "{said}");
    let ran = run(nix_serve(["path-info", "--store", &address, &file]));
    assert_eq!(ran.line(), file, "reading goes on");
}

#[test]
fn a_full_disk() {
    let Some(disk) = SmallDisk::mount("a_full_disk", "4m") else {
        return;
    };
    let address = disk.address();
    let file = add_to(&disk, "file");
    let big = PathToAdd::numbered("a", 1, &vec![b'x'; 8 << 20]);
    let said = refused(serve(&address), &big.request());
    assert!(
        said.contains("No space left") && said.contains(&big.path),
        "{said}"
    );
    let source = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(source.path(), vec![b'x'; 8 << 20]).unwrap();
    let words = ["add", source.path().to_str().unwrap(), "--store", &address];
    let ran = run(nix_serve(words));
    assert!(ran.refusal().contains("No space left"), "{ran:?}");
    assert_eq!(disk.names(), [file.rsplit('/').next().unwrap()]);
    let mut session = serve(&address);
    let small = PathToAdd::numbered("a", 2, b"small");
    session.add(&small);
    session.finish_ok();
    run(nix_serve([
        "verify",
        "--check-contents",
        "--store",
        &address,
    ]))
    .lines();
}

#[test]
fn a_path_added_before_stays() {
    let store = TempStore::new();
    let path = add_file(&store, "file", "contents");
    let mut bad = PathToAdd::numbered("a", 1, b"contents");
    bad.nar_hash = "0".repeat(64);
    let said = refused(serve(&store.address()), &bad.request());
    assert!(said.contains("hash mismatch"), "{said}");
    assert_eq!(run(on(&store, ["path-info", &path])).line(), path);
    run(on(&store, ["verify", "--check-contents"])).lines();
}
