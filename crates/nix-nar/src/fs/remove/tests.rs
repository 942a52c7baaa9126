use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::mkdirat;

use super::*;

fn remove(dir: &Path, name: &str) -> Result<RemoveStats> {
    let parent = File::open(dir).unwrap();
    remove_tree(parent.as_fd(), OsStr::new(name))
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

#[test]
fn removes_files_links_and_directories() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("a/b")).unwrap();
    fs::write(tree.join("a/b/file"), "x").unwrap();
    symlink("nowhere", tree.join("a/link")).unwrap();
    fs::write(dir.path().join("other"), "stays").unwrap();
    let stats = remove(dir.path(), "tree").unwrap();
    assert_eq!(
        stats,
        RemoveStats {
            files: 2,
            directories: 3,
            ..RemoveStats::default()
        }
    );
    assert!(!is_there(&tree));
    assert!(is_there(&dir.path().join("other")));
}

#[test]
fn removes_roots_that_are_no_directories_without_following_them() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("target")).unwrap();
    fs::write(dir.path().join("target/canary"), "stays").unwrap();
    symlink("target", dir.path().join("link")).unwrap();
    fs::write(dir.path().join("file"), "goes").unwrap();
    assert_eq!(remove(dir.path(), "link").unwrap().files, 1);
    assert_eq!(remove(dir.path(), "file").unwrap().files, 1);
    assert_eq!(
        fs::read(dir.path().join("target/canary")).unwrap(),
        b"stays"
    );
}

#[test]
fn never_follows_links_inside_of_the_tree() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("canary"), "stays").unwrap();
    fs::create_dir(dir.path().join("tree")).unwrap();
    symlink(&outside, dir.path().join("tree/link")).unwrap();
    remove(dir.path(), "tree").unwrap();
    assert!(is_there(&outside.join("canary")));
}

#[test]
fn removes_more_entries_than_are_noted_at_once() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..PENDING * 2 + 10 {
        fs::create_dir_all(dir.path().join(format!("tree/{i}/sub"))).unwrap();
    }
    let stats = remove(dir.path(), "tree").unwrap();
    assert_eq!(stats.directories, 2 * (PENDING as u64 * 2 + 10) + 1);
    assert!(!is_there(&dir.path().join("tree")));
}

#[test]
fn removes_any_depth_with_few_descriptors() {
    let dir = tempfile::tempdir().unwrap();
    // More than a process may have open by default.
    let depth = 1200;
    let mut at = OwnedFd::from(File::open(dir.path()).unwrap());
    for i in 0..depth {
        let name = if i == 0 { c"tree" } else { c"d" };
        mkdirat(&at, name, Mode::RWXU).unwrap();
        if i % 20 == 1 {
            mkdirat(&at, c"twin", Mode::RWXU).unwrap();
        }
        at = openat(&at, name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let stats = remove(dir.path(), "tree").unwrap();
    assert_eq!(stats.directories, depth + depth / 20);
    assert!(!is_there(&dir.path().join("tree")));
}

#[test]
fn removes_what_its_modes_forbid_to_read_or_change() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("tree/closed/inner")).unwrap();
    fs::write(dir.path().join("tree/closed/inner/file"), "x").unwrap();
    for (name, mode) in [("closed/inner", 0o555), ("closed", 0o000), ("", 0o444)] {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(dir.path().join("tree").join(name), permissions).unwrap();
    }
    remove(dir.path(), "tree").unwrap();
    assert!(!is_there(&dir.path().join("tree")));
}

#[test]
fn refuses_names_that_are_no_single_component() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    for name in ["", ".", "..", "a/b", "/", "a/"] {
        assert!(
            matches!(remove(dir.path(), name), Err(Error::Unwritable { .. })),
            "'{name}'"
        );
    }
    assert!(is_there(&dir.path().join("a/b")));
}

#[test]
fn a_missing_tree_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    assert!(remove(dir.path(), "tree").unwrap_err().is_not_found());
}

#[test]
fn refuses_to_cross_a_mount() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("tree/proc")).unwrap();
    let parent = File::open(dir.path()).unwrap();
    // A directory of another mount stands in for one that is mounted there.
    let elsewhere = File::open("/proc/self").unwrap();
    let here = Mount::of(parent.as_fd(), c"").unwrap();
    let there = Mount::of(elsewhere.as_fd(), c"").unwrap();
    assert!(here != there);
    let remover = Remover {
        levels: Vec::new(),
        mount: here,
        moved: 0,
        dirents: Vec::with_capacity(DIRENTS),
        stats: RemoveStats::default(),
        measured: false,
    };
    let failure = remover.open(elsewhere.as_fd(), c"fd").err().unwrap();
    let error = failure.explain(OsStr::new("tree"), &[]);
    assert!(matches!(error, Error::MountPoint { .. }), "{error:?}");
}

/// CVE-2022-21658 and CVE-2025-46415: a directory is swapped for a link
/// between the moment it is seen and the moment it is entered.
#[test]
fn a_racing_swap_for_a_link_never_leads_outside() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    for i in 0..50 {
        fs::write(outside.join(format!("canary-{i}")), "stays").unwrap();
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (victim, link) = (dir.path().join("tree/victim"), dir.path().join("spare"));
            let _ = symlink(&outside, &link);
            let both = [&victim, &link].map(|path| CString::new(path.as_os_str().as_bytes()));
            let [Ok(victim), Ok(link)] = both else { return };
            while !stop.load(Ordering::Relaxed) {
                let _ = renameat_with(CWD, &victim, CWD, &link, RenameFlags::EXCHANGE);
            }
        });
        for _ in 0..150 {
            let _ = fs::create_dir_all(dir.path().join("tree/victim/deeper"));
            let _ = fs::write(dir.path().join("tree/victim/deeper/file"), "x");
            // Whether a round succeeds is a matter of luck; what counts are the canaries.
            let _ = remove(dir.path(), "tree");
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(
        fs::read_dir(&outside)
            .unwrap()
            .filter(|e| {
                e.as_ref()
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .starts_with("canary-")
            })
            .count(),
        50
    );
}

#[test]
fn measures_files_whose_last_name_goes() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("a")).unwrap();
    fs::write(tree.join("a/twice"), vec![1; 9000]).unwrap();
    fs::hard_link(tree.join("a/twice"), tree.join("a/again")).unwrap();
    fs::write(tree.join("a/shared"), vec![1; 90_000]).unwrap();
    fs::hard_link(tree.join("a/shared"), dir.path().join("kept")).unwrap();
    let blocks = std::os::unix::fs::MetadataExt::blocks(
        &fs::symlink_metadata(tree.join("a/twice")).unwrap(),
    );
    let parent = File::open(dir.path()).unwrap();
    let stats = remove_tree_measured(parent.as_fd(), OsStr::new("tree")).unwrap();
    assert_eq!(stats.freed_bytes, blocks * 512);
    assert_eq!(stats.freed_lengths, 9000);
    assert!(!is_there(&tree) && is_there(&dir.path().join("kept")));
}
