use std::fs::{self, File, Metadata as Stat};
use std::io::{BufReader, Seek, Write as _};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::fs::dump::dump;
use crate::tree::{TestDir, Tree, words};
use crate::{MAX_DEPTH, Problem};

fn restore_in(dir: &Path, nar: &[u8], options: &RestoreOptions) -> Result<RestoreStats> {
    let parent = File::open(dir).unwrap();
    restore(&mut &nar[..], parent.as_fd(), OsStr::new("root"), options)
}

fn canonical() -> RestoreOptions {
    RestoreOptions {
        metadata: Metadata::Canonical,
        ..RestoreOptions::default()
    }
}

fn dumped(path: &Path) -> Vec<u8> {
    let mut nar = Vec::new();
    dump(path, &mut nar).unwrap();
    nar
}

fn stat(path: impl AsRef<Path>) -> Stat {
    path.as_ref().symlink_metadata().unwrap()
}

fn sample() -> Tree {
    Tree::dir([
        (
            "dir",
            Tree::dir([("file", Tree::file("x")), ("void", Tree::dir([]))]),
        ),
        ("empty", Tree::file("")),
        ("large", Tree::file(vec![7; 300_000])),
        ("link", Tree::link("dir/nothing")),
        ("program", Tree::File(true, b"#!".to_vec())),
    ])
}

#[test]
fn restores_all_kinds_and_counts_them() {
    let dir = TestDir::new();
    let nar = sample().nar();
    let stats = restore_in(dir.path(), &nar, &RestoreOptions::default()).unwrap();
    let expected = RestoreStats {
        nar_size: nar.len() as u64,
        contents: 300_003,
        files: 4,
        directories: 3,
        symlinks: 1,
    };
    assert_eq!(stats, expected);
    assert!(dumped(&dir.path().join("root")) == nar);
}

#[test]
fn a_root_may_be_a_file_or_a_dangling_link() {
    for tree in [
        Tree::file("x"),
        Tree::File(true, vec![]),
        Tree::link("nowhere"),
    ] {
        let dir = TestDir::new();
        restore_in(dir.path(), &tree.nar(), &canonical()).unwrap();
        assert!(dumped(&dir.path().join("root")) == tree.nar());
        assert_eq!(stat(dir.path().join("root")).mtime(), 1);
    }
}

#[test]
fn canonical_metadata_is_that_of_a_store() {
    let dir = TestDir::new();
    restore_in(dir.path(), &sample().nar(), &canonical()).unwrap();
    let root = dir.path().join("root");
    for (name, mode) in [
        ("", 0o040_555),
        ("dir", 0o040_555),
        ("dir/void", 0o040_555),
        ("dir/file", 0o100_444),
        ("large", 0o100_444),
        ("program", 0o100_555),
        ("link", 0o120_777),
    ] {
        let stat = stat(root.join(name));
        assert_eq!(stat.mode(), mode, "{name}");
        assert_eq!((stat.mtime(), stat.mtime_nsec()), (1, 0), "{name}");
    }
}

