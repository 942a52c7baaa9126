//! A crowd: clients that build, leave in the middle or are killed with their servers, while
//! real Nix collects garbage. In the end the store is whole and nothing is left over.
//!
//! In `cargo xtask soak` for ten minutes, else for some seconds.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use test_support::{RawDrv, RawLimits, ServeSession, poll_until, run, say, verify_with};

use crate::generate::Random;
use crate::place::{Place, Who};
use crate::processes::with_words;
use crate::site::is_soak;

const CLIENTS: u64 = 6;

fn shapes(words: &str) -> String {
    (0..20)
        .map(|number| {
            format!(
                "c{number} = make \"c{number}\" {{ }} ''\n\
                 m={words}; $b mkdir $out; echo {number} > $out/number; echo $out > $out/self\n\
                 $b usleep {}; echo done\n'';\n",
                number * 3000
            )
        })
        .collect()
}

struct Crowd<'a> {
    place: &'a Place,
    drvs: Vec<(&'a String, RawDrv)>,
    until: Instant,
    built: AtomicUsize,
    left: AtomicUsize,
    crashes: AtomicUsize,
}

impl Crowd<'_> {
    /// One client after another, each with a request or more.
    fn clients(&self, seed: u64) {
        let mut random = Random::new(seed);
        while Instant::now() < self.until {
            let mut session = self.place.session();
            for _ in 0..=random.below(3) {
                let (path, drv) = &self.drvs[random.below(self.drvs.len())];
                session.send(&drv.request(path, &RawLimits::default(), 7));
                match random.below(4) {
                    0 => {
                        session.abandon();
                        self.left.fetch_add(1, Ordering::Relaxed);
                        poll_until("the end of a server", || session.try_ended());
                        break;
                    }
                    1 => {
                        // Killed with SIGKILL, wherever it is.
                        drop(session.kill());
                        self.left.fetch_add(1, Ordering::Relaxed);
                        // The next one has no stderr.
                        let unread;
                        (session, unread) = ServeSession::spawn_unheard(self.place.server(&[]));
                        drop(unread);
                        session.handshake(7);
                    }
                    _ => {
                        let result = session.read_build_result();
                        assert!(result.is_success(), "{result:?}");
                        self.built.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    fn collect(&self) {
        let peer = crate::site::newest().unwrap();
        while Instant::now() < self.until {
            let output = run(self.place.machine.nix_store(peer, ["--gc"]));
            let said = String::from_utf8_lossy(&output.stderr);
            // With 2.34 the thread that hears of new roots may die with the client it listens
            // to, and takes the collector with it.
            let crashed = said.contains("Nix crashed");
            assert!(output.status.success() || crashed, "{said}");
            self.crashes
                .fetch_add(usize::from(crashed), Ordering::Relaxed);
        }
    }
}

#[test]
fn a_crowd_of_clients_leaves_a_clean_store() {
    let Some(peer) = crate::site::newest() else {
        return;
    };
    let words = format!("crowd-{}", std::process::id());
    let Some(place) = Place::with_settings(Who::Root, &shapes(&words), "max-jobs = 2\n") else {
        return;
    };
    for (name, path) in &place.paths {
        place.machine.add_root(name, path);
    }
    let seconds = if is_soak() { 600 } else { 6 };
    let crowd = Crowd {
        place: &place,
        drvs: place
            .paths
            .iter()
            .map(|(name, path)| (path, place.drv(name)))
            .collect(),
        until: Instant::now() + Duration::from_secs(seconds),
        built: AtomicUsize::new(0),
        left: AtomicUsize::new(0),
        crashes: AtomicUsize::new(0),
    };
    std::thread::scope(|scope| {
        scope.spawn(|| crowd.collect());
        for seed in 0..CLIENTS {
            let crowd = &crowd;
            scope.spawn(move || crowd.clients(seed));
        }
    });
    poll_until("the end of all builders", || {
        with_words(&words).is_empty().then_some(())
    });
    say(&format!(
        "a crowd of clients: {} builds, {} clients that left, {} crashes of the collector",
        crowd.built.load(Ordering::Relaxed),
        crowd.left.load(Ordering::Relaxed),
        crowd.crashes.load(Ordering::Relaxed)
    ));
    verify_with(peer, &place.machine);
    // All can be built again; what killed servers left is taken away by a collection.
    for name in place.paths.keys() {
        assert!(place.build(name).result.is_success());
    }
    let output = run(place.machine.nix_store(peer, ["--gc"]));
    assert!(output.status.success());
    verify_with(peer, &place.machine);
}
