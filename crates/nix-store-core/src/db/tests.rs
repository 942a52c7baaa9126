use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nix_base::{
    ContentAddress, ContentAddressMethod, Hash, HashAlgo, NarHash, OutputName, Signature,
    StorePath, StorePathHash, StorePathName, StorePathSet, UnkeyedValidPathInfo, ValidPathInfo,
    arbitrary,
};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::error::{Error, Result};

mod bulk;
mod dump;

/// A database in a directory of its own.
struct Fresh {
    dir: TempDir,
    db: Db,
}

impl std::ops::Deref for Fresh {
    type Target = Db;

    fn deref(&self) -> &Db {
        &self.db
    }
}

impl Fresh {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&options(&dir, OpenMode::Create)).unwrap();
        db.create_tables().unwrap();
        db.check_tables().unwrap();
        Self { dir, db }
    }

    fn again(&self, mode: OpenMode) -> Result<Db> {
        Db::open(&options(&self.dir, mode))
    }

    fn sql(&self, text: &str) {
        self.conn.execute_batch(text).unwrap();
    }

    fn full(&self, path: &StorePath) -> String {
        self.store_dir.print(path)
    }

    /// One text for each row, columns separated by `|`, NULL empty.
    fn rows(&self, sql: &str) -> Vec<String> {
        let mut statement = self.conn.prepare(sql).unwrap();
        let columns = statement.column_count();
        let row_text = |row: &rusqlite::Row<'_>| {
            let column = |i| match row.get::<_, rusqlite::types::Value>(i)? {
                rusqlite::types::Value::Null => Ok(String::new()),
                rusqlite::types::Value::Integer(number) => Ok(number.to_string()),
                rusqlite::types::Value::Text(text) => Ok(text),
                other => panic!("{other:?}"),
            };
            let columns: rusqlite::Result<Vec<String>> = (0..columns).map(column).collect();
            Ok(columns?.join("|"))
        };
        let rows = statement.query_map([], row_text).unwrap();
        rows.map(Result::unwrap).collect()
    }
}

fn options(dir: &TempDir, mode: OpenMode) -> DbOptions {
    DbOptions {
        file: dir.path().join("db.sqlite"),
        store_dir: StoreDir::default(),
        mode,
        durability: Durability::None,
        journal: JournalMode::Wal,
        busy_timeout: Duration::from_millis(50),
    }
}

fn path(name: &str) -> StorePath {
    let digest = Hash::of(HashAlgo::Sha1, name.as_bytes());
    let digest = digest.as_bytes().try_into().unwrap();
    let hash = StorePathHash::from_digest(digest);
    StorePath::new(hash, StorePathName::new(name).unwrap())
}

fn set(names: &[&str]) -> StorePathSet {
    names.iter().map(|name| path(name)).collect()
}

fn referring(name: &str, references: &[&str]) -> Registration {
    let mut info = UnkeyedValidPathInfo::new(NarHash::of(name.as_bytes()), 120);
    info.references = set(references);
    info.registration_time = 12345;
    let path = path(name);
    ValidPathInfo { path, info }.into()
}

fn plain(name: &str) -> Registration {
    referring(name, &[])
}

fn sigs(texts: &[&str]) -> BTreeSet<Signature> {
    let verbatim = |text: &&str| Signature::verbatim(text).unwrap();
    texts.iter().map(verbatim).collect()
}

#[test]
fn absent_values_are_null() {
    let db = Fresh::new();
    let mut bare = plain("bare");
    bare.info.info.nar_size = 0;
    let mut rich = plain("rich");
    rich.info.info.ultimate = true;
    rich.info.info.deriver = Some(path("rich.drv"));
    rich.info.info.sigs = sigs(&["b:BBBB", "a:AAAA"]);
    db.register(&[bare, rich]).unwrap();
    let row = |id: u32, name: &str, rest: &str| {
        let hash = NarHash::of(name.as_bytes()).to_base16();
        format!("{id}|{}|sha256:{hash}|12345|{rest}", db.full(&path(name)))
    };
    let deriver = db.full(&path("rich.drv"));
    assert_eq!(
        db.rows("select * from ValidPaths order by id"),
        [
            row(1, "bare", "||||"),
            row(2, "rich", &format!("{deriver}|120|1|a:AAAA b:BBBB|")),
        ]
    );
    let types = "select typeof(deriver), typeof(narSize), typeof(ultimate), typeof(sigs), \
                 typeof(ca) from ValidPaths where id = 1";
    assert_eq!(db.rows(types), ["null|null|null|null|null"]);
}

