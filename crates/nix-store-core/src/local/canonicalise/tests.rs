use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use nix_base::StoreDir;

use super::*;
use crate::StoreLayout;
use crate::local::{LocalStore, StoreConfig};

struct Fixture {
    temp: tempfile::TempDir,
    store: LocalStore,
}

fn fixture() -> Fixture {
    let temp = tempfile::tempdir().unwrap();
    let layout = StoreLayout::chroot(StoreDir::default(), temp.path());
    let store = LocalStore::init(StoreConfig::new(layout)).unwrap();
    Fixture { temp, store }
}

impl Fixture {
    fn tree(&self) -> PathBuf {
        let tree = self.temp.path().join("tree");
        fs::create_dir(&tree).unwrap();
        tree
    }

    fn canonicalise(&self, uids: Range<u32>) -> Result<()> {
        let private = self.store.private_dir().unwrap();
        let parent = fs::File::open(self.temp.path()).unwrap();
        let mut canonicaliser = Canonicaliser::new(uids, &private);
        let name = OsStr::new("tree");
        canonicaliser.inspect(parent.as_fd(), self.temp.path(), name)?;
        canonicaliser.apply(parent.as_fd(), self.temp.path(), name)
    }
}

fn own() -> Range<u32> {
    let uid = rustix::process::geteuid().as_raw();
    uid..uid + 1
}

fn chmod(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn modes_and_times_become_canonical_whatever_they_were() {
    let fixture = fixture();
    let tree = fixture.tree();
    let modes = [
        (0o4777, 0o555),
        (0o2750, 0o555),
        (0o644, 0o444),
        (0o000, 0o444),
        (0o011, 0o444),
    ];
    for (before, _) in modes {
        let dir = tree.join(format!("{before:o}"));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("file"), "x").unwrap();
        symlink("/dangling", dir.join("link")).unwrap();
        chmod(dir.join("file"), before);
        chmod(dir, before);
    }
    fixture.canonicalise(own()).unwrap();
    for (before, after) in modes {
        let dir = tree.join(format!("{before:o}"));
        assert_eq!(mode(&dir), 0o555, "{before:o}");
        assert_eq!(mode(dir.join("file")), after, "{before:o}");
        for at in [dir.clone(), dir.join("file"), dir.join("link")] {
            let metadata = fs::symlink_metadata(at).unwrap();
            assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1, 0));
        }
    }
    fixture.canonicalise(own()).unwrap();
}

#[test]
fn nothing_is_changed_where_something_is_refused() {
    let fixture = fixture();
    let tree = fixture.tree();
    fs::write(tree.join("file"), "x").unwrap();
    chmod(tree.join("file"), 0o640);
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(CWD, tree.join("pipe"), fifo, Mode::RUSR, 0).unwrap();
    let error = fixture.canonicalise(own()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "file '{}' has an unsupported type",
            tree.join("pipe").display()
        )
    );
    fs::remove_file(tree.join("pipe")).unwrap();
    let others = own().end..own().end + 9;
    let error = fixture.canonicalise(others).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("invalid ownership on file '{}'", tree.display())
    );
    assert_eq!(mode(tree.join("file")), 0o640);
}

#[test]
fn links_are_not_followed() {
    let fixture = fixture();
    let tree = fixture.tree();
    let outside = fixture.temp.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "x").unwrap();
    chmod(outside.join("file"), 0o600);
    symlink(&outside, tree.join("dir")).unwrap();
    symlink(outside.join("file"), tree.join("file")).unwrap();
    fixture.canonicalise(own()).unwrap();
    assert_eq!(mode(outside.join("file")), 0o600);
    assert_ne!(fs::metadata(outside.join("file")).unwrap().mtime(), 1);
}

#[test]
fn files_and_links_with_names_outside_are_copied() {
    let fixture = fixture();
    let tree = fixture.tree();
    let outside = fixture.temp.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "contents").unwrap();
    chmod(outside.join("file"), 0o700);
    symlink("target", outside.join("link")).unwrap();
    for name in ["file", "link"] {
        fs::hard_link(outside.join(name), tree.join(name)).unwrap();
    }
    fs::hard_link(outside.join("file"), tree.join("again")).unwrap();
    fixture.canonicalise(own()).unwrap();
    assert_eq!(mode(outside.join("file")), 0o700);
    assert_eq!(mode(tree.join("file")), 0o555);
    assert_eq!(fs::read(tree.join("file")).unwrap(), b"contents");
    assert_eq!(
        fs::read_link(tree.join("link")).unwrap(),
        Path::new("target")
    );
    for name in ["file", "link"] {
        let before = fs::symlink_metadata(outside.join(name)).unwrap();
        let after = fs::symlink_metadata(tree.join(name)).unwrap();
        assert_ne!(before.ino(), after.ino());
        assert_eq!((before.nlink(), after.nlink()), (1, 1));
        assert_ne!(before.mtime(), 1);
        assert_eq!(after.mtime(), 1);
    }
}

#[test]
fn files_with_all_their_names_inside_stay_one() {
    let fixture = fixture();
    let tree = fixture.tree();
    fs::write(tree.join("a"), "x").unwrap();
    fs::create_dir(tree.join("dir")).unwrap();
    fs::hard_link(tree.join("a"), tree.join("dir/b")).unwrap();
    fixture.canonicalise(own()).unwrap();
    let a = fs::metadata(tree.join("a")).unwrap();
    let b = fs::metadata(tree.join("dir/b")).unwrap();
    assert_eq!(a.ino(), b.ino());
    assert_eq!(a.nlink(), 2);
}

#[test]
fn acls_are_removed() {
    let fixture = fixture();
    let tree = fixture.tree();
    fs::write(tree.join("file"), "x").unwrap();
    // Version 2; entries of tag, rights and id: the user 1234 may write.
    let mut acl = vec![2, 0, 0, 0];
    for (tag, rights, id) in [
        (1u16, 6u16, u32::MAX),
        (2, 6, 1234),
        (4, 4, u32::MAX),
        (16, 6, u32::MAX),
        (32, 4, u32::MAX),
    ] {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&rights.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    let attribute = "system.posix_acl_access";
    let flags = rustix::fs::XattrFlags::empty();
    if rustix::fs::setxattr(tree.join("file"), attribute, &acl, flags).is_err() {
        test_support::say_missing("NO ACLS HERE: THEIR REMOVAL IS NOT TESTED", false);
        return;
    }
    fixture.canonicalise(own()).unwrap();
    let mut value = [0; 256];
    let got = rustix::fs::getxattr(tree.join("file"), attribute, &mut value);
    assert_eq!(got, Err(Errno::NODATA));
    assert_eq!(mode(tree.join("file")), 0o444);
}

#[test]
fn deep_trees_are_refused() {
    let fixture = fixture();
    let tree = fixture.tree();
    let mut deep = tree;
    for _ in 0..80 {
        deep.push("d");
    }
    fs::create_dir_all(deep).unwrap();
    let error = fixture.canonicalise(own()).unwrap_err();
    assert!(matches!(error, CanonicaliseError::TooDeep(_)), "{error}");
}
