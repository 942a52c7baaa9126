//! Repairs from sources of all kinds.

use std::collections::HashMap;
use std::io::BufRead;
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::error::BoxedCause;

/// Gives archives of its own, whatever they are.
#[derive(Default)]
struct Fake {
    archives: HashMap<StorePath, Vec<u8>>,
    fails: bool,
}

impl RepairSource for Fake {
    fn name(&self) -> &str {
        "fake"
    }

    fn fetch(
        &mut self,
        info: &ValidPathInfo,
        take: &mut dyn FnMut(&mut dyn BufRead) -> Result<()>,
    ) -> Result<Fetched, BoxedCause> {
        if self.fails {
            return Err("out of reach".into());
        }
        match self.archives.get(&info.path) {
            Some(archive) => {
                take(&mut &archive[..])?;
                Ok(Fetched::Yes)
            }
            None => Ok(Fetched::No),
        }
    }
}

fn archive(fresh: &Fresh, path: &StorePath) -> Vec<u8> {
    let mut archive = Vec::new();
    fresh.store.dump_object(path, &mut archive).unwrap();
    archive
}

fn source_of(fresh: &Fresh, paths: &[&StorePath]) -> Fake {
    let archives = paths
        .iter()
        .map(|path| ((*path).clone(), archive(fresh, path)));
    Fake {
        archives: archives.collect(),
        fails: false,
    }
}

fn repair(fresh: &Fresh, sources: Vec<Fake>) -> VerifyReport {
    let options = VerifyOptions {
        contents: CheckContents::Yes,
        remedy: Remedy::Repair,
        ..VerifyOptions::default()
    };
    let mut sources: Vec<Box<dyn RepairSource>> = sources
        .into_iter()
        .map(|source| Box::new(source) as _)
        .collect();
    fresh
        .store
        .verify_with(&options, &mut sources, &mut ())
        .unwrap()
}

fn names(fresh: &Fresh) -> Vec<String> {
    let mut names: Vec<String> = fresh
        .store
        .list_objects()
        .unwrap()
        .into_iter()
        .map(|name| name.into_string().unwrap())
        .filter(|name| name != ".links")
        .collect();
    names.sort();
    names
}

fn reasons(report: &VerifyReport) -> Vec<String> {
    let reasons = report.failures.iter();
    reasons.map(|failure| failure.error.to_string()).collect()
}

#[test]
fn damaged_and_missing_objects_come_back_canonical() {
    let fresh = Fresh::new();
    let (a, b) = (fresh.add("a", &[]), fresh.add("b", &[]));
    let source = source_of(&fresh, &[&a, &b]);
    let real = |path| fresh.store.layout().real_path(path);
    fs::write(real(&a), "x").unwrap();
    fs::remove_file(real(&b)).unwrap();
    let held = fs::File::open(real(&a)).unwrap();
    let report = repair(&fresh, vec![source]);
    assert!(report.is_clean(), "{report:?}");
    let kinds: Vec<_> = report.repaired.iter().map(VerifyProblem::kind).collect();
    assert_eq!(kinds, ["disappeared", "modified"]);
    for path in [&a, &b] {
        let metadata = fs::metadata(real(path)).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o444, 1));
    }
    assert_eq!(fs::read_to_string(real(&a)).unwrap(), "a");
    // Whoever had the old one open still has it.
    assert_eq!(held.metadata().unwrap().nlink(), 0);
    drop(report);
    assert_eq!(names(&fresh), [a.to_string(), b.to_string()]);
}

#[test]
fn another_content_is_not_taken_for_the_object() {
    let fresh = Fresh::new();
    let (a, b) = (fresh.add("a", &[]), fresh.add("b", &[]));
    let mut source = Fake::default();
    source.archives.insert(a.clone(), archive(&fresh, &b));
    fs::write(fresh.store.layout().real_path(&a), "x").unwrap();
    let report = repair(&fresh, vec![source]);
    assert_eq!(report.problems.len(), 1);
    assert_eq!(reasons(&report), ["cannot get it from 'fake'"]);
    assert_eq!(names(&fresh), [a.to_string(), b.to_string()]);
    assert_eq!(
        fs::read_to_string(fresh.store.layout().real_path(&a)).unwrap(),
        "x"
    );
}

