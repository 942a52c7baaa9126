use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix_base::{ContentAddress, Hash, HashAlgo, UnkeyedValidPathInfo};

use super::*;
use crate::local::StoreConfig;
use crate::{Lock, Store, StoreLayout};

struct Fixture {
    temp: tempfile::TempDir,
    store: LocalStore,
}

fn fixture() -> Fixture {
    let temp = tempfile::tempdir().unwrap();
    let layout = StoreLayout::chroot(nix_base::StoreDir::default(), temp.path());
    let store = LocalStore::init(StoreConfig::new(layout)).unwrap();
    Fixture { temp, store }
}

impl Fixture {
    fn objects(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.temp.path().join("nix/store"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != ".links")
            .collect();
        names.sort();
        names
    }

    fn real(&self, path: &StorePath) -> std::path::PathBuf {
        self.store.layout().real_path(path)
    }
}

fn path(digit: char, name: &str) -> StorePath {
    let digits: String = std::iter::repeat_n(digit, 32).collect();
    StorePath::from_base_name(&format!("{digits}-{name}")).unwrap()
}

fn file(path: &StorePath, contents: &[u8], references: &[&StorePath]) -> (ValidPathInfo, Vec<u8>) {
    let mut nar = Vec::new();
    nix_nar::write_regular(contents, false, &mut nar).unwrap();
    let mut info = UnkeyedValidPathInfo::new(NarHash::of(&nar), nar.len() as u64);
    info.references = references.iter().map(|r| (*r).clone()).collect();
    let path = path.clone();
    (ValidPathInfo { path, info }, nar)
}

fn stage(batch: &ImportBatch<'_>, (info, nar): (ValidPathInfo, Vec<u8>)) -> Result<()> {
    batch.stage(info, &mut nar.as_slice())
}

fn committed(batch: &ImportBatch<'_>) -> (usize, Option<String>) {
    let outcome = batch.commit();
    (outcome.valid, outcome.failure.map(|e| e.to_string()))
}

#[test]
fn a_batch_becomes_valid_together_with_canonical_metadata() {
    let f = fixture();
    let (a, b) = (path('a', "a"), path('b', "b"));
    let batch = ImportBatch::new(&f.store);
    stage(&batch, file(&b, b"b", &[&a, &b])).unwrap();
    stage(&batch, file(&a, b"a", &[])).unwrap();
    assert!(!f.store.is_valid(&a).unwrap());
    assert_eq!(committed(&batch), (2, None));
    drop(batch);
    assert_eq!(f.objects(), [a.base_name(), b.base_name()]);
    let info = f.store.query_path_info(&b).unwrap().unwrap();
    assert_eq!(info.references, [a.clone(), b.clone()].into());
    let meta = std::fs::symlink_metadata(f.real(&a)).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.mtime()), (0o444, 1));
}

#[test]
fn a_wrong_hash_or_size_leaves_nothing() {
    let f = fixture();
    let a = path('a', "a");
    let batch = ImportBatch::new(&f.store);
    let (mut info, nar) = file(&a, b"a", &[]);
    info.info.nar_hash = NarHash::of(b"something else");
    let error = batch.stage(info, &mut nar.as_slice()).unwrap_err();
    assert!(error.is_hash_mismatch(), "{error}");
    let (mut info, nar) = file(&a, b"a", &[]);
    info.info.nar_size += 8;
    let error = batch.stage(info, &mut nar.as_slice()).unwrap_err();
    assert!(error.is_hash_mismatch(), "{error}");
    let (info, nar) = file(&a, b"a", &[]);
    assert!(batch.stage(info, &mut &nar[..nar.len() - 8]).is_err());
    assert_eq!(committed(&batch), (0, None));
    drop(batch);
    assert_eq!(f.objects(), Vec::<String>::new());
}

#[test]
fn what_came_before_a_missing_reference_is_kept() {
    let f = fixture();
    let (a, b, c, gone) = (
        path('a', "a"),
        path('b', "b"),
        path('c', "c"),
        path('d', "d"),
    );
    let batch = ImportBatch::new(&f.store);
    stage(&batch, file(&a, b"a", &[])).unwrap();
    stage(&batch, file(&b, b"b", &[&gone])).unwrap();
    stage(&batch, file(&c, b"c", &[])).unwrap();
    let (valid, failure) = committed(&batch);
    assert_eq!(valid, 1);
    let expected = format!("path '/nix/store/{gone}' is not valid");
    assert_eq!(failure.unwrap(), expected);
    drop(batch);
    assert_eq!(f.objects(), [a.base_name()]);
    assert!(f.store.is_valid(&a).unwrap() && !f.store.is_valid(&c).unwrap());
}

