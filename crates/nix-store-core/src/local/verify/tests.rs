mod cut;
mod repair;

use std::error::Error as _;
use std::fs;

use nix_base::{NarHash, NarHashSink, StoreDir, StorePathSet, UnkeyedValidPathInfo, ValidPathInfo};
use tempfile::TempDir;

use super::*;
use crate::db::Registration;
use crate::layout::StoreLayout;
use crate::local::StoreConfig;

struct Fresh {
    store: LocalStore,
    _root: TempDir,
}

impl Fresh {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let layout = StoreLayout::chroot(StoreDir::default(), root.path());
        let store = LocalStore::init(StoreConfig::new(layout)).unwrap();
        Self { store, _root: root }
    }

    /// Makes a file `name` valid.
    fn add(&self, name: &str, references: &[&StorePath]) -> StorePath {
        let path = self.path(name);
        fs::write(self.store.layout().real_path(&path), name).unwrap();
        let mut sink = NarHashSink::new();
        self.store.dump_object(&path, &mut sink).unwrap();
        let (hash, size) = sink.finish();
        let mut info = UnkeyedValidPathInfo::new(hash, size);
        info.references = references
            .iter()
            .copied()
            .cloned()
            .collect::<StorePathSet>();
        let path_info = ValidPathInfo {
            path: path.clone(),
            info,
        };
        self.store
            .db()
            .register(&[Registration::from(path_info)])
            .unwrap();
        path
    }

    fn path(&self, name: &str) -> StorePath {
        let digit = name.chars().next().unwrap();
        let digits: String = std::iter::repeat_n(digit, 32).collect();
        let full = format!("/nix/store/{digits}-{name}");
        self.store.store_dir().parse(full).unwrap()
    }

    fn problems(&self, check: CheckContents) -> Vec<String> {
        let report = self.store.verify(check, &mut |_| {}).unwrap();
        report.problems.iter().map(ToString::to_string).collect()
    }

    fn change(&self, sql: &str) {
        let file = self.store.layout().db_file();
        let conn = rusqlite::Connection::open(file).unwrap();
        conn.execute_batch(&format!("pragma foreign_keys = 0; {sql}"))
            .unwrap();
    }
}

#[test]
fn intact_store_is_clean() {
    let fresh = Fresh::new();
    let a = fresh.add("a", &[]);
    let b = fresh.add("b", &[&a]);
    let mut seen = Vec::new();
    let report = fresh
        .store
        .verify(CheckContents::Yes, &mut |path| seen.push(path.clone()))
        .unwrap();
    assert!(report.is_clean());
    assert_eq!((report.paths, report.bytes), (2, 240));
    assert_eq!(seen, [a, b]);
}

#[test]
fn missing_objects_are_reported_with_what_needs_them() {
    let fresh = Fresh::new();
    let a = fresh.add("a", &[]);
    let b = fresh.add("b", &[&a]);
    fs::remove_file(fresh.store.layout().real_path(&a)).unwrap();
    let of_a = "path '/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-a' disappeared";
    let still_needed = format!("{of_a}, but it still has valid referrers!");
    assert_eq!(fresh.problems(CheckContents::No), [still_needed]);
    fs::remove_file(fresh.store.layout().real_path(&b)).unwrap();
    let problems = fresh.problems(CheckContents::Yes);
    assert_eq!(problems.len(), 2);
    assert_eq!(problems[0], of_a);
}

#[test]
fn changed_contents_are_found_only_when_looked_for() {
    let fresh = Fresh::new();
    let a = fresh.add("a", &[]);
    fs::write(fresh.store.layout().real_path(&a), "x").unwrap();
    assert_eq!(fresh.problems(CheckContents::No), [""; 0]);
    insta::assert_snapshot!(
        fresh.problems(CheckContents::Yes).concat(),
        @"path '/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-a' was modified! expected hash 'sha256:0x1yvg5vsgvxp7gnnh61yhk62xs9l4zpsy0v3gjdgq1zy9mjpbbz', got 'sha256:0rsv7kag23nvdpy4500mv2m0b4sm4c8fkgqrfsrmv1kgk77bi81c'"
    );
}

#[test]
fn wrong_size_and_unknown_hash_are_reported() {
    let fresh = Fresh::new();
    fresh.add("a", &[]);
    fresh.change("update ValidPaths set narSize = 7");
    insta::assert_snapshot!(
        fresh.problems(CheckContents::Yes).concat(),
        @"path '/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-a' has a NAR of 120 bytes, while the database says 7"
    );
    let zero = NarHash::from_bytes([0; 32]).to_prefixed_base16();
    fresh.change(&format!("update ValidPaths set hash = '{zero}'"));
    insta::assert_snapshot!(
        fresh.problems(CheckContents::Yes).concat(),
        @"path '/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-a' has no hash in the database"
    );
}

#[test]
fn objects_that_no_archive_can_hold_are_unreadable() {
    let fresh = Fresh::new();
    let a = fresh.add("a", &[]);
    let file = fresh.store.layout().real_path(&a);
    fs::remove_file(&file).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(&file).unwrap();
    let report = fresh.store.verify(CheckContents::Yes, &mut |_| {}).unwrap();
    let [problem @ VerifyProblem::Unreadable { .. }] = &report.problems[..] else {
        panic!("{:?}", report.problems);
    };
    assert!(problem.source().is_some());
}

#[test]
fn dangling_rows_are_reported() {
    let fresh = Fresh::new();
    let a = fresh.add("a", &[]);
    let b = fresh.add("b", &[&a]);
    fresh.change("delete from ValidPaths where id = 1");
    let error = fresh.store.db().query_path_info(&b).unwrap_err();
    assert!(
        matches!(error, Error::DanglingReference { id: 1, .. }),
        "{error:?}"
    );
    insta::assert_snapshot!(
        fresh.problems(CheckContents::No).concat(),
        @"table 'Refs' has a row 1 about a path that is not valid"
    );
}

#[test]
fn a_row_that_makes_no_sense_is_one_problem_among_others() {
    let fresh = Fresh::new();
    let (a, b) = (fresh.add("a", &[]), fresh.add("b", &[]));
    fresh.change("update ValidPaths set hash = 'sha256:none' where path like '%-a'");
    fs::write(fresh.store.layout().real_path(&b), "x").unwrap();
    let report = fresh.store.verify(CheckContents::Yes, &mut |_| {}).unwrap();
    let kinds: Vec<_> = report.problems.iter().map(VerifyProblem::kind).collect();
    assert_eq!(kinds, ["bad-row", "modified"]);
    assert_eq!(report.problems[0].path().unwrap().path(), &a);
}
