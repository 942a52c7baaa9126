//! Checks that are stopped, go on another time, or share the store with collectors.

use std::fs::Permissions;
use std::io::BufRead;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc::channel;
use std::time::{Duration, SystemTime};

use nix_base::{Hash, HashFormat};

use super::*;
use crate::error::BoxedCause;
use crate::lock::CollectorLocks;

/// When a check is stopped.
#[derive(Default)]
enum Stop {
    #[default]
    Never,
    /// Once this path was read.
    At(StorePath),
    /// Once so many objects and deduplicated files were read.
    After(usize),
}

#[derive(Default)]
struct Stopping {
    stop: Stop,
    has_read: usize,
    is_stopped: bool,
    phases: Vec<VerifyPhase>,
}

impl VerifyWatch for Stopping {
    fn begins(&mut self, phase: VerifyPhase) {
        self.phases.push(phase);
    }

    fn looks_at(&mut self, path: &StorePath) {
        self.is_stopped |= matches!(&self.stop, Stop::At(at) if at == path);
    }

    fn has_read(&mut self, _bytes: u64) {
        self.has_read += 1;
        self.is_stopped |= matches!(self.stop, Stop::After(count) if count == self.has_read);
    }

    fn is_cancelled(&mut self) -> bool {
        self.is_stopped
    }
}

impl Fresh {
    fn watched(&self, options: &VerifyOptions, stop: Stop) -> (VerifyReport, Vec<VerifyPhase>) {
        let mut watch = Stopping {
            stop,
            ..Stopping::default()
        };
        let report = self.store.verify_with(options, &mut [], &mut watch);
        (report.unwrap(), watch.phases)
    }

    fn begin(&self, stop: Stop) -> VerifyReport {
        self.watched(&contents(Journal::Fresh), stop).0
    }

    fn resume(&self) -> VerifyReport {
        let resumed = self.watched(&contents(Journal::Resume), Stop::Never).0;
        assert!(!resumed.cancelled && fs::metadata(self.journal()).is_err());
        resumed
    }

    fn journal(&self) -> std::path::PathBuf {
        self.store.layout().state.join("nix-serve/scrub")
    }

    /// Gives the object the metadata that it should have.
    fn canonicalise(&self, path: &StorePath) {
        let file = fs::File::open(self.store.layout().real_path(path)).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        file.set_modified(time).unwrap();
        file.set_permissions(Permissions::from_mode(0o444)).unwrap();
    }

    fn damage(&self, path: &StorePath) {
        fs::write(self.store.layout().real_path(path), "x").unwrap();
    }

    /// Deduplicated files, in the order of their names.
    fn add_links(&self, texts: &[&str]) -> Vec<std::path::PathBuf> {
        let dir = self.store.layout().links_dir();
        fs::create_dir_all(&dir).unwrap();
        let link = |text: &&str| {
            let file = dir.join(text);
            fs::write(&file, text).unwrap();
            let mut sink = NarHashSink::new();
            nix_nar::fs::dump::dump(&file, &mut sink).unwrap();
            let hash = Hash::from(sink.finish().0).render(HashFormat::Nix32);
            let link = dir.join(hash);
            fs::rename(file, &link).unwrap();
            link
        };
        let mut links: Vec<_> = texts.iter().map(link).collect();
        links.sort();
        links
    }
}

fn contents(journal: Journal) -> VerifyOptions {
    VerifyOptions {
        contents: CheckContents::Yes,
        threads: 1,
        journal,
        ..VerifyOptions::default()
    }
}

#[test]
fn a_second_look_can_be_stopped_and_then_counts_for_nothing() {
    let fresh = Fresh::new();
    fresh.add("a", &[]);
    let b = fresh.add("b", &[]);
    fresh.damage(&b);
    let cut = fresh.begin(Stop::At(b));
    assert!(cut.cancelled && cut.is_clean(), "{cut:?}");
    let resumed = fresh.resume();
    assert_eq!((resumed.skipped, resumed.problems.len()), (1, 1));
}

#[test]
fn who_looks_at_metadata_too_begins_anew_after_one_who_did_not() {
    let fresh = Fresh::new();
    let a = fresh.add("a", &[]);
    fresh.add("b", &[]);
    fresh.canonicalise(&a);
    let metadata = VerifyOptions {
        metadata: true,
        ..contents(Journal::Resume)
    };
    assert!(fresh.begin(Stop::At(a.clone())).cancelled);
    let (more, _) = fresh.watched(&metadata, Stop::At(a));
    assert_eq!((more.skipped, more.paths, more.cancelled), (0, 1, true));
    let less = fresh.resume();
    assert_eq!((less.skipped, less.paths), (1, 1));
}

#[test]
fn what_became_valid_after_the_cut_is_looked_at_whatever_its_time() {
    let fresh = Fresh::new();
    let b = fresh.add("b", &[]);
    fresh.add("c", &[]);
    assert!(fresh.begin(Stop::At(b)).cancelled);
    let a = fresh.add("a", &[]);
    fresh.change("update ValidPaths set registrationTime = 1");
    fresh.damage(&a);
    let resumed = fresh.resume();
    assert_eq!((resumed.skipped, resumed.problems.len()), (1, 1));
}