#[test]
fn access_lists_are_not_inherited_from_the_store() {
    let dir = TestDir::new();
    // user::rwx user:1:rwx group::r-x mask::rwx other::r-x, as the kernel stores it.
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in [
        (1u16, 7u16, u32::MAX),
        (2, 7, 1),
        (4, 5, u32::MAX),
        (16, 7, u32::MAX),
        (32, 5, u32::MAX),
    ] {
        acl.extend(tag.to_le_bytes());
        acl.extend(perm.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    let set = rustix::fs::setxattr(
        dir.path(),
        "system.posix_acl_default",
        &acl,
        rustix::fs::XattrFlags::empty(),
    );
    if let Err(e) = set {
        test_support::say(&format!(
            "no access lists in '{}' ({e}): not tried",
            dir.path().display()
        ));
        return;
    }
    for (name, tree) in [("tree", sample()), ("file", Tree::file("x"))] {
        let parent = File::open(dir.path()).unwrap();
        let nar = tree.nar();
        restore(
            &mut &nar[..],
            parent.as_fd(),
            OsStr::new(name),
            &canonical(),
        )
        .unwrap();
    }
    for name in [
        "tree",
        "tree/dir",
        "tree/dir/file",
        "tree/program",
        "tree/dir/void",
        "file",
    ] {
        let path = dir.path().join(name);
        let left = rustix::fs::llistxattr_query(&path).unwrap();
        assert_eq!(left, 0, "'{name}' has attributes");
        let executable = !matches!(name, "tree/dir/file" | "file");
        assert_eq!(
            stat(&path).mode() & 0o7777,
            if executable { 0o555 } else { 0o444 },
            "{name}"
        );
    }
}

#[test]
fn the_root_alone_may_stay_writable() {
    let dir = TestDir::new();
    let options = RestoreOptions {
        root_writable: true,
        ..canonical()
    };
    restore_in(dir.path(), &sample().nar(), &options).unwrap();
    assert_eq!(stat(dir.path().join("root")).mode() & 0o7777, 0o755);
    assert_eq!(stat(dir.path().join("root")).mtime(), 1);
    assert_eq!(stat(dir.path().join("root/dir")).mode() & 0o7777, 0o555);
}

/// SEC-10: whatever is there already, nothing is written through it or over it.
#[test]
fn an_existing_object_is_an_error_and_stays() {
    for tree in [
        Tree::file("new"),
        Tree::link("new"),
        Tree::dir([("canary", Tree::file("new"))]),
    ] {
        for existing in [
            "file",
            "directory",
            "link to a directory",
            "link to a file",
            "dangling link",
        ] {
            let dir = TestDir::new();
            let outside = dir.path().join("outside");
            fs::create_dir(&outside).unwrap();
            fs::write(outside.join("canary"), "old").unwrap();
            let root = dir.path().join("root");
            match existing {
                "file" => fs::write(&root, "old").unwrap(),
                "directory" => fs::create_dir(&root).unwrap(),
                "link to a directory" => symlink("outside", &root).unwrap(),
                "link to a file" => symlink("outside/canary", &root).unwrap(),
                _ => symlink("outside/missing", &root).unwrap(),
            }
            let before = dumped(dir.path());
            let error = restore_in(dir.path(), &tree.nar(), &canonical()).unwrap_err();
            assert!(error.is_already_exists(), "{existing}: {error:?}");
            assert!(dumped(dir.path()) == before, "{existing}");
        }
    }
}

/// CVE-2024-45593: a link, then a directory of the same name.
#[test]
fn a_planted_link_is_never_entered() {
    let dir = TestDir::new();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let nar = words(&format!(
        "nix-archive-1 ( type directory \
         entry ( name a node ( type symlink target {} ) ) \
         entry ( name a node ( type directory entry ( name pwn node ( type regular contents x ) ) ) ) )",
        outside.display()
    ));
    let error = restore_in(dir.path(), &nar, &RestoreOptions::default()).unwrap_err();
    assert!(matches!(
        error,
        Error::BadArchive {
            problem: Problem::NotSorted { .. },
            ..
        }
    ));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

/// The same, if the parser did not exist: a link that somebody plants meanwhile.
#[test]
fn a_link_planted_by_another_process_is_never_entered() {
    let dir = TestDir::new();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let parent = File::open(dir.path()).unwrap();
    symlink(&outside, dir.path().join("planted")).unwrap();
    let dir_fd = parent.as_fd();
    assert_eq!(
        create_directory(dir_fd, b"planted", false).unwrap_err().1,
        Errno::EXIST
    );
    assert_eq!(
        create_file(dir_fd, b"planted", false, true).unwrap_err(),
        Errno::EXIST
    );
    let target = BStr::new("x");
    assert_eq!(
        create_symlink(dir_fd, b"planted", target, true)
            .unwrap_err()
            .1,
        Errno::EXIST
    );
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn the_name_of_the_root_is_a_single_component() {
    let dir = TestDir::new();
    let parent = File::open(dir.path()).unwrap();
    for name in ["", ".", "..", "a/b", "/tmp"] {
        let mut nar = &Tree::file("x").nar()[..];
        let result = restore(&mut nar, parent.as_fd(), OsStr::new(name), &canonical());
        assert!(matches!(result, Err(Error::Unwritable { .. })), "'{name}'");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_failure_leaves_what_was_created_for_the_caller_to_remove() {
    let dir = TestDir::new();
    let nar = sample().nar();
    let error = restore_in(dir.path(), &nar[..nar.len() / 2], &canonical()).unwrap_err();
    assert!(error.is_truncated());
    assert!(stat(dir.path().join("root/dir/file")).is_file());
    let parent = File::open(dir.path()).unwrap();
    crate::fs::remove::remove_tree(parent.as_fd(), OsStr::new("root")).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn errors_name_the_file_inside_of_the_tree() {
    let dir = TestDir::new();
    let nar = Tree::dir([("d", Tree::dir([("n", Tree::link("t"))]))]).nar();
    // No file system takes a name of this length together with NUL: make one that is too long.
    let name = "n".repeat(256);
    let parent = File::open(dir.path()).unwrap();
    let error = restore(
        &mut &nar[..],
        parent.as_fd(),
        OsStr::new(&name),
        &canonical(),
    );
    assert!(matches!(error, Err(Error::Unwritable { .. })));
    fs::write(dir.path().join("root"), "").unwrap();
    let error = restore_in(dir.path(), &nar, &canonical()).unwrap_err();
    insta::assert_snapshot!(error, @"cannot create directory 'root'");
}

#[test]
fn the_deepest_tree_is_restored() {
    let dir = TestDir::new();
    let nar = Tree::nested(MAX_DEPTH - 1, Tree::file("deep")).nar();
    restore_in(dir.path(), &nar, &RestoreOptions::default()).unwrap();
    assert!(dumped(&dir.path().join("root")) == nar);
}

#[test]
fn every_kind_of_descriptor_gives_the_same_tree() {
    let large = |seed: u8, size| Tree::file((seed..=250).cycle().take(size).collect::<Vec<_>>());
    let tree = Tree::dir([
        ("a", large(1, 131_072)),
        ("b", large(2, 5_000_001)),
        ("c", Tree::file("small")),
        ("d", large(3, 200_000)),
    ]);
    let nar = tree.nar();
    let dir = TestDir::new();
    let parent = File::open(dir.path()).unwrap();
    let mut options = canonical();
    options.flush = Flush::StartWriteback;

    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&nar).unwrap();
    file.rewind().unwrap();
    restore_from_fd(file.as_fd(), parent.as_fd(), OsStr::new("file"), &options).unwrap();

    std::thread::scope(|scope| {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let bytes = &nar;
        scope.spawn(move || writer.write_all(bytes).unwrap());
        restore_from_fd(reader.as_fd(), parent.as_fd(), OsStr::new("pipe"), &options).unwrap();
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        scope.spawn(move || theirs.write_all(bytes).unwrap());
        restore_from_fd(ours.as_fd(), parent.as_fd(), OsStr::new("socket"), &options).unwrap();
    });
    for name in ["file", "pipe", "socket"] {
        assert!(dumped(&dir.path().join(name)) == nar, "{name}");
    }
}

#[test]
fn a_pipe_that_ends_inside_of_large_contents_is_truncated() {
    let nar = Tree::file(vec![1; 1_000_000]).nar();
    for end in [200_000, 600_000, 1_000_000] {
        let dir = TestDir::new();
        let parent = File::open(dir.path()).unwrap();
        let (reader, mut writer) = std::io::pipe().unwrap();
        let part = &nar[..end];
        std::thread::scope(|scope| {
            scope.spawn(move || writer.write_all(part).unwrap());
            let name = OsStr::new("root");
            let error =
                restore_from_fd(reader.as_fd(), parent.as_fd(), name, &canonical()).unwrap_err();
            assert!(error.is_truncated(), "{error:?}");
        });
    }
}

#[test]
fn the_archive_is_forwarded_while_it_is_restored() {
    let dir = TestDir::new();
    let parent = File::open(dir.path()).unwrap();
    let nar = sample().nar();
    let mut seen = Vec::new();
    let mut reader = NarReader::forwarding(BufReader::with_capacity(1000, &nar[..]), &mut seen)
        .with_limit(nar.len() as u64);
    restore_nar(
        &mut reader,
        parent.as_fd(),
        OsStr::new("root"),
        &canonical(),
    )
    .unwrap();
    assert!(seen == nar);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// SEC-11: what is accepted is what a dump of the tree gives.
    #[test]
    fn a_dump_of_what_was_restored_is_the_same(tree in Tree::arbitrary(), capacity in 1usize..2000) {
        let nar = tree.nar();
        let dir = TestDir::new();
        let parent = File::open(dir.path()).unwrap();
        let mut reader = BufReader::with_capacity(capacity, &nar[..]);
        restore(&mut reader, parent.as_fd(), OsStr::new("root"), &canonical()).unwrap();
        prop_assert!(dumped(&dir.path().join("root")) == nar);
    }
}

/// Hashes nothing, but tells what it saw.
#[derive(Default)]
struct Seen(Vec<String>);

impl WatchFiles for Seen {
    fn begin_file(&mut self, executable: bool, size: u64) {
        self.0.push(format!("{executable} {size} "));
    }

    fn contents(&mut self, data: &[u8]) {
        let last = self.0.last_mut().unwrap();
        last.push_str(&data.len().to_string());
        last.push(' ');
    }

    fn end_file(&mut self, dir: BorrowedFd<'_>, name: &[u8]) {
        // It is complete, and may be replaced.
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        let spare = c"spare";
        rustix::fs::renameat(dir, name, dir, spare).unwrap();
        rustix::fs::renameat(dir, spare, dir, name).unwrap();
        let last = self.0.last_mut().unwrap();
        last.push_str(&format!("{} {}", bstr::BStr::new(name), stat.st_size));
    }

    fn symlink(&mut self, _: BorrowedFd<'_>, name: &[u8], target: &[u8]) {
        let (name, target) = (bstr::BStr::new(name), bstr::BStr::new(target));
        self.0.push(format!("{name} -> {target}"));
    }
}

#[test]
fn who_watches_sees_every_file_in_a_directory() {
    let temp = TestDir::new();
    let source = temp.path().join("source");
    fs::create_dir_all(source.join("dir")).unwrap();
    fs::write(source.join("dir/a"), "abc").unwrap();
    fs::write(source.join("empty"), "").unwrap();
    fs::write(source.join("large"), vec![1; 200_000]).unwrap();
    symlink("dir/a", source.join("link")).unwrap();
    let nar = dumped(&source);
    let parent = File::open(temp.path()).unwrap();
    let mut seen = Seen::default();
    restore_watched(
        &mut NarReader::new(nar.as_slice()),
        parent.as_fd(),
        OsStr::new("copy"),
        &canonical(),
        &mut seen,
    )
    .unwrap();
    assert_eq!(dumped(&temp.path().join("copy")), nar);
    assert_eq!(stat(temp.path().join("copy/dir")).mtime(), 1);
    let large = seen.0.remove(2);
    assert!(large.starts_with("false 200000 ") && large.ends_with(" large 200000"));
    assert_eq!(
        seen.0,
        ["false 3 3 a 3", "false 0 empty 0", "link -> dir/a"]
    );
    // A root that is no directory is not told of.
    let file = dumped(&source.join("large"));
    let mut seen = Seen::default();
    let mut reader = NarReader::new(file.as_slice());
    let name = OsStr::new("file");
    restore_watched(&mut reader, parent.as_fd(), name, &canonical(), &mut seen).unwrap();
    assert!(seen.0.is_empty());
}
