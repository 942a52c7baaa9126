use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix_base::StorePathSet;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::*;
use crate::gc::testing::{Site, is_there};
use crate::gc::{Freed, GcPolicy};
use crate::local::{Access, StoreConfig};

/// a ← b ← c; d alone.
fn site() -> Site {
    let site = Site::new();
    site.add("a-x", &[]);
    site.add("b-x", &["a-x", "b-x"]);
    site.add("c-x", &["b-x"]);
    site.add("d-x", &[]);
    site
}

fn delete_dead() -> GcOptions {
    GcOptions::new(GcAction::DeleteDead)
}

fn delete(site: &Site, names: &[&str], ignore_liveness: bool) -> GcReport {
    let paths: StorePathSet = names.iter().map(|name| site.path(name)).collect();
    site.collect(&GcOptions::new(GcAction::DeleteSpecific {
        paths,
        ignore_liveness,
    }))
}

/// Makes `name` look as if it was used last at `time`.
fn used_at(site: &Site, name: &str, time: i64) {
    let stamp = |tv_sec| Timespec { tv_sec, tv_nsec: 0 };
    let times = Timestamps {
        last_access: stamp(time),
        last_modification: stamp(1),
    };
    utimensat(CWD, site.real(name), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[test]
fn what_no_root_needs_goes_with_its_rows_and_files() {
    let site = site();
    site.root("b-x");
    let report = site.delete_dead();
    assert_eq!(site.valid(), "ab");
    assert_eq!(site.entries().len(), 2);
    assert_eq!((report.deleted, report.spared), (2, 0));
    assert_eq!(report.paths, [site.path("c-x"), site.path("d-x")]);
    assert_eq!(report.freed.lengths, 2 * 3000);
    assert!(report.freed.on_disk >= 2 * 4096, "{:?}", report.freed);
    assert!(report.failures.is_empty());
    assert_eq!(site.delete_dead().deleted, 0);
}

#[test]
fn leftovers_go_except_those_that_somebody_holds() {
    let site = site();
    site.root("c-x");
    site.root("d-x");
    let real_store = site.store.layout().real_store.clone();
    fs::create_dir(real_store.join("junk")).unwrap();
    fs::create_dir(real_store.join("tmp-1-1")).unwrap();
    fs::create_dir(real_store.join("tmp-1-2")).unwrap();
    fs::write(site.real("f-partial"), "x").unwrap();
    let lock = |name: &str| site.store.layout().path_lock(&site.path(name));
    fs::write(lock("g-held"), "").unwrap();
    fs::write(lock("h-free"), "").unwrap();
    fs::create_dir_all(site.real("a-x").with_extension("old-1")).unwrap();
    let held = fs::File::open(real_store.join("tmp-1-2")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let other = site.again();
    other.add_temp_root(&site.path("g-held")).unwrap();

    let dead = site.collect(&GcOptions::new(GcAction::ReturnDead));
    assert_eq!(dead.paths.len() + dead.leftovers.len(), 6, "{dead:?}");
    let report = site.delete_dead();
    assert_eq!(report.deleted, 5, "{report:?}");
    assert_eq!(site.valid(), "abcd");
    assert!(is_there(&lock("g-held")) && is_there(&real_store.join("tmp-1-2")));
    assert_eq!(site.entries().len(), 6);
}

#[test]
fn temporary_roots_keep_what_they_refer_to() {
    let site = site();
    let other = site.again();
    other.add_temp_root(&site.path("b-x")).unwrap();
    assert_eq!(site.delete_dead().deleted, 2);
    assert_eq!(site.valid(), "ab");
    drop(other);
    site.delete_dead();
    assert_eq!(site.valid(), "");
}

/// Does something when a collection has made up its mind.
struct AtTheLastMoment<F>(Option<F>);

impl<F: FnOnce()> GcProgress for AtTheLastMoment<F> {
    fn phase(&mut self, phase: GcPhase) {
        if phase == GcPhase::Deleting
            && let Some(act) = self.0.take()
        {
            act();
        }
    }
}

#[test]
fn roots_that_come_while_it_runs_are_spared_with_what_they_refer_to() {
    let site = site();
    let other = site.again();
    let mut progress = AtTheLastMoment(Some(|| {
        other.add_temp_root(&site.path("b-x")).unwrap();
    }));
    let report = site
        .store
        .collect_garbage(&delete_dead(), &mut progress)
        .unwrap();
    assert_eq!(site.valid(), "ab");
    assert_eq!((report.deleted, report.spared), (2, 1));
}

#[test]
fn what_a_new_path_refers_to_is_spared_even_if_nobody_pinned_it() {
    let site = site();
    let mut progress = AtTheLastMoment(Some(|| {
        site.add("f-new", &["b-x"]);
    }));
    let report = site
        .store
        .collect_garbage(&delete_dead(), &mut progress)
        .unwrap();
    assert_eq!(site.valid(), "abf");
    assert_eq!((report.deleted, report.spared), (2, 2));
}

#[test]
fn what_became_valid_meanwhile_is_no_leftover() {
    let site = site();
    let real = site.real("f-late");
    fs::create_dir(&real).unwrap();
    let mut progress = AtTheLastMoment(Some(|| {
        fs::remove_dir(&real).unwrap();
        site.add("f-late", &[]);
    }));
    site.store
        .collect_garbage(&delete_dead(), &mut progress)
        .unwrap();
    assert_eq!(site.valid(), "f");
}

#[test]
fn it_stops_when_told_to() {
    struct Stop;
    impl GcProgress for Stop {
        fn is_cancelled(&mut self) -> bool {
            true
        }
    }
    let site = site();
    let report = site
        .store
        .collect_garbage(&delete_dead(), &mut Stop)
        .unwrap();
    assert!(report.cancelled && report.deleted == 0);
    assert_eq!(site.valid(), "abcd");
}

#[test]
fn it_stops_once_more_was_freed_than_was_wanted() {
    let site = site();
    let mut options = delete_dead();
    options.max_freed = Some(0);
    assert_eq!(site.collect(&options).deleted, 0);
    options.max_freed = Some(3000);
    let report = site.collect(&options);
    assert!(report.reached_limit && report.deleted == 2, "{report:?}");
    assert_eq!(report.kept_dead, 2);
    assert_eq!(site.valid(), "ab");
}

#[test]
fn what_was_used_lately_stays_with_what_it_refers_to() {
    let site = site();
    for (name, time) in [("a-x", 2_000_000), ("b-x", 2_000_000), ("c-x", 5_000_000)] {
        used_at(&site, name, time);
    }
    used_at(&site, "d-x", 3_000_000);
    let mut options = delete_dead();
    options.policy.unused_since = Some(4_000_000);
    assert_eq!(site.collect(&options).kept_dead, 3);
    assert_eq!(site.valid(), "abc");
    options.policy.unused_since = Some(6_000_000);
    site.collect(&options);
    assert_eq!(site.valid(), "");
}

#[test]
fn the_least_recently_used_go_until_enough_is_free() {
    let size = |site: &Site| {
        512 * fs::metadata(site.real("a-x").join("file"))
            .unwrap()
            .blocks()
    };
    let site = site();
    for (name, time) in [("c-x", 2_000_000), ("d-x", 3_000_000), ("b-x", 4_000_000)] {
        used_at(&site, name, time);
    }
    used_at(&site, "a-x", 1_500_000);
    let policy = |keep| GcPolicy {
        keep_bytes: Some(keep),
        ..GcPolicy::default()
    };
    let mut options = delete_dead();
    options.policy = policy(4 * size(&site));
    assert_eq!(site.collect(&options).deleted, 0);
    options.policy = policy(3 * size(&site));
    assert_eq!(site.collect(&options).paths, [site.path("c-x")]);
    options.policy = policy(2 * size(&site));
    assert_eq!(site.collect(&options).paths, [site.path("d-x")]);
    options.policy = GcPolicy {
        free_bytes: Some(1),
        ..GcPolicy::default()
    };
    assert_eq!(site.collect(&options).deleted, 0);
    options.policy.free_bytes = Some(u64::MAX);
    assert_eq!(site.collect(&options).deleted, 2);
}

#[test]
fn leftovers_are_no_garbage_that_may_be_kept() {
    let site = site();
    let leftover = site.real("z-leftover");
    fs::write(&leftover, vec![0; 1 << 20]).unwrap();
    let mut options = delete_dead();
    options.policy.keep_bytes = Some(u64::MAX);
    options.policy.free_bytes = Some(0);
    let report = site.collect(&options);
    assert_eq!(report.paths, [site.path("z-leftover")]);
    fs::write(&leftover, vec![0; 1 << 20]).unwrap();
    options.policy.keep_bytes = Some(0);
    let report = site.collect(&options);
    assert_eq!((report.deleted, report.kept_dead), (5, 0), "{report:?}");
}

/// Gives `name` in the object of `path` the file that the links directory has as `link`.
fn share(site: &Site, link: &Path, path: &str, name: &str) {
    fs::hard_link(link, site.real(path).join(name)).unwrap();
}

#[test]
fn shared_files_count_once_and_only_with_their_last_name() {
    let site = site();
    let links = site.store.layout().links_dir();
    let link = |name: &str, size: usize| {
        let link = links.join(name);
        fs::write(&link, vec![7; size]).unwrap();
        link
    };
    let [both, half] = [link("both", 50_000), link("half", 70_000)];
    share(&site, &both, "c-x", "shared");
    share(&site, &both, "d-x", "shared");
    share(&site, &half, "d-x", "half");
    share(&site, &half, "a-x", "half");
    site.root("b-x");
    let block = |path: &Path| 512 * fs::metadata(path).unwrap().blocks();
    let expected = Freed {
        on_disk: block(&both) + 2 * block(&site.real("c-x").join("file")),
        lengths: 50_000 + 2 * 3000,
    };
    let mut options = delete_dead();
    options.dry_run = true;
    let dry = site.collect(&options);
    assert_eq!(dry.freed, expected);
    assert_eq!(site.valid(), "abcd");
    let wet = site.delete_dead();
    assert_eq!(wet.freed, expected);
    assert_eq!((wet.deleted, wet.paths), (dry.deleted, dry.paths));
    assert!(is_there(&half) && !is_there(&both));
}

#[test]
fn named_paths_go_if_only_they_refer_to_each_other() {
    let site = site();
    site.root("d-x");
    let refused = delete(&site, &["a-x"], false);
    assert_eq!(refused.still_alive, Some(site.path("a-x")));
    let error = refused.require_dead(site.store.store_dir()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("Cannot delete path '/nix/store/aaaa")
    );
    assert_eq!(delete(&site, &["d-x"], false).deleted, 0);
    let done = delete(&site, &["b-x", "c-x", "f-absent"], false);
    assert_eq!((done.deleted, done.still_alive), (3, None));
    assert_eq!(site.valid(), "ad");
    assert_eq!(delete(&site, &["d-x"], true).deleted, 1);
    assert_eq!(site.valid(), "a");
}

#[test]
fn named_paths_before_the_first_that_is_alive_go() {
    let site = site();
    site.root("b-x");
    let report = delete(&site, &["a-x", "c-x", "d-x"], false);
    assert_eq!(
        (report.deleted, report.still_alive),
        (0, Some(site.path("a-x")))
    );
    let site = self::site();
    site.root("d-x");
    let report = delete(&site, &["c-x", "d-x"], false);
    assert_eq!(
        (report.deleted, report.still_alive),
        (1, Some(site.path("d-x")))
    );
    assert_eq!(site.valid(), "abd");
}

#[test]
fn other_peoples_temporary_roots_count_even_where_liveness_does_not() {
    let site = site();
    let other = site.again();
    other.add_temp_root(&site.path("d-x")).unwrap();
    assert_eq!(
        delete(&site, &["d-x"], true).still_alive,
        Some(site.path("d-x"))
    );
    assert_eq!(site.valid(), "abcd");
}

#[test]
fn looking_takes_no_locks_and_needs_no_right_to_write() {
    let site = site();
    site.root("b-x");
    let _collector = CollectorLocks::acquire(
        &site.store.layout().state,
        site.store.store_dir(),
        Wait::Never,
    )
    .unwrap()
    .unwrap();
    let reader = LocalStore::open(StoreConfig {
        access: Access::ReadOnly,
        ..site.store.config().clone()
    })
    .unwrap();
    let names = |action| -> Vec<String> {
        let report = reader.collect_garbage(&GcOptions::new(action), &mut ());
        let paths = report.unwrap().paths;
        paths.iter().map(|path| path.name().to_string()).collect()
    };
    assert_eq!(names(GcAction::ReturnLive), ["a-x", "b-x"]);
    assert_eq!(names(GcAction::ReturnDead), ["c-x", "d-x"]);
    let refused = reader.collect_garbage(&delete_dead(), &mut ()).unwrap_err();
    assert!(refused.is_read_only(), "{refused}");
}

#[test]
fn another_collector_is_not_waited_for_if_so_asked() {
    let site = site();
    let _collector = CollectorLocks::acquire(
        &site.store.layout().state,
        site.store.store_dir(),
        Wait::Never,
    )
    .unwrap();
    let report = site
        .store
        .try_collect_garbage(&delete_dead(), Wait::Never, &mut ());
    assert_eq!(report.unwrap(), None);
    assert_eq!(site.valid(), "abcd");
}

#[test]
fn a_full_disk_is_made_room_on_by_itself() {
    let full = |free: bool| {
        let site = Site::with(|config| {
            config.auto_gc = Some(crate::gc::AutoGc {
                min_free: if free { 0 } else { u64::MAX },
                max_free: None,
                check_interval: std::time::Duration::ZERO,
                keep_outputs: false,
                keep_derivations: true,
            });
        });
        site.add("a-x", &[]);
        site.add("b-x", &[]);
        site.root("b-x");
        site.store.collect_if_full();
        site.valid()
    };
    assert_eq!(full(true), "ab");
    assert_eq!(full(false), "b");
}