#[test]
fn a_check_that_was_cut_among_the_deduplicated_files_goes_on_there() {
    let fresh = Fresh::new();
    fresh.add("a", &[]);
    let links = fresh.add_links(&["one", "two", "three"]);
    fs::write(&links[0], "x").unwrap();
    let (cut, phases) = fresh.watched(&contents(Journal::Fresh), Stop::After(2));
    assert_eq!((cut.links, cut.paths, cut.problems.len()), (2, 0, 1));
    assert_eq!(phases, [VerifyPhase::Existence, VerifyPhase::Links]);
    // The bad one is named again.
    let resumed = fresh.resume();
    let done = (resumed.links, resumed.paths, resumed.problems.len());
    assert_eq!(done, (2, 1, 1));
}

#[test]
fn a_check_that_was_cut_among_the_paths_reads_no_deduplicated_file_again() {
    let fresh = Fresh::new();
    let a = fresh.add("a", &[]);
    fresh.add("b", &[]);
    fresh.add_links(&["one", "two"]);
    assert_eq!(fresh.begin(Stop::At(a)).links, 2);
    let resumed = fresh.resume();
    assert_eq!((resumed.links, resumed.skipped, resumed.paths), (0, 1, 1));
}

#[test]
fn a_journal_that_is_no_text_is_a_new_beginning() {
    let fresh = Fresh::new();
    let a = fresh.add("a", &[]);
    fresh.add("b", &[]);
    assert!(fresh.begin(Stop::At(a)).cancelled);
    fs::write(fresh.journal(), [0xff, 0, b'\n']).unwrap();
    let resumed = fresh.resume();
    assert_eq!((resumed.skipped, resumed.paths), (0, 2));
}

#[test]
fn a_check_of_a_few_paths_does_not_wait_for_a_collector() {
    let fresh = Fresh::new();
    let a = fresh.add("a", &[]);
    let layout = fresh.store.layout();
    let (state, dir) = (layout.state.clone(), fresh.store.store_dir().clone());
    let collector = CollectorLocks::acquire(&state, &dir, Wait::Never);
    let collector = collector.unwrap().expect("no other collector");
    let (tell, hear) = channel();
    let waiter = std::thread::spawn(move || {
        let heard = hear.recv_timeout(Duration::from_secs(20));
        drop(collector);
        heard.is_ok()
    });
    let options = VerifyOptions {
        paths: Some([a].into()),
        ..contents(Journal::None)
    };
    let (report, _) = fresh.watched(&options, Stop::Never);
    assert!(report.is_clean() && report.paths == 1);
    tell.send(()).expect("the collector still runs");
    assert!(waiter.join().unwrap(), "it waited for the collector");
}

#[test]
fn a_check_stops_among_what_is_missing() {
    let fresh = Fresh::new();
    let (a, b) = (fresh.add("a", &[]), fresh.add("b", &[]));
    for path in [&a, &b] {
        fs::remove_file(fresh.store.layout().real_path(path)).unwrap();
    }
    let (report, phases) = fresh.watched(&contents(Journal::Fresh), Stop::At(a));
    assert!(report.cancelled && report.problems.len() == 1, "{report:?}");
    assert_eq!(phases, [VerifyPhase::Existence]);
}

/// Has nothing; meanwhile other things happen.
struct Meanwhile<'m>(&'m mut dyn FnMut());

impl RepairSource for Meanwhile<'_> {
    fn name(&self) -> &str {
        "meanwhile"
    }

    fn fetch(
        &mut self,
        _info: &ValidPathInfo,
        _take: &mut dyn FnMut(&mut dyn BufRead) -> Result<()>,
    ) -> Result<Fetched, BoxedCause> {
        (self.0)();
        Ok(Fetched::No)
    }
}

#[test]
fn while_a_copy_is_looked_for_collectors_run_and_others_bring_it_back() {
    let fresh = Fresh::new();
    let a = fresh.add("a", &[]);
    let layout = fresh.store.layout();
    let file = layout.real_path(&a);
    fs::remove_file(&file).unwrap();
    let mut may_collect = false;
    let mut meanwhile = || {
        let lock = GcLock::acquire(&layout.state, LockMode::Exclusive, Wait::Never);
        may_collect = lock.unwrap().is_some();
        fs::write(&file, "a").unwrap();
    };
    let options = VerifyOptions {
        remedy: Remedy::Repair,
        ..VerifyOptions::default()
    };
    let mut sources: Vec<Box<dyn RepairSource>> = vec![Box::new(Meanwhile(&mut meanwhile))];
    let report = fresh
        .store
        .verify_with(&options, &mut sources, &mut ())
        .unwrap();
    drop(sources);
    assert!(
        report.is_clean() && report.forgotten.is_empty(),
        "{report:?}"
    );
    assert!(may_collect && fresh.store.is_valid(&a).unwrap());
}