#[test]
fn a_full_batch_is_flushed_while_the_next_one_is_staged() {
    let f = fixture();
    let (a, b) = (path('a', "a"), path('b', "b"));
    let batch = ImportBatch::new(&f.store);
    stage(&batch, file(&a, b"a", &[])).unwrap();
    let outcome = batch.advance();
    assert!(outcome.valid == 0 && outcome.failure.is_none());
    assert!(!f.store.is_valid(&a).unwrap());
    // Already under way: read, checked and dropped.
    stage(&batch, file(&a, b"a", &[])).unwrap();
    stage(&batch, file(&b, b"b", &[&a])).unwrap();
    assert_eq!(batch.len(), 3);
    let outcome = batch.advance();
    assert!(outcome.valid == 1 && outcome.failure.is_none());
    assert!(f.store.is_valid(&a).unwrap() && !f.store.is_valid(&b).unwrap());
    assert_eq!(committed(&batch), (2, None));
    assert!(f.store.is_valid(&b).unwrap() && batch.is_empty());
    drop(batch);
    assert_eq!(f.objects(), [a.base_name(), b.base_name()]);
}

#[test]
fn only_faults_of_an_object_are_looked_into_one_by_one() {
    let f = fixture();
    let gone = Error::not_valid(f.store.store_dir(), &path('d', "d"));
    assert!(gone.is_about_an_object());
    let flush = Error::io("flush", Path::new("/x"), std::io::Error::other("gone"));
    assert!(!flush.is_about_an_object());

    // The names can't be locked: nothing of the batch may be tried alone afterwards.
    let (a, b) = (path('a', "a"), path('b', "b"));
    std::fs::create_dir(f.store.layout().path_lock(&b)).unwrap();
    let batch = ImportBatch::new(&f.store);
    stage(&batch, file(&a, b"a", &[])).unwrap();
    stage(&batch, file(&b, b"b", &[])).unwrap();
    let (valid, failure) = committed(&batch);
    assert!(valid == 0 && failure.is_some());
    assert!(!f.store.is_valid(&a).unwrap());
}

#[test]
fn what_follows_a_failed_batch_is_dropped() {
    let f = fixture();
    let (a, b, gone) = (path('a', "a"), path('b', "b"), path('d', "d"));
    let batch = ImportBatch::new(&f.store);
    stage(&batch, file(&a, b"a", &[&gone])).unwrap();
    assert!(batch.advance().failure.is_none());
    stage(&batch, file(&b, b"b", &[])).unwrap();
    let (valid, failure) = committed(&batch);
    assert_eq!(valid, 0);
    assert_eq!(
        failure.unwrap(),
        format!("path '/nix/store/{gone}' is not valid")
    );
    drop(batch);
    assert_eq!(f.objects(), Vec::<String>::new());
}

#[test]
fn leftovers_are_replaced_and_never_followed() {
    let f = fixture();
    let canary = f.temp.path().join("canary");
    std::fs::create_dir(&canary).unwrap();
    std::fs::write(canary.join("file"), "alive").unwrap();
    type Plant<'a> = (char, &'a dyn Fn(&Path));
    let plant: [Plant<'_>; 4] = [
        ('a', &|p| std::fs::write(p, "leftover").unwrap()),
        ('b', &|p| {
            std::fs::create_dir_all(p.join("x/y")).unwrap();
            std::fs::write(p.join("x/y/z"), "leftover").unwrap();
        }),
        ('c', &|p| std::os::unix::fs::symlink(&canary, p).unwrap()),
        ('d', &|p| std::os::unix::fs::symlink("/nowhere", p).unwrap()),
    ];
    for (digit, plant) in plant {
        let p = path(digit, "x");
        plant(&f.real(&p));
        let batch = ImportBatch::new(&f.store);
        stage(&batch, file(&p, b"new", &[])).unwrap();
        assert_eq!(committed(&batch), (1, None));
        assert_eq!(std::fs::read(f.real(&p)).unwrap(), b"new");
    }
    assert_eq!(std::fs::read(canary.join("file")).unwrap(), b"alive");
}