#[test]
fn empty_texts_and_zeros_are_read_as_absent() {
    let db = Fresh::new();
    db.register(&[plain("a")]).unwrap();
    db.sql("update ValidPaths set deriver = '', narSize = null, ultimate = 0, sigs = '', ca = ''");
    let info = db.query_path_info(&path("a")).unwrap().unwrap();
    assert_eq!(
        info.info,
        UnkeyedValidPathInfo {
            registration_time: 12345,
            ..UnkeyedValidPathInfo::new(NarHash::of(b"a"), 0)
        }
    );
}

#[test]
fn hashes_are_read_in_nix32_too() {
    let db = Fresh::new();
    db.register(&[plain("a")]).unwrap();
    let hash = NarHash::of(b"other");
    let text = hash.to_prefixed_nix32();
    db.sql(&format!("update ValidPaths set hash = '{text}'"));
    let info = db.query_path_info(&path("a")).unwrap().unwrap();
    assert_eq!(info.nar_hash, hash);
}

#[test]
fn bad_values_are_named() {
    let db = Fresh::new();
    db.register(&[plain("a")]).unwrap();
    for (column, value) in [
        ("hash", "'sha256:12'"),
        ("hash", "'md5:d41d8cd98f00b204e9800998ecf8427e'"),
        ("narSize", "-1"),
        ("deriver", "'/elsewhere/x'"),
        ("ca", "'fixed:'"),
    ] {
        db.sql("savepoint before");
        db.sql(&format!("update ValidPaths set {column} = {value}"));
        let error = db.query_infos_in_open_transaction(&path("a")).unwrap_err();
        assert!(
            matches!(&error, Error::CorruptRow { column: named, row, .. }
                if *named == column && *row == db.full(&path("a"))),
            "{error:?}"
        );
        db.sql("rollback to before; release before");
    }
}

#[test]
fn registration_time_zero_means_now() {
    let db = Fresh::new();
    let mut registration = plain("a");
    registration.info.info.registration_time = 0;
    db.register(&[registration]).unwrap();
    let info = db.query_path_info(&path("a")).unwrap().unwrap();
    assert!(info.registration_time > 1_600_000_000);
}

#[test]
fn batch_may_be_in_any_order_and_refer_to_itself() {
    let db = Fresh::new();
    db.register(&[
        referring("app", &["app", "lib"]),
        referring("lib", &["libc"]),
        plain("libc"),
    ])
    .unwrap();
    assert_eq!(
        db.query_references(&path("app")).unwrap(),
        set(&["app", "lib"])
    );
    assert_eq!(db.query_referrers(&path("app")).unwrap(), set(&["app"]));
    assert_eq!(db.query_referrers(&path("libc")).unwrap(), set(&["lib"]));
    assert_eq!(
        db.rows("select referrer, reference from Refs order by 1, 2"),
        ["2|1", "3|2", "3|3"]
    );
}

#[test]
fn missing_reference_rolls_everything_back() {
    let db = Fresh::new();
    let error = db
        .register(&[plain("a"), referring("b", &["missing"])])
        .unwrap_err();
    assert!(error.is_not_valid());
    let missing = db.full(&path("missing"));
    assert_eq!(error.to_string(), format!("path '{missing}' is not valid"));
    assert_eq!(db.query_all_valid().unwrap(), set(&[]));
    db.register(&[plain("a")]).unwrap();
}

#[test]
fn cycle_is_refused_and_named() {
    let db = Fresh::new();
    let error = db
        .register(&[
            plain("below"),
            referring("above", &["a"]),
            referring("a", &["b", "below"]),
            referring("b", &["c"]),
            referring("c", &["a"]),
        ])
        .unwrap_err();
    let Error::ReferenceCycle { path, referrer } = error else {
        panic!("{error:?}");
    };
    let circle: BTreeMap<StorePath, StorePath> = [("a", "c"), ("b", "a"), ("c", "b")]
        .map(|(to, from)| (self::path(to), self::path(from)))
        .into();
    assert_eq!(circle.get(path.path()), Some(referrer.path()));
    assert_eq!(db.query_all_valid().unwrap(), set(&[]));
}

