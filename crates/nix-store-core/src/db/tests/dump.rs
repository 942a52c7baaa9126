//! Registrations as texts say what the infos of all paths say.

use super::bulk::{in_batches, odd_store};
use super::*;

/// As both ways of reading tell it: path, hash, size, deriver and references.
type Told = (String, String, u64, String, Vec<String>);

fn told_by_texts(db: &Db) -> Vec<Told> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let all = db.read_registrations().unwrap();
    let told = all.iter().map(|registration| {
        (
            text(registration.path()),
            text(registration.hash()),
            registration.nar_size(),
            text(registration.deriver()),
            registration.references().map(text).collect(),
        )
    });
    told.collect()
}

fn told_by_infos(db: &Fresh) -> Vec<Told> {
    let infos = in_batches(db, &db.query_all_valid().unwrap());
    let told = infos.iter().map(|info| {
        (
            db.full(&info.path),
            info.nar_hash.to_base16(),
            info.nar_size,
            info.deriver
                .as_ref()
                .map(|path| db.full(path))
                .unwrap_or_default(),
            info.references.iter().map(|path| db.full(path)).collect(),
        )
    });
    told.collect()
}

#[test]
fn texts_and_infos_agree() {
    let db = odd_store(40);
    assert_eq!(told_by_texts(&db), told_by_infos(&db));
    assert_eq!(told_by_texts(&db).len(), 40);
}

#[test]
fn ids_far_apart_are_found_too() {
    let db = odd_store(10);
    db.sql(
        "pragma foreign_keys = off; \
         update ValidPaths set id = id * 1000000000; \
         update Refs set referrer = referrer * 1000000000, reference = reference * 1000000000",
    );
    assert_eq!(told_by_texts(&db), told_by_infos(&db));
}

#[test]
fn nothing_is_registered_in_an_empty_store() {
    assert!(told_by_texts(&Fresh::new()).is_empty());
}

#[test]
fn what_is_no_path_and_what_leads_nowhere_is_told() {
    let db = odd_store(10);
    db.sql("pragma foreign_keys = off; insert into Refs values ((select max(id) from ValidPaths), 999)");
    let error = db.read_registrations().unwrap_err();
    assert!(
        matches!(error, Error::DanglingReference { id: 999, .. }),
        "{error}"
    );
    db.sql("delete from Refs; update ValidPaths set path = '/elsewhere' where id = 4");
    let error = db.read_registrations().unwrap_err();
    assert!(matches!(error, Error::CorruptRow { .. }), "{error}");
}
