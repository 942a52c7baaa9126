//! Walks through everything give the same answers as look-ups.

use super::*;

/// The answer of a walk, if it is worth one.
pub(super) fn in_bulk(db: &Db, wanted: &StorePathSet) -> Option<Vec<ValidPathInfo>> {
    let bulk = db.read_in_bulk(wanted).unwrap()?;
    let mut infos = Vec::new();
    db.hand_out(bulk, |info| {
        infos.push(info);
        Ok(())
    })
    .unwrap();
    Some(infos)
}

pub(super) fn in_batches(db: &Db, wanted: &StorePathSet) -> Vec<ValidPathInfo> {
    let mut infos = Vec::new();
    db.query_infos_in_batches(wanted, |info| {
        infos.push(info);
        Ok(())
    })
    .unwrap();
    infos
}

/// Paths `p-0`, `p-1`, …, each referring to itself and to some before it; the ids of some
/// are no longer used.
pub(super) fn odd_store(number: usize) -> Fresh {
    let db = Fresh::new();
    let name = |i: usize| format!("p-{i}");
    let batch: Vec<Registration> = (0..number)
        .map(|i| {
            let mut registration = plain(&name(i));
            let before = [1, 2, 5, 9].map(|k| i.checked_sub(k)).into_iter().flatten();
            let info = &mut registration.info.info;
            info.references = before.map(|i| path(&name(i))).collect();
            info.references.insert(path(&name(i)));
            info.nar_size = i as u64;
            info.ultimate = i % 3 == 0;
            info.deriver = (i % 4 == 0).then(|| path("some.drv"));
            if i % 5 == 0 {
                info.sigs = sigs(&["b:BBBB", "a:AAAA"]);
            }
            registration
        })
        .collect();
    let unused: Vec<Registration> = (0..3).map(|i| plain(&format!("unused-{i}"))).collect();
    db.register(&unused[..2]).unwrap();
    db.register(&batch[..number / 2]).unwrap();
    db.register(&unused[2..]).unwrap();
    db.register(&batch[number / 2..]).unwrap();
    for registration in &unused {
        db.invalidate(&registration.info.path).unwrap();
    }
    let ca = ContentAddress {
        method: ContentAddressMethod::NixArchive,
        hash: Hash::of(HashAlgo::Sha256, b"content"),
    };
    let nix32 = NarHash::of(b"other").to_prefixed_nix32();
    db.sql(&format!(
        "update ValidPaths set ca = '{ca}' where id % 7 = 0; \
         update ValidPaths set hash = '{nix32}' where id % 6 = 0; \
         update ValidPaths set deriver = '', ultimate = 0, sigs = '', ca = '' where id % 8 = 1; \
         update ValidPaths set deriver = null, narSize = null, ultimate = null, sigs = null, \
         ca = null where id % 8 = 2; \
         insert or ignore into Refs select min(id), max(id) from ValidPaths;"
    ));
    db
}

#[test]
fn walks_and_look_ups_agree() {
    let db = odd_store(60);
    let all = db.query_all_valid().unwrap();
    assert_eq!(all.len(), 60);
    let some = |step| all.iter().step_by(step).cloned().collect();
    let mut with_strangers = set(&["unused-1", "stranger", "other"]);
    with_strangers.extend(some(2));
    for wanted in [all.clone(), some(2), some(4), with_strangers] {
        let expected = in_batches(&db, &wanted);
        assert_eq!(expected.len(), wanted.intersection(&all).count());
        assert_eq!(in_bulk(&db, &wanted), Some(expected));
    }
    assert_eq!(in_bulk(&db, &some(5)), None);
    assert_eq!(in_bulk(&db, &StorePathSet::new()), None);
}

#[test]
fn empty_store_has_none_of_many() {
    let db = Fresh::new();
    assert_eq!(in_bulk(&db, &set(&["a", "b"])), Some(Vec::new()));
}

#[test]
fn many_paths_are_read_in_one_walk() {
    let db = odd_store(1500);
    let all = db.query_all_valid().unwrap();
    assert!(db.read_many(&all).unwrap().is_some());
    let mut infos = Vec::new();
    db.query_infos(&all, |info| {
        infos.push(info);
        Ok(())
    })
    .unwrap();
    assert_eq!(infos, in_batches(&db, &all));
    let few = all.into_iter().take(1000).collect();
    assert!(db.read_many(&few).unwrap().is_none());
}

#[test]
fn what_a_walk_cannot_join_is_left_to_look_ups() {
    for damage in [
        "insert into Refs values (5, 999)",
        "update ValidPaths set id = 0 where id = 3",
        "update ValidPaths set id = -7 where id = 3",
        "update ValidPaths set id = 1 << 40 where id = 12",
    ] {
        let db = odd_store(12);
        let all = db.query_all_valid().unwrap();
        assert!(in_bulk(&db, &all).is_some());
        db.sql("pragma foreign_keys = off");
        db.sql(damage);
        assert_eq!(in_bulk(&db, &all), None, "{damage}");
    }
}

#[test]
fn bad_values_are_named_by_walks_too() {
    let db = Fresh::new();
    db.register(&[referring("a", &["b"]), plain("b")]).unwrap();
    let wanted = set(&["a"]);
    for (column, value, named) in [
        ("hash", "'sha256:12'", "a"),
        ("sigs", "cast(x'ff' as text)", "a"),
        ("narSize", "-1", "a"),
        ("path", "'/elsewhere/b'", "b"),
    ] {
        let old = db.full(&path(named));
        let row = if named == "a" { &old } else { "/elsewhere/b" };
        db.sql(&format!(
            "create table Old as select * from ValidPaths where path = '{old}'"
        ));
        db.sql(&format!(
            "update ValidPaths set {column} = {value} where path = '{old}'"
        ));
        let failed = |error: Error| match error {
            Error::CorruptRow { column, row, .. } => (column, row),
            other => panic!("{other:?}"),
        };
        let expected = (column, row.to_owned());
        let error = match db.read_in_bulk(&wanted) {
            Ok(bulk) => db.hand_out(bulk.unwrap(), |_| Ok(())).unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(failed(error), expected);
        let error = db.query_infos_in_batches(&wanted, |_| Ok(())).unwrap_err();
        assert_eq!(failed(error), expected);
        db.sql(&format!(
            "update ValidPaths set {column} = Old.{column} from Old where ValidPaths.id = Old.id; \
             drop table Old"
        ));
    }
}

#[test]
fn page_cache_has_its_usual_size_after_a_walk() {
    let db = odd_store(12);
    let size = || db.rows("pragma cache_size");
    let usual = size();
    assert!(in_bulk(&db, &db.query_all_valid().unwrap()).is_some());
    assert_eq!(size(), usual);
}

#[test]
fn many_registrations_leave_the_schema_as_it_is() {
    let schema = "select type, name, tbl_name, sql from sqlite_master order by name";
    let few = odd_store(10);
    let many = odd_store(5000);
    assert_eq!(many.rows(schema), few.rows(schema));
    assert_eq!(many.rows("pragma integrity_check"), ["ok"]);
    assert!(many.rows("pragma foreign_key_check").is_empty());
    let plan = many.rows("explain query plan select referrer from Refs where reference = 7");
    assert!(plan[0].contains("IndexReference"), "{plan:?}");
}