#[test]
fn registering_again_updates_but_keeps_deriver_time_and_references() {
    let db = Fresh::new();
    let mut first = referring("a", &["x"]);
    first.info.info.deriver = Some(path("a.drv"));
    first.info.info.sigs = sigs(&["k:1"]);
    first.info.info.ultimate = true;
    let mut second = referring("a", &["y"]);
    second.info.info.nar_hash = NarHash::of(b"new");
    second.info.info.nar_size = 7;
    second.info.info.registration_time = 99;
    second.info.info.sigs = sigs(&["k:2"]);
    db.register(&[first, plain("x"), plain("y")]).unwrap();
    db.register(&[second]).unwrap();
    let info = db.query_path_info(&path("a")).unwrap().unwrap();
    assert_eq!(
        info.info,
        UnkeyedValidPathInfo {
            deriver: Some(path("a.drv")),
            references: set(&["x", "y"]),
            registration_time: 12345,
            sigs: sigs(&["k:2"]),
            ..UnkeyedValidPathInfo::new(NarHash::of(b"new"), 7)
        }
    );
    assert_eq!(
        db.rows("select id from ValidPaths order by id"),
        ["1", "2", "3"]
    );
}

#[test]
fn wrong_content_address_is_refused() {
    let db = Fresh::new();
    let hash = Hash::of(HashAlgo::Sha256, b"text");
    let ca = ContentAddress {
        method: ContentAddressMethod::Text,
        hash,
    };
    let mut wrong = plain("a");
    wrong.info.info.ca = Some(ca);
    let error = db.register(&[plain("b"), wrong]).unwrap_err();
    insta::assert_snapshot!(
        error,
        @"cannot add path '/nix/store/p1kpcdzaxbmbkp0xbphzr9x5z8vy9xw6-a' to the Nix store because it claims to be content-addressed but isn't"
    );
    assert_eq!(db.query_all_valid().unwrap(), set(&[]));

    let mut right = plain("a");
    let references = nix_base::store_path::make::References::of(&path("a"), &set(&[]));
    let name = StorePathName::new("a").unwrap();
    right.info.path = ca.path(&db.store_dir, &references, &name).unwrap();
    right.info.info.ca = Some(ca);
    db.register(std::slice::from_ref(&right)).unwrap();
    let info = db.query_path_info(&right.info.path).unwrap();
    assert_eq!(info, Some(right.info));
}

#[test]
fn size_beyond_the_database_is_refused() {
    let db = Fresh::new();
    let mut huge = plain("a");
    huge.info.info.nar_size = 1 << 63;
    let error = db.register(&[huge]).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
}

#[test]
fn derivation_outputs_lead_to_derivers_and_closures() {
    let db = Fresh::new();
    let output = |name: &str, of: &str| (OutputName::new(name).unwrap(), path(of));
    let mut drv = plain("a.drv");
    drv.outputs = vec![output("out", "a"), output("dev", "a-dev")];
    db.register(&[drv, plain("a"), referring("b", &["a.drv"])])
        .unwrap();
    assert_eq!(
        db.query_derivation_outputs(&path("a.drv")).unwrap(),
        [output("dev", "a-dev"), output("out", "a")]
    );
    assert_eq!(
        db.query_valid_derivers(&path("a")).unwrap(),
        set(&["a.drv"])
    );
    assert_eq!(db.query_valid_derivers(&path("b")).unwrap(), set(&[]));
    let closure = |include| db.closure(&set(&["b"]), include).unwrap();
    assert_eq!(closure(IncludeOutputs::No), set(&["a.drv", "b"]));
    assert_eq!(closure(IncludeOutputs::Yes), set(&["a", "a.drv", "b"]));
}

#[test]
fn closure_of_an_invalid_path_is_an_error() {
    let db = Fresh::new();
    db.register(&[plain("a"), plain("c")]).unwrap();
    for invalid in ["b", "missing"] {
        let error = db
            .closure(&set(&["a", "c", invalid]), IncludeOutputs::No)
            .unwrap_err();
        assert!(error.is_not_valid());
        assert!(error.to_string().contains(&db.full(&path(invalid))));
    }
}