#[test]
fn cut_archives_and_failing_sources_are_passed_over() {
    let fresh = Fresh::new();
    let a = fresh.add("a", &[]);
    let good = source_of(&fresh, &[&a]);
    let mut cut = source_of(&fresh, &[&a]);
    cut.archives.get_mut(&a).unwrap().truncate(60);
    let lost = Fake {
        fails: true,
        ..Fake::default()
    };
    fs::write(fresh.store.layout().real_path(&a), "x").unwrap();
    let report = repair(&fresh, vec![lost, cut, Fake::default(), good]);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.repaired.len(), 1);
}

#[test]
fn a_source_out_of_reach_is_no_reason_to_forget() {
    let fresh = Fresh::new();
    let a = fresh.add("a", &[]);
    fs::remove_file(fresh.store.layout().real_path(&a)).unwrap();
    let lost = Fake {
        fails: true,
        ..Fake::default()
    };
    let report = repair(&fresh, vec![lost]);
    assert_eq!(reasons(&report), ["cannot get it from 'fake'"]);
    assert!(fresh.store.is_valid(&a).unwrap());
    let report = repair(&fresh, vec![Fake::default()]);
    assert_eq!((report.problems.len(), report.forgotten.len()), (0, 1));
    assert!(!fresh.store.is_valid(&a).unwrap());
}

#[test]
fn chains_of_lost_paths_are_forgotten_from_their_ends() {
    let fresh = Fresh::new();
    let a = fresh.add("a", &[]);
    let b = fresh.add("b", &[&a]);
    let c = fresh.add("c", &[&b]);
    for path in [&a, &b, &c] {
        fs::remove_file(fresh.store.layout().real_path(path)).unwrap();
    }
    let report = repair(&fresh, Vec::new());
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.forgotten.len(), 3);
    assert!(fresh.store.query_all_valid().unwrap().is_empty());
}

#[test]
fn what_was_never_recorded_is_filled_in_but_for_a_plain_check() {
    let fresh = Fresh::new();
    let (a, b) = (fresh.add("a", &[]), fresh.add("b", &[]));
    let before = fresh.store.db().query_path_info(&a).unwrap().unwrap();
    let zero = NarHash::from_bytes([0; 32]).to_prefixed_base16();
    fresh.change(&format!(
        "update ValidPaths set hash = '{zero}', narSize = null where path like '%-a';
         update ValidPaths set narSize = null where path like '%-b'"
    ));
    assert_eq!(fresh.problems(CheckContents::Yes).len(), 1);
    let options = VerifyOptions {
        contents: CheckContents::Yes,
        remedy: Remedy::Tidy,
        ..VerifyOptions::default()
    };
    let report = fresh.store.verify_with(&options, &mut [], &mut ()).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.repaired.len(), 2);
    let info = |path| fresh.store.db().query_path_info(path).unwrap().unwrap();
    assert_eq!(info(&a), before);
    assert_eq!(info(&b).nar_size, 120);
}

#[test]
fn damaged_links_lose_their_names() {
    let fresh = Fresh::new();
    let a = fresh.add("a", &[]);
    let links = fresh.store.layout().links_dir();
    let info = fresh.store.db().query_path_info(&a).unwrap().unwrap();
    let digits = info.nar_hash.to_prefixed_nix32()["sha256:".len()..].to_owned();
    let (good, bad) = (links.join(digits), links.join("0".repeat(52)));
    let real = fresh.store.layout().real_path(&a);
    fs::hard_link(&real, &good).unwrap();
    fs::write(&bad, "x").unwrap();
    assert_eq!(fresh.problems(CheckContents::Yes).len(), 1);
    let report = repair(&fresh, Vec::new());
    assert_eq!((report.links, report.repaired.len()), (2, 1));
    assert_eq!(report.repaired[0].kind(), "link-modified");
    assert!(good.is_file() && fs::symlink_metadata(&bad).is_err());
}

#[test]
fn repair_path_replaces_even_what_looks_right() {
    let fresh = Fresh::new();
    let a = fresh.add("a", &[]);
    let inode = || {
        fs::metadata(fresh.store.layout().real_path(&a))
            .unwrap()
            .ino()
    };
    let before = inode();
    let mut sources: Vec<Box<dyn RepairSource>> = vec![Box::new(source_of(&fresh, &[&a]))];
    fresh.store.repair_path(&a, &mut sources).unwrap();
    assert_ne!(inode(), before);
    let error = fresh.store.repair_path(&a, &mut []).unwrap_err();
    assert!(matches!(error, RepairError::NoSource));
}
