//! Tests of this module.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix_base::StoreDir;

use super::*;
use crate::layout::StoreLayout;
use crate::lock::{GcLock, LockMode, Wait};

const A: &str = "00000000000000000000000000000001-a";

struct Fixture {
    root: tempfile::TempDir,
    layout: StoreLayout,
}

impl Fixture {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let layout = StoreLayout::chroot(StoreDir::default(), root.path());
        fs::create_dir_all(layout.gc_roots_dir().join("auto")).unwrap();
        Self { root, layout }
    }

    fn auto(&self, name: &str) -> PathBuf {
        self.layout.gc_roots_dir().join("auto").join(name)
    }

    fn find(&self) -> Found {
        let mut found = Found::default();
        permanent::find(&self.layout, Stale::Remove, &mut found);
        found
    }

    fn names_in(&self, dir: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

fn object() -> String {
    format!("/nix/store/{A}")
}

#[test]
fn a_store_without_roots_has_none() {
    let root = tempfile::tempdir().unwrap();
    let layout = StoreLayout::chroot(StoreDir::default(), root.path());
    let mut found = Found::default();
    permanent::find(&layout, Stale::Remove, &mut found);
    assert!(found.candidates.is_empty() && found.notes.is_empty());
}

#[test]
fn roots_that_an_operator_moved_elsewhere_are_found() {
    let f = Fixture::new();
    let elsewhere = f.root.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(object(), elsewhere.join("system")).unwrap();
    symlink(&elsewhere, f.layout.profiles_dir()).unwrap();
    let found = f.find();
    let link = RootSource::Link(f.layout.profiles_dir().join("system"));
    assert_eq!(found.candidates[0].source, link);
    assert_eq!(found.candidates.len(), 1);
}

#[test]
fn stale_links_vanish_and_live_ones_stay() {
    let f = Fixture::new();
    let home = f.root.path().join("home");
    fs::create_dir(&home).unwrap();
    symlink(object(), home.join("result")).unwrap();
    symlink(home.join("result"), f.auto("live")).unwrap();
    symlink(home.join("gone"), f.auto("stale")).unwrap();
    symlink(home.join("result/below-a-link"), f.auto("no-directory")).unwrap();
    let found = f.find();
    assert_eq!(found.candidates.len(), 1);
    assert_eq!(
        found.candidates[0].source,
        RootSource::Link(home.join("result"))
    );
    assert_eq!(f.names_in(&f.auto("")), [f.auto("live")]);
    assert_eq!(found.notes.len(), 2);
}

#[test]
fn a_root_that_is_made_again_while_stale_links_are_removed_is_not_lost() {
    let f = Fixture::new();
    let home = f.root.path().join("home");
    fs::create_dir(&home).unwrap();
    let (result, auto) = (home.join("result"), f.auto("root"));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let mut found = Found::default();
                permanent::find(&f.layout, Stale::RemoveBesideNoCollector, &mut found);
            }
        });
        for round in 0..1000 {
            // As real Nix makes an indirect root: first the target, then the link to it.
            symlink(object(), &result).unwrap();
            let fresh = f.auto(&format!("root.tmp-{round}"));
            symlink(&result, &fresh).unwrap();
            fs::rename(&fresh, &auto).unwrap();
            let collector = GcLock::acquire(&f.layout.state, LockMode::Exclusive, Wait::Forever);
            let found = f.find().candidates;
            drop(collector.unwrap());
            assert!(!found.is_empty(), "lost in round {round}");
            fs::remove_file(&result).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn who_only_looks_removes_nothing_beside_a_collector() {
    let f = Fixture::new();
    symlink(f.root.path().join("gone"), f.auto("stale")).unwrap();
    let look = || {
        let mut found = Found::default();
        permanent::find(&f.layout, Stale::RemoveBesideNoCollector, &mut found);
        found.notes.len()
    };
    let collector = GcLock::acquire(&f.layout.state, LockMode::Exclusive, Wait::Never).unwrap();
    assert_eq!((look(), f.names_in(&f.auto("")).len()), (0, 1));
    drop(collector);
    assert_eq!((look(), f.names_in(&f.auto("")).len()), (1, 0));
}

#[test]
fn links_are_led_by_their_letters() {
    let f = Fixture::new();
    let home = f.root.path().join("home");
    fs::create_dir(&home).unwrap();
    symlink(object(), home.join("result")).unwrap();
    let link = |target: PathBuf, name: &str| symlink(target, f.auto(name)).unwrap();
    link(home.join("no-such-dir/../result"), "roundabout");
    link(PathBuf::from("../../../../../home//./result"), "relative");
    let found = f.find();
    let sources: Vec<_> = found.candidates.iter().map(|root| &root.source).collect();
    let expected = RootSource::Link(home.join("result"));
    assert_eq!(sources, [&expected, &expected]);
}

#[test]
fn what_is_unreadable_stops_a_collection() {
    let unreadable = |code| RootNote::Unreadable {
        path: PathBuf::from("/nix/var/nix/gcroots/x"),
        error: io::Error::from_raw_os_error(code),
    };
    let invalid = RootNote::Invalid {
        link: PathBuf::from("/a"),
        target: PathBuf::from("/b"),
    };
    let mut roots = Roots {
        roots: Vec::new(),
        notes: vec![invalid],
    };
    roots.require_complete().unwrap();
    roots
        .notes
        .push(unreadable(rustix::io::Errno::ACCESS.raw_os_error()));
    let error = roots.require_complete().unwrap_err();
    assert!(error.is_forbidden());
    assert_eq!(
        error.to_string(),
        "cannot find roots in '/nix/var/nix/gcroots/x'"
    );
}

#[test]
fn sources_print_as_in_real_nix() {
    let process = |what| RootSource::Process { pid: 7, what }.to_string();
    assert_eq!(process(ProcessUse::Executable), "/proc/7/exe");
    assert_eq!(process(ProcessUse::WorkingDirectory), "/proc/7/cwd");
    assert_eq!(process(ProcessUse::Descriptor(3)), "/proc/7/fd/3");
    assert_eq!(process(ProcessUse::Maps), "/proc/7/maps");
    assert_eq!(process(ProcessUse::Environment), "/proc/7/environ");
    assert_eq!(RootSource::TempRoots { pid: 7 }.to_string(), "{temp:7}");
}