#[test]
fn hash_part_finds_the_path() {
    let db = Fresh::new();
    db.register(&[plain("a"), plain("b"), plain("c")]).unwrap();
    for name in ["a", "b", "c"] {
        let found = db.query_path_from_hash_part(path(name).hash()).unwrap();
        assert_eq!(found, Some(path(name)));
    }
    let found = db.query_path_from_hash_part(path("d").hash()).unwrap();
    assert_eq!(found, None);
}

#[test]
fn path_in_use_stays_valid() {
    let db = Fresh::new();
    db.register(&[referring("app", &["app", "lib"]), plain("lib")])
        .unwrap();
    let error = db.invalidate(&path("lib")).unwrap_err();
    assert!(error.is_path_in_use());
    assert_eq!(
        error.to_string(),
        format!(
            "cannot delete path '{}' because it is in use by '{}'",
            db.full(&path("lib")),
            db.full(&path("app"))
        )
    );
    db.invalidate(&path("app")).unwrap();
    db.invalidate(&path("lib")).unwrap();
    db.invalidate(&path("never-valid")).unwrap();
    assert_eq!(db.query_all_valid().unwrap(), set(&[]));
    assert_eq!(db.rows("select * from Refs"), Vec::<String>::new());
}

#[test]
fn signatures_are_added_to_those_that_are_there() {
    let db = Fresh::new();
    let mut registration = plain("a");
    registration.info.info.sigs = sigs(&["k:1"]);
    db.register(&[registration]).unwrap();
    db.add_signatures(&path("a"), &sigs(&["k:1", "k:malformed!"]))
        .unwrap();
    let info = db.query_path_info(&path("a")).unwrap().unwrap();
    assert_eq!(info.sigs, sigs(&["k:1", "k:malformed!"]));
    let error = db
        .add_signatures(&path("missing"), &sigs(&["k:1"]))
        .unwrap_err();
    assert!(error.is_not_valid());
}

#[test]
fn tables_of_other_releases_and_a_missing_index_do_no_harm() {
    let db = Fresh::new();
    db.sql(
        "create table SchemaMigrations (migration text primary key not null); \
         create table BuildTraceV3 (id integer primary key, drvPath text); \
         drop index IndexReferrer; \
         alter table ValidPaths add column later text;",
    );
    db.register(&[referring("a", &["b"]), plain("b")]).unwrap();
    db.check_tables().unwrap();
    assert_eq!(
        db.closure(&set(&["a"]), IncludeOutputs::Yes).unwrap(),
        set(&["a", "b"])
    );
    db.invalidate(&path("a")).unwrap();
    assert_eq!(db.query_all_valid().unwrap(), set(&["b"]));
}

#[test]
fn missing_table_is_named() {
    let db = Fresh::new();
    db.sql("drop table Refs");
    let error = db.check_tables().unwrap_err();
    assert!(matches!(error, Error::MissingTable { table: "Refs", .. }));
}

#[test]
fn writer_that_stays_is_named_after_the_budget() {
    let db = Fresh::new();
    let other = db.again(OpenMode::ReadWrite).unwrap();
    other.conn.execute_batch("begin immediate").unwrap();
    let error = db.register(&[plain("a")]).unwrap_err();
    assert!(error.is_database_busy(), "{error:?}");
    let Error::DatabaseBusy { holder, .. } = error else {
        unreachable!();
    };
    // Where /proc/locks is readable, it is this very process.
    if let Some(holder) = holder {
        assert_eq!(holder.pid, std::process::id());
    }
    assert!(!db.is_valid(&path("a")).unwrap(), "readers aren't held up");
    other.conn.execute_batch("rollback").unwrap();
    db.register(&[plain("a")]).unwrap();
}

#[test]
fn writers_queue_up() {
    let db = Fresh::new();
    let patient = |mode| DbOptions {
        busy_timeout: Duration::from_secs(60),
        ..options(&db.dir, mode)
    };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let options = patient(OpenMode::ReadWrite);
            scope.spawn(move || {
                let db = Db::open(&options).unwrap();
                for i in 0..25 {
                    db.register(&[plain(&format!("p-{thread}-{i}"))]).unwrap();
                }
            });
        }
    });
    assert_eq!(db.query_all_valid().unwrap().len(), 100);
}

