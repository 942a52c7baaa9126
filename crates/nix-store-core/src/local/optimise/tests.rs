use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::slice::from_ref;

use nix_base::{NarHash, StoreDir, StorePathName};

use super::linker::{Action, Candidate, Joined, Linker, Memory, Survives};
use super::*;
use crate::db::Durability;
use crate::{StoreConfig, StoreLayout};

struct Fixture {
    temp: tempfile::TempDir,
    store: LocalStore,
}

struct Silent;

impl OptimiseProgress for Silent {
    fn path(&self, _: &StorePath) -> bool {
        true
    }
}

fn fixture(auto_optimise: bool) -> Fixture {
    let temp = tempfile::tempdir().unwrap();
    let layout = StoreLayout::chroot(StoreDir::default(), &temp.path().join("root"));
    let mut config = StoreConfig::new(layout);
    config.auto_optimise = auto_optimise;
    config.durability = Durability::None;
    let store = LocalStore::init(config).unwrap();
    Fixture { temp, store }
}

impl Fixture {
    /// Adds a tree of plain files, programs (`+`), links (`>`) and directories on the way.
    fn add(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let source = self.temp.path().join(name);
        for (path, contents) in files {
            let path = source.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if let Some(target) = contents.strip_prefix('>') {
                symlink(target, &path).unwrap();
                continue;
            }
            fs::write(&path, contents.trim_start_matches('+')).unwrap();
            let mode = if contents.starts_with('+') {
                0o755
            } else {
                0o644
            };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let name = StorePathName::new(name).unwrap();
        let path = self.store.add_source(&source, &name).unwrap();
        self.store.layout().real_path(&path)
    }

    fn add_file(&self, name: &str, contents: &str) -> PathBuf {
        let source = self.temp.path().join(name);
        fs::write(&source, contents).unwrap();
        let name = StorePathName::new(name).unwrap();
        let path = self.store.add_source(&source, &name).unwrap();
        self.store.layout().real_path(&path)
    }

    fn run(&self) -> OptimiseReport {
        let options = OptimiseOptions::default();
        self.store.optimise(&options, &Silent).unwrap()
    }

    fn links(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.store.layout().links_dir()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn names(&self) -> usize {
        fs::read_dir(&self.store.layout().real_store)
            .unwrap()
            .count()
    }
}

fn inode(path: impl AsRef<Path>) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

fn chmod(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn assert_canonical(dir: &Path) {
    let metadata = fs::symlink_metadata(dir).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o555, 1));
}

const FILES: &[(&str, &str)] = &[
    ("a", "the same"),
    ("dir/b", "the same"),
    ("dir/deeper/c", "the same"),
    ("program", "+the same"),
    ("dir/link", ">target"),
    ("link", ">target"),
    ("empty", ""),
    ("dir/empty", ""),
    ("other", "other"),
];

#[test]
fn files_with_the_same_contents_become_one() {
    let fixture = fixture(false);
    let tree = fixture.add("tree", FILES);
    let single = fixture.add_file("single", "the same");
    let report = fixture.run();
    assert_eq!((report.files, report.hashed), (10, 10));
    assert_eq!((report.linked, report.new_links), (5, 5));
    assert_eq!(report.freed_bytes, 3 * 8 + 6);
    for (one, other) in [("a", "dir/b"), ("a", "dir/deeper/c"), ("link", "dir/link")] {
        assert_eq!(inode(tree.join(one)), inode(tree.join(other)), "{other}");
    }
    assert_eq!(inode(tree.join("empty")), inode(tree.join("dir/empty")));
    assert_eq!(inode(tree.join("a")), inode(&single));
    assert_ne!(inode(tree.join("a")), inode(tree.join("program")));
    for dir in ["", "dir", "dir/deeper"] {
        assert_canonical(&tree.join(dir));
    }
    assert_eq!(fixture.links().len(), 5);
    // `.links`, and the two paths.
    assert_eq!(fixture.names(), 3);
    let again = fixture.run();
    assert_eq!((again.files, again.hashed, again.linked), (10, 0, 0));
}

#[test]
fn a_dry_run_tells_what_a_run_does_and_changes_nothing() {
    let fixture = fixture(false);
    let tree = fixture.add("tree", FILES);
    fixture.add_file("single", "the same");
    let dry = OptimiseOptions {
        dry_run: true,
        threads: None,
    };
    let before = inode(tree.join("dir/b"));
    let told = fixture.store.optimise(&dry, &Silent).unwrap();
    assert_eq!(inode(tree.join("dir/b")), before);
    assert!(fixture.links().is_empty());
    assert_eq!(told, fixture.run());
    let nothing = fixture.store.optimise(&dry, &Silent).unwrap();
    assert_eq!((nothing.hashed, nothing.linked), (0, 0));
}

#[test]
fn all_numbers_of_threads_do_the_same() {
    for threads in [1, 3] {
        let fixture = fixture(false);
        let names: Vec<String> = (0..600).map(|i| format!("d{}/f{i}", i % 2)).collect();
        let texts: Vec<String> = (0..600).map(|i| format!("text {}", i % 100)).collect();
        let files = names.iter().zip(&texts);
        let files: Vec<(&str, &str)> = files.map(|(n, t)| (n.as_str(), t.as_str())).collect();
        let tree = fixture.add("tree", &files);
        let options = OptimiseOptions {
            dry_run: false,
            threads: NonZeroUsize::new(threads),
        };
        let report = fixture.store.optimise(&options, &Silent).unwrap();
        assert_eq!((report.linked, report.new_links), (500, 100), "{threads}");
        for (name, text) in files {
            assert_eq!(fs::read_to_string(tree.join(name)).unwrap(), text);
        }
        for dir in ["", "d0", "d1"] {
            assert_canonical(&tree.join(dir));
        }
    }
}

#[test]
fn a_file_that_its_owner_may_write_is_left_alone() {
    let fixture = fixture(false);
    let tree = fixture.add("tree", &[("a", "same"), ("b", "same"), ("c", "same")]);
    chmod(tree.join("b"), 0o644);
    let report = fixture.run();
    assert_eq!(report.suspicious, [tree.join("b")]);
    assert_eq!(report.linked, 1);
    assert_eq!(fs::metadata(tree.join("b")).unwrap().nlink(), 1);
}

#[test]
fn a_link_that_is_not_what_its_name_says_takes_no_files_place() {
    // Shorter, as long, and writable.
    let damages: [fn(&Path); 3] = [
        |link| fs::write(link, "sam").unwrap(),
        |link| fs::write(link, "emas").unwrap(),
        |link| fs::write(link, "same").unwrap(),
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let fixture = fixture(false);
        let first = fixture.add("first", &[("a", "same")]);
        fixture.run();
        let link = fixture.links().pop().unwrap();
        chmod(&link, 0o644);
        damage(&link);
        if number < 2 {
            chmod(&link, 0o444);
        }
        let second = fixture.add("second", &[("b", "same"), ("c", "same")]);
        let report = fixture.run();
        assert_eq!(report.corrupted_links.as_slice(), from_ref(&link));
        assert_eq!(fs::read_to_string(second.join("c")).unwrap(), "same");
        assert_eq!(inode(second.join("b")), inode(second.join("c")));
        assert_ne!(inode(second.join("b")), inode(first.join("a")));
        assert_eq!(fs::read_to_string(&link).unwrap(), "same");
    }
}

#[test]
fn a_link_whose_metadata_are_wrong_takes_no_files_place() {
    let damages: [fn(&Path); 3] = [
        |link| chmod(link, 0o400),
        |link| chmod(link, 0o4444),
        |link| {
            let link = fs::File::open(link).unwrap();
            link.set_modified(std::time::UNIX_EPOCH).unwrap();
        },
    ];
    for auto_optimise in [false, true] {
        for damage in damages {
            let fixture = fixture(auto_optimise);
            let first = fixture.add("first", &[("a", "same")]);
            fixture.run();
            let link = fixture.links().pop().unwrap();
            damage(&link);
            let second = fixture.add("second", &[("b", "same"), ("c", "same")]);
            if !auto_optimise {
                assert_eq!(fixture.run().corrupted_links.as_slice(), from_ref(&link));
            }
            for file in [&link, &second.join("b"), &second.join("c")] {
                let found = fs::metadata(file).unwrap();
                assert_eq!((found.mode() & 0o7777, found.mtime()), (0o444, 1));
                assert_eq!(found.nlink(), 3, "{}", file.display());
            }
            assert_ne!(inode(second.join("b")), inode(first.join("a")));
        }
    }
}

#[test]
fn repaired_metadata_are_not_taken_over_from_a_link_again() {
    let fixture = fixture(true);
    let tree = fixture.add("tree", &[("a", "same"), ("b", "same")]);
    let faulty = fs::File::open(tree.join("a")).unwrap();
    faulty.set_modified(std::time::UNIX_EPOCH).unwrap();
    let verify = |remedy| {
        let options = crate::VerifyOptions {
            contents: crate::CheckContents::Yes,
            metadata: true,
            remedy,
            ..crate::VerifyOptions::default()
        };
        let report = fixture.store.verify_with(&options, &mut [], &mut ());
        report.unwrap()
    };
    assert_eq!(verify(crate::Remedy::Repair).repaired.len(), 1);
    assert!(verify(crate::Remedy::Report).is_clean());
    assert_eq!(fs::metadata(tree.join("a")).unwrap().mtime(), 1);
}

#[test]
fn what_a_killed_run_left_is_put_right() {
    let fixture = fixture(false);
    let tree = fixture.add("tree", &[("dir/a", "x")]);
    chmod(tree.join("dir"), 0o755);
    fs::rename(tree.join("dir/a"), tree.join("dir/b")).unwrap();
    fs::rename(tree.join("dir/b"), tree.join("dir/a")).unwrap();
    assert_ne!(fs::metadata(tree.join("dir")).unwrap().mtime(), 1);
    fixture.run();
    assert_canonical(&tree.join("dir"));
}

#[test]
fn a_run_that_is_told_to_stop_does() {
    struct Once(std::sync::atomic::AtomicU32);
    impl OptimiseProgress for Once {
        fn path(&self, _: &StorePath) -> bool {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 1
        }
    }
    let fixture = fixture(false);
    for i in 0..9 {
        fixture.add(&format!("tree-{i}"), &[("a", &format!("{i}"))]);
    }
    let options = OptimiseOptions {
        dry_run: false,
        threads: NonZeroUsize::new(1),
    };
    let progress = Once(0.into());
    let report = fixture.store.optimise(&options, &progress).unwrap();
    assert!(report.stopped);
    assert_eq!(report.new_links, 1);
}

/// Joins a file of the store directory whose place another one took since it was hashed.
fn join_after(change: fn(&Path)) -> (Joined, Option<String>) {
    let fixture = fixture(false);
    fixture.add("tree", &[("a", "same")]);
    let single = fixture.add_file("single", "same");
    fixture.run();
    let memory = Memory::default();
    let private = fixture.store.private_dir().unwrap();
    let action = Action::Link(private.fd());
    let links = fixture.store.layout().links_dir();
    // As it was before it was made a link.
    fs::remove_file(&single).unwrap();
    fs::write(&single, "same").unwrap();
    let linker = Linker::new(action, links, None, Survives::Anyway, &memory).unwrap();
    let dir = fs::File::open(single.parent().unwrap()).unwrap();
    let name = single.file_name().unwrap().as_encoded_bytes();
    let name = std::ffi::CString::new(name).unwrap();
    let stat = rustix::fs::statat(&dir, &name, rustix::fs::AtFlags::empty()).unwrap();
    let mut nar = Vec::new();
    nix_nar::write_regular(b"same", false, &mut nar).unwrap();
    let candidate = Candidate {
        dir: dir.as_fd(),
        name: &name,
        stat,
        hash: NarHash::of(&nar),
        parent: None,
        is_exposed: true,
    };
    change(&single);
    let mut hasher = super::hash::FileHasher::new();
    let joined = linker.join(&candidate, &mut hasher).unwrap();
    assert_eq!(fs::read_dir(private.path()).unwrap().count(), 0);
    (joined, fs::read_to_string(&single).ok())
}

#[test]
fn a_file_that_another_one_replaced_meanwhile_stays() {
    let (joined, contents) = join_after(|_| {});
    assert!(matches!(joined, Joined::Replaced { frees: true }));
    assert_eq!(contents.as_deref(), Some("same"));
    let (joined, contents) = join_after(|single| {
        let new = single.with_file_name("new");
        fs::write(&new, "different").unwrap();
        fs::rename(new, single).unwrap();
    });
    assert_eq!(joined, Joined::Lost);
    assert_eq!(contents.as_deref(), Some("different"));
}

#[test]
fn a_file_that_a_collector_removed_does_not_come_back() {
    let (joined, contents) = join_after(|single| fs::remove_file(single).unwrap());
    assert_eq!((joined, contents), (Joined::Lost, None));
}

#[test]
fn where_no_more_links_can_be_made_files_stay() {
    let fixture = fixture(false);
    let tree = fixture.add("tree", &[("a", "same")]);
    fixture.run();
    let more = fixture.temp.path().join("more");
    fs::create_dir(&more).unwrap();
    let full =
        (0..70_000).any(|i| fs::hard_link(tree.join("a"), more.join(i.to_string())).is_err());
    if !full {
        test_support::say_missing("THIS FILE SYSTEM HAS NO LIMIT OF LINKS TO TEST", false);
        return;
    }
    let other = fixture.add("other", &[("b", "same")]);
    let report = fixture.run();
    assert_eq!((report.full, report.linked), (1, 0));
    assert_eq!(fs::metadata(other.join("b")).unwrap().nlink(), 1);
    assert_canonical(&other);
}

#[test]
fn what_is_added_shares_files_at_once_if_the_store_is_opened_so() {
    let fixture = fixture(true);
    let first = fixture.add("first", FILES);
    assert_eq!(inode(first.join("a")), inode(first.join("dir/b")));
    assert_eq!(fixture.links().len(), 5);
    let second = fixture.add("second", &[("x", "the same"), ("dir/y", "new")]);
    assert_eq!(inode(first.join("a")), inode(second.join("x")));
    let single = fixture.add_file("single", "new");
    assert_eq!(inode(second.join("dir/y")), inode(&single));
    for dir in [first.join("dir"), second.join("dir"), first, second] {
        assert_canonical(&dir);
    }
    // Nothing is left to do, and nothing but the paths is there.
    let report = fixture.run();
    assert_eq!((report.hashed, report.linked), (0, 0));
    assert_eq!(fixture.names(), 4);
}

#[test]
fn nobody_can_link_to_files_of_what_did_not_become_valid() {
    let fixture = fixture(true);
    let batch = crate::ImportBatch::new(&fixture.store);
    let mut nar = Vec::new();
    nix_nar::write_regular(b"text", false, &mut nar).unwrap();
    let base = format!("{}-text", "a".repeat(32));
    let path = StorePath::from_base_name(&base).unwrap();
    let mut info = nix_base::UnkeyedValidPathInfo::new(NarHash::of(&nar), nar.len() as u64);
    let missing = format!("{}-missing", "b".repeat(32));
    info.references
        .insert(StorePath::from_base_name(&missing).unwrap());
    let info = nix_base::ValidPathInfo { path, info };
    batch.stage(info, &mut nar.as_slice()).unwrap();
    assert!(batch.commit().failure.is_some());
    drop(batch);
    assert!(fixture.links().is_empty());
}

#[test]
fn what_is_discarded_keeps_no_disk_space() {
    let fixture = fixture(true);
    let source = fixture.temp.path().join("source");
    fs::create_dir(&source).unwrap();
    for name in ["a", "b", "c"] {
        fs::write(source.join(name), name).unwrap();
    }
    let mut nar = Vec::new();
    nix_nar::fs::dump::dump(&source, &mut nar).unwrap();
    let staging = crate::local::staging::StagingDir::create(&fixture.store).unwrap();
    let store = &fixture.store.layout().real_store;
    let entries = || fs::read_dir(store).unwrap().map(|entry| entry.unwrap());
    let is_private = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().contains("-tmp-");
    let shelf = entries().find(is_private).unwrap().path().join("links");
    let names = || fs::read_dir(&shelf).unwrap().count();
    let tree = staging.unpack(nar.as_slice(), None).unwrap();
    assert_eq!(names(), 3);
    staging.discard(&tree);
    assert_eq!(names(), 0);
    let cut = &nar[..nar.len() - 8];
    staging.unpack(cut, None).unwrap_err();
    assert_eq!(names(), 0);
}

/// A directory with two equal files, in `private`.
fn output<'d>(
    private: &'d crate::PrivateDir,
    digit: &str,
    references: &[&str],
) -> crate::NewOutput<'d> {
    let base = |digit: &str| format!("{}-output", digit.repeat(32));
    let tree = private.path().join(base(digit));
    fs::create_dir(&tree).unwrap();
    for name in ["a", "b"] {
        fs::write(tree.join(name), "built").unwrap();
        chmod(tree.join(name), 0o444);
    }
    chmod(&tree, 0o555);
    let time = rustix::fs::Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    let times = rustix::fs::Timestamps {
        last_access: time,
        last_modification: time,
    };
    let dir = fs::File::open(&tree).unwrap();
    rustix::fs::futimens(&dir, &times).unwrap();
    let path = |digit: &str| StorePath::from_base_name(&base(digit)).unwrap();
    let mut info = nix_base::UnkeyedValidPathInfo::new(NarHash::of(b"not looked at"), 1);
    info.references = references.iter().map(|digit| path(digit)).collect();
    crate::NewOutput {
        dir: private.fd(),
        name: base(digit).into(),
        info: nix_base::ValidPathInfo {
            path: path(digit),
            info,
        },
    }
}

#[test]
fn what_is_built_shares_files_when_it_is_valid() {
    let fixture = fixture(true);
    let source = fixture.add("source", &[("x", "built")]);
    let private = fixture.store.private_dir().unwrap();
    let (first, second) = (output(&private, "a", &[]), output(&private, "b", &["a"]));
    let real = |output: &crate::NewOutput<'_>| fixture.store.layout().real_path(&output.info.path);
    let (a, b) = (real(&first), real(&second));
    // What fails shares nothing.
    let bad = output(&private, "c", &["d"]);
    fixture.store.register_outputs(&[bad], &[]).unwrap_err();
    assert_eq!(fixture.links().len(), 1);
    fixture
        .store
        .register_outputs(&[first, second], &[])
        .unwrap();
    for file in [a.join("a"), a.join("b"), b.join("a"), b.join("b")] {
        assert_eq!(inode(file), inode(source.join("x")));
    }
    assert_canonical(&a);
    assert_canonical(&b);
    assert_eq!(fixture.links().len(), 1);
}
