//! Commands on one store: add, dump, restore, init, verify, load-db, export, import.

use std::os::unix::fs::PermissionsExt;

use test_support::{Peer, TempStore, nar};

use crate::program::{Faces, add, add_file, nix_serve, on, run, run_raw, run_with_input};

/// A small tree with one of each kind.
fn tree() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join("tree").join(name);
    std::fs::create_dir_all(at("sub/empty")).unwrap();
    std::fs::write(at("file"), "contents").unwrap();
    std::fs::write(at("sub/run"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(at("sub/run"), PermissionsExt::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("file", at("link")).unwrap();
    directory
}

#[test]
fn a_tree_survives_dump_and_restore() {
    let directory = tree();
    let source = directory.path().join("tree");
    let dumped = run_raw(&mut nix_serve(["dump".as_ref(), source.as_os_str()]), b"");
    assert!(dumped.status.success(), "{:?}", dumped.stderr);
    assert_eq!(dumped.stdout, nar::of_path(&source));
    let copy = directory.path().join("copy");
    let restored = run_raw(
        &mut nix_serve(["restore".as_ref(), copy.as_os_str()]),
        &dumped.stdout,
    );
    assert!(restored.status.success(), "{:?}", restored.stderr);
    assert_eq!(nar::of_path(&copy), dumped.stdout);
}

#[test]
fn restoring_over_something_or_from_a_broken_archive_is_refused() {
    let directory = tree();
    let source = directory.path().join("tree");
    let archive = nar::of_path(&source);
    let words = ["restore", source.to_str().unwrap()];
    let ran = run_with_input(nix_serve(words), &archive);
    let start = format!("error: cannot restore '{}': ", source.display());
    assert!(ran.refusal().starts_with(&start), "{}", ran.stderr);

    let target = directory.path().join("target");
    let words = ["restore", target.to_str().unwrap()];
    let ran = run_with_input(nix_serve(words), &archive[..archive.len() / 2]);
    assert!(ran.refusal().contains("cannot restore"), "{}", ran.stderr);
    let words = ["restore", "/nonexistent/dir/x"];
    let ran = run_with_input(nix_serve(words), &archive);
    assert!(
        ran.refusal().contains("'/nonexistent/dir'"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_missing_file_cannot_be_dumped() {
    let ran = run(nix_serve(["dump", "/nonexistent/file"]));
    assert!(
        ran.refusal().contains("'/nonexistent/file'"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_closed_output_ends_a_dump_without_a_word() {
    let directory = tree();
    let big = directory.path().join("tree/big");
    std::fs::write(&big, vec![b'x'; 4 << 20]).unwrap();
    let mut child = nix_serve(["dump", directory.path().to_str().unwrap()])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn adding_gives_the_paths_of_real_nix() {
    let directory = tree();
    let source = directory.path().join("tree");
    let store = TempStore::new();
    let path = add(&store, &source);
    assert_eq!(nar::of_path(&store.on_disk(&path)), nar::of_path(&source));
    for peer in Peer::all() {
        let theirs = TempStore::new();
        let mut command = peer.command("nix-store");
        command
            .args(["--store", &theirs.address(), "--add"])
            .arg(&source);
        let added = test_support::run_ok(command);
        assert_eq!(added, [path.as_str()]);
        store.verify_with(peer);
    }
}

#[test]
fn names_of_added_files_can_be_chosen_and_must_be_good() {
    let directory = tree();
    let file = directory.path().join("tree/file");
    let file = file.to_str().unwrap();
    let store = TempStore::new();
    let ran = run(on(&store, ["add", "--name", "other", file]));
    assert!(ran.line().ends_with("-other"));
    let ran = run(on(&store, ["add", "--name", "a b", file]));
    assert!(
        ran.refusal().contains("as 'a b': give another name"),
        "{}",
        ran.stderr
    );
    let ran = run(on(&store, ["add", "--name", "x", file, file]));
    assert!(
        ran.refusal().contains("'--name' goes with one file"),
        "{}",
        ran.stderr
    );
    let ran = run(on(&store, ["add", "/nonexistent/file"]));
    assert!(
        ran.refusal()
            .starts_with("error: cannot add '/nonexistent/file': ")
    );
    assert_eq!(
        store.names().len(),
        2,
        "one path and .links: {:?}",
        store.names()
    );
}

#[test]
fn init_makes_a_store_and_may_be_repeated() {
    let store = TempStore::new();
    for _ in 0..2 {
        assert!(run(on(&store, ["init"])).lines().is_empty());
    }
    assert_eq!(
        std::fs::read(store.state_dir().join("db/schema")).unwrap(),
        b"10"
    );
    for peer in Peer::all() {
        store.verify_with(peer);
    }
}

#[test]
fn verify_tells_what_is_missing_and_what_was_changed() {
    let store = TempStore::new();
    let (gone, changed) = (
        add_file(&store, "gone", "1"),
        add_file(&store, "changed", "2"),
    );
    run(on(&store, ["verify", "--check-contents"])).lines();
    std::fs::remove_file(store.on_disk(&gone)).unwrap();
    let file = store.on_disk(&changed);
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::write(&file, "3").unwrap();
    let quick = run(on(&store, ["verify"]));
    assert_eq!(quick.code, Some(1));
    assert!(quick.stderr.contains(&format!("path '{gone}' disappeared")));
    assert!(!quick.stderr.contains(&changed));
    let full = run(on(&store, ["verify", "--check-contents"]));
    assert_eq!(full.code, Some(1));
    assert!(
        full.stderr
            .contains(&format!("path '{changed}' was modified!"))
    );
    assert!(
        full.stderr
            .ends_with("error: not all store errors were fixed\n")
    );
}

#[test]
fn registrations_move_by_dump_db_and_load_db() {
    let (from, to) = (TempStore::new(), TempStore::new());
    let path = add_file(&from, "file", "contents");
    let dump = run(on(&from, ["dump-db"]));
    assert_eq!(dump.lines()[0], path);
    run(on(&to, ["init"])).lines();
    std::fs::copy(from.on_disk(&path), to.on_disk(&path)).unwrap();
    run_with_input(on(&to, ["load-db"]), dump.stdout.as_bytes()).lines();
    run(on(&to, ["verify", "--check-contents"])).lines();
    assert_eq!(run(on(&to, ["dump-db", &path])).stdout, dump.stdout);
}

#[test]
fn a_broken_registration_changes_nothing() {
    let store = TempStore::new();
    run(on(&store, ["init"])).lines();
    let good = "/nix/store/00000000000000000000000000000000-a\n\
        e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n1\n\n0\n";
    let bad = "/nix/store/00000000000000000000000000000001-b\nhash\n";
    let input = [good, bad].concat();
    let ran = run_with_input(on(&store, ["load-db"]), input.as_bytes());
    let start = "error: cannot read the registration in line 7: 'hash' is not a hash";
    assert!(ran.refusal().starts_with(start), "{}", ran.stderr);
    assert!(run(on(&store, ["dump-db"])).lines().is_empty());
}

#[test]
fn export_streams_move_paths() {
    let faces = Faces::new();
    let (from, to) = (TempStore::new(), TempStore::new());
    let path = add_file(&from, "file", "contents");
    let words = ["--export", &path, "--store", &from.address()];
    let stream = run_raw(&mut faces.command("nix-store", words), b"");
    assert!(stream.status.success(), "{:?}", stream.stderr);
    let import = || faces.command("nix-store", ["--import", "--store", &to.address()]);
    let cut = run_with_input(import(), &stream.stdout[..stream.stdout.len() - 8]);
    assert_eq!(cut.code, Some(1), "{cut:?}");
    let ran = run_with_input(import(), &stream.stdout);
    assert_eq!(ran.line(), path);
    run(on(&to, ["verify", "--check-contents"])).lines();
}