#[test]
fn read_only_connection_refuses_writes() {
    let db = Fresh::new();
    db.register(&[plain("a")]).unwrap();
    let reader = db.again(OpenMode::ReadOnly).unwrap();
    assert!(reader.is_valid(&path("a")).unwrap());
    let error = reader.register(&[plain("b")]).unwrap_err();
    assert!(error.is_read_only(), "{error:?}");
    let error = reader.invalidate(&path("a")).unwrap_err();
    assert!(error.is_read_only(), "{error:?}");
}

#[test]
fn truncate_journal_works_without_a_log() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&DbOptions {
        journal: JournalMode::Truncate,
        ..options(&dir, OpenMode::Create)
    })
    .unwrap();
    db.create_tables().unwrap();
    db.register(&[plain("a")]).unwrap();
    assert!(db.is_valid(&path("a")).unwrap());
    assert!(!dir.path().join("db.sqlite-wal").try_exists().unwrap());
}

#[test]
fn full_disk_rolls_everything_back() {
    let db = Fresh::new();
    db.register(&[plain("a")]).unwrap();
    let before = db.rows("pragma page_count");
    db.sql(&format!("pragma max_page_count = {}", before[0]));
    let batch: Vec<Registration> = (0..500).map(|i| plain(&format!("p-{i}"))).collect();
    let error = db.register(&batch).unwrap_err();
    assert!(error.is_disk_full(), "{error:?}");
    assert_eq!(db.query_all_valid().unwrap(), set(&["a"]));
    db.sql("pragma max_page_count = 1000000");
    db.register(&batch).unwrap();
}

#[test]
fn file_that_is_no_database_is_called_damaged() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("db.sqlite"), [b'x'; 4096]).unwrap();
    let error = Db::open(&options(&dir, OpenMode::ReadWrite)).unwrap_err();
    assert!(matches!(error, Error::CorruptDatabase { .. }), "{error:?}");
}

impl Db {
    /// The info as seen by an uncommitted change.
    fn query_infos_in_open_transaction(&self, path: &StorePath) -> Result<()> {
        self.signatures_within(&self.conn, path).map(drop)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_registered_is_found_again(
        infos in prop::collection::vec(arbitrary::valid_path_info(), 1..40),
        strangers in prop::collection::vec(arbitrary::store_path(), 0..20),
        kept in any::<u64>(),
    ) {
        let db = Fresh::new();
        let mut by_path = BTreeMap::new();
        for mut info in infos {
            info.info.ca = None;
            info.info.nar_size &= u64::MAX >> 1;
            info.info.registration_time = info.info.registration_time.max(1);
            // References to earlier paths only, so that there is no circle.
            info.info.references = by_path.keys().step_by(3).cloned().collect();
            by_path.entry(info.path.clone()).or_insert(info);
        }
        let all: StorePathSet = by_path.keys().cloned().collect();
        for info in by_path.values_mut() {
            info.info.references.retain(|path| path < &info.path);
        }
        let batch: Vec<Registration> = by_path.values().cloned().map(Into::into).collect();
        db.register(&batch).unwrap();

        let wanted: StorePathSet = all
            .iter()
            .chain(&strangers)
            .enumerate()
            .filter(|(i, _)| kept >> (i % 64) & 1 == 1)
            .map(|(_, path)| path.clone())
            .collect();
        let expected: StorePathSet = wanted.intersection(&all).cloned().collect();
        prop_assert_eq!(&db.query_valid(&wanted).unwrap(), &expected);
        let mut found = Vec::new();
        db.query_infos(&wanted, |info| {
            found.push(info);
            Ok(())
        })
        .unwrap();
        let infos: Vec<ValidPathInfo> =
            expected.iter().map(|path| by_path[path].clone()).collect();
        prop_assert_eq!(&found, &infos);
        if let Some(found) = bulk::in_bulk(&db, &wanted) {
            prop_assert_eq!(found, infos);
        }

        let mut closure = expected.clone();
        let mut queue: Vec<StorePath> = expected.iter().cloned().collect();
        while let Some(path) = queue.pop() {
            for reference in &by_path[&path].references {
                if closure.insert(reference.clone()) {
                    queue.push(reference.clone());
                }
            }
        }
        prop_assert_eq!(db.closure(&expected, IncludeOutputs::Yes).unwrap(), closure);
    }
}
