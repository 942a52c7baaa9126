//! What all of the crowd share: the machine, what was imported, what has roots.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard};
use std::time::Instant;

use test_support::{Machine, PathToAdd, Peer, RawDrv, Workshop, nar, run_ok};

use super::random::Random;

/// Paths that refer to each other in a row: the last one's closure are all of them.
pub(super) struct Chain(pub(super) Vec<PathToAdd>);

impl Chain {
    pub(super) fn top(&self) -> &PathToAdd {
        self.0.last().unwrap()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.iter().map(|path| &path.path)
    }

    pub(super) fn is_single(&self) -> bool {
        self.0.len() == 1
    }
}

pub(super) struct Stage {
    pub(super) machine: Machine,
    pub(super) until: Instant,
    /// Derivations with roots, by path.
    pub(super) drvs: Vec<(String, RawDrv)>,
    pub(super) counts: Counts,
    /// What was imported of late, by anybody.
    imported: Mutex<VecDeque<Arc<Chain>>>,
    numbers: AtomicUsize,
    /// Held for writing while a real collector runs.
    real_collector: RwLock<()>,
    /// Chains with roots, by the names of these.
    rooted: Mutex<BTreeMap<String, Arc<Chain>>>,
}

impl Stage {
    pub(super) fn new(peer: &Peer, until: Instant) -> Self {
        let machine = Machine::new();
        machine.configure("sandbox = true\nmax-jobs = 2\n");
        let paths = Workshop::new(&machine, peer).instantiate(&derivations());
        for (name, path) in &paths {
            machine.add_root(name, path);
        }
        let drvs = paths
            .into_values()
            .map(|path| {
                let drv = RawDrv::read(&machine.on_disk(&path));
                (path, drv)
            })
            .collect();
        Self {
            machine,
            until,
            drvs,
            counts: Counts::default(),
            imported: Mutex::default(),
            numbers: AtomicUsize::new(0),
            real_collector: RwLock::new(()),
            rooted: Mutex::default(),
        }
    }

    /// Our program with these arguments.
    pub(super) fn ours<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_nix-serve"));
        self.machine.command(program, arguments)
    }

    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Keeps real collectors from starting; `None` if one runs.
    pub(super) fn quiet(&self) -> Option<RwLockReadGuard<'_, ()>> {
        self.real_collector.try_read().ok()
    }

    /// Waits for moments that take a quiet store, and lets no other begin.
    pub(super) fn while_disturbed<T>(&self, collect: impl FnOnce() -> T) -> T {
        let _disturbed = self.real_collector.write().unwrap();
        collect()
    }

    /// A chain that nobody has imported yet.
    pub(super) fn fresh(&self, random: &mut Random) -> Arc<Chain> {
        let count = [1, 1, 2, 3][random.below(4)];
        let mut paths: Vec<PathToAdd> = Vec::new();
        for _ in 0..count {
            let number = self.numbers.fetch_add(1, Ordering::SeqCst);
            // Equal contents under many names: there is something to link.
            let text = format!("contents {}\n", number % 40).repeat(1 + number % 40 * 20);
            let mut path = PathToAdd::scattered(number, text.as_bytes());
            if number.is_multiple_of(3) {
                path = PathToAdd::from_nar(path.path, tree(number, &text));
            }
            if let Some(before) = paths.last() {
                path = path.referring_to([&before.path]);
            }
            paths.push(path);
        }
        Arc::new(Chain(paths))
    }

    pub(super) fn remember(&self, chain: &Arc<Chain>) {
        let mut imported = self.imported.lock().unwrap();
        imported.push_back(Arc::clone(chain));
        if imported.len() > REMEMBERED {
            imported.pop_front();
        }
    }

    /// A chain that somebody has imported, and perhaps somebody has collected.
    pub(super) fn any(&self, random: &mut Random) -> Option<Arc<Chain>> {
        let imported = self.imported.lock().unwrap();
        let count = imported.len();
        (count > 0).then(|| Arc::clone(&imported[random.below(count)]))
    }

    /// Gives a chain that the caller holds a root.
    pub(super) fn root(&self, chain: &Arc<Chain>) -> Option<String> {
        let name = chain.top().path.rsplit('/').next().unwrap().to_owned();
        let mut rooted = self.rooted.lock().unwrap();
        if rooted.contains_key(&name) {
            return None;
        }
        self.machine.add_root(&name, &chain.top().path);
        rooted.insert(name.clone(), Arc::clone(chain));
        Some(name)
    }

    /// Takes a root away, after a last look at what it held.
    pub(super) fn unroot(&self, name: &str) {
        let mut rooted = self.rooted.lock().unwrap();
        let chain = rooted.remove(name).unwrap();
        self.assert_present(chain.names(), "has a root");
        let roots = self.machine.path("nix/var/nix/gcroots");
        std::fs::remove_file(roots.join(name)).unwrap();
    }

    /// Which of the paths are gone from the disk.
    pub(super) fn missing<'a>(&self, paths: impl IntoIterator<Item = &'a String>) -> Vec<String> {
        let is_gone = |path: &&String| self.machine.on_disk(path).symlink_metadata().is_err();
        paths.into_iter().filter(is_gone).cloned().collect()
    }

    pub(super) fn assert_present<'a>(
        &self,
        paths: impl IntoIterator<Item = &'a String>,
        why: &str,
    ) {
        let missing = self.missing(paths);
        assert!(missing.is_empty(), "{why}, and is gone: {missing:?}");
    }

    /// After a collection with nobody about.
    pub(super) fn assert_only_rooted(&self, judge: &Peer) {
        let rooted = self.rooted.lock().unwrap();
        let wanted: BTreeSet<&String> = rooted.values().flat_map(|chain| chain.names()).collect();
        self.assert_present(wanted.iter().copied(), "has a root");
        let known = run_ok(self.machine.peer(judge, "nix", ["path-info", "--all"]));
        let known: BTreeSet<&String> = known.iter().filter(|path| is_item(path)).collect();
        assert_eq!(known, wanted, "valid at the end, and rooted");
        let named = self.machine.names().into_iter();
        let on_disk: BTreeSet<String> = named
            .map(|name| format!("/nix/store/{name}"))
            .filter(|path| is_item(path))
            .collect();
        assert_eq!(on_disk.iter().collect::<BTreeSet<_>>(), wanted, "on disk");
    }
}