#[test]
fn valid_paths_are_never_touched() {
    let f = fixture();
    let a = path('a', "a");
    let first = ImportBatch::new(&f.store);
    let second = ImportBatch::new(&f.store);
    stage(&first, file(&a, b"a", &[])).unwrap();
    // Staged while not valid yet; by the time of its commit the path is.
    stage(&second, file(&a, b"a", &[])).unwrap();
    assert_eq!(committed(&first), (1, None));
    // Open, so that no other file gets the number of its inode.
    let open = std::fs::File::open(f.real(&a)).unwrap();
    let inode = open.metadata().unwrap().ino();
    assert_eq!(committed(&second), (1, None));
    stage(&second, file(&a, b"a", &[])).unwrap();
    stage(&second, file(&a, b"a", &[])).unwrap();
    assert_eq!(committed(&second), (2, None));
    assert_eq!(std::fs::metadata(f.real(&a)).unwrap().ino(), inode);
}

#[test]
fn a_larger_announced_size_for_a_valid_path_is_an_error() {
    let f = fixture();
    let a = path('a', "a");
    let batch = ImportBatch::new(&f.store);
    stage(&batch, file(&a, b"a", &[])).unwrap();
    assert_eq!(committed(&batch), (1, None));
    let (mut info, nar) = file(&a, b"a", &[]);
    info.info.nar_size += 8;
    let error = batch.stage(info, &mut nar.as_slice()).unwrap_err();
    assert!(error.is_hash_mismatch(), "{error}");
}

#[test]
fn content_addresses_are_checked_against_the_content() {
    let f = fixture();
    let name = "hello.txt".parse().unwrap();
    let hello = f
        .store
        .add_text(b"hello\n", StorePathSet::new(), &name)
        .unwrap();
    assert_eq!(
        hello.base_name(),
        "qa1w9gdfrba6jl2r57mb3c43863gqywp-hello.txt"
    );
    let source = f.temp.path().join("hello.txt");
    std::fs::write(&source, "hello\n").unwrap();
    let added = f.store.add_source(&source, &name).unwrap();
    assert_eq!(
        added.base_name(),
        "i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt"
    );

    let (mut info, nar) = file(&hello, b"other\n", &[]);
    info.path = StorePath::from_base_name("qa1w9gdfrba6jl2r57mb3c43863gqywp-hello.txt").unwrap();
    info.info.ca = Some(ContentAddress {
        method: nix_base::ContentAddressMethod::Text,
        hash: Hash::of(HashAlgo::Sha256, b"hello\n"),
    });
    let other = fixture();
    let batch = ImportBatch::new(&other.store);
    let error = batch.stage(info, &mut nar.as_slice()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("ca hash mismatch importing path"),
        "{error}"
    );
    drop(batch);
    assert_eq!(other.objects(), Vec::<String>::new());
}

#[test]
fn derivations_register_their_outputs() {
    let f = fixture();
    let text = br#"Derive([("out","/nix/store/vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a","","")],[],[],"x86_64-linux","/bin/sh",["-c","echo \"hi\\\\\"\n\t> $out"],[("builder","/bin/sh"),("name","a"),("out","/nix/store/vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a"),("system","x86_64-linux")])"#;
    let name = "a.drv".parse().unwrap();
    let drv = f.store.add_text(text, StorePathSet::new(), &name).unwrap();
    let outputs = f.store.query_derivation_outputs(&drv).unwrap();
    assert_eq!(outputs.len(), 1);
    assert_eq!(
        outputs[0].1.base_name(),
        "vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a"
    );
    let garbage = f.store.add_text(
        b"no derivation",
        StorePathSet::new(),
        &"b.drv".parse().unwrap(),
    );
    assert!(garbage.is_err());
    assert_eq!(f.objects(), [drv.base_name()]);
}

#[test]
fn staged_objects_vanish_with_their_batch() {
    let f = fixture();
    let batch = ImportBatch::new(&f.store);
    stage(&batch, file(&path('a', "a"), b"a", &[])).unwrap();
    assert_eq!(f.objects().len(), 1);
    drop(batch);
    assert_eq!(f.objects(), Vec::<String>::new());
}

#[test]
fn staged_paths_are_pinned() {
    let f = fixture();
    let a = path('a', "a");
    let batch = ImportBatch::new(&f.store);
    stage(&batch, file(&a, b"a", &[])).unwrap();
    let roots = std::fs::read_dir(f.store.layout().temp_roots_dir()).unwrap();
    let recorded: Vec<u8> = roots
        .flat_map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    let recorded = String::from_utf8(recorded).unwrap();
    assert!(
        recorded.contains(&format!("/nix/store/{a}\0")),
        "{recorded:?}"
    );
    assert_eq!(
        f.store
            .query_valid_paths(&[a].into(), Lock::Yes)
            .unwrap()
            .len(),
        0
    );
}