/// Whether this is one of the imported paths, or something beside one.
fn is_item(path: &str) -> bool {
    path.contains("-item-")
}

fn tree(number: usize, text: &str) -> Vec<u8> {
    nar::directory(&[
        (b"data", nar::regular(text.as_bytes())),
        (b"link", nar::symlink(b"data")),
        (
            b"sub",
            nar::directory(&[
                (b"run", nar::executable(b"#!/bin/sh\n")),
                (b"self", nar::regular(format!("{number}\n").as_bytes())),
            ]),
        ),
    ])
}

/// Each waits a little, so that there is time to collect while it is built.
fn derivations() -> String {
    (0..12)
        .map(|number| {
            format!(
                "c{number} = make \"crowd-{number}\" {{ }} ''\n\
                 $b mkdir $out; echo {number} > $out/number; echo $out > $out/self\n\
                 $b usleep {}; echo done\n'';\n",
                number * 3000
            )
        })
        .collect()
}

/// What the crowd came to.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) imports: AtomicUsize,
    pub(super) found: AtomicUsize,
    pub(super) gone: AtomicUsize,
    pub(super) dumps: AtomicUsize,
    pub(super) builds: AtomicUsize,
    pub(super) rebuilds: AtomicUsize,
    pub(super) additions: AtomicUsize,
    pub(super) real_collections: AtomicUsize,
    pub(super) crashes: AtomicUsize,
    pub(super) collections: AtomicUsize,
    pub(super) optimisations: AtomicUsize,
    pub(super) verifications: AtomicUsize,
    pub(super) kills: AtomicUsize,
    pub(super) lost_by_real: AtomicUsize,
}

pub(super) fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counts {
    fn all(&self) -> [(&'static str, usize); 14] {
        let read = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        [
            ("imports", read(&self.imports)),
            ("found with lock", read(&self.found)),
            ("collected before", read(&self.gone)),
            ("dumps", read(&self.dumps)),
            ("builds", read(&self.builds)),
            ("outputs found", read(&self.rebuilds)),
            ("additions by real Nix", read(&self.additions)),
            ("collections by real Nix", read(&self.real_collections)),
            ("collections by ours", read(&self.collections)),
            ("optimisations", read(&self.optimisations)),
            ("verifications", read(&self.verifications)),
            ("servers killed", read(&self.kills)),
            ("crashes of real collectors", read(&self.crashes)),
            ("paths lost by real servers", read(&self.lost_by_real)),
        ]
    }

    /// A crowd in which nothing happened proves nothing.
    pub(super) fn assert_tried(&self) {
        let all = self.all();
        let idle: Vec<_> = all[..11].iter().filter(|(_, n)| *n == 0).collect();
        assert!(idle.is_empty(), "never happened: {idle:?}");
        let lost = self.lost_by_real.load(Ordering::Relaxed);
        let imports = self.imports.load(Ordering::Relaxed);
        assert!(lost <= 2 + imports / 1000, "real servers lost {lost} paths");
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.all().map(|(what, number)| format!("{number} {what}"));
        f.write_str(&parts.join(", "))
    }
}

/// Chains that may be looked up again; older ones are forgotten.
const REMEMBERED: usize = 200;
