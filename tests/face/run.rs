//! Stores for the cases: one for all that change nothing, a fresh copy for each of the others.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use test_support::{Machine, Peer};

use crate::cases::{Case, Remote};
use crate::fixture::{Fixture, fast_directory};
use crate::side::{Seen, Side};

/// Where the programs run.
pub(crate) struct Site<'f> {
    fixture: &'f Fixture,
    /// The release on the other machine of a copy.
    remote: &'static Peer,
    sides: Vec<Side>,
    /// The stores for cases that change nothing.
    shared: BTreeMap<String, Machine>,
    /// The same for those that nothing else may run beside, since it would hold roots.
    quiet: BTreeMap<String, Machine>,
}

impl<'f> Site<'f> {
    /// Stores for all releases that are here.
    pub(crate) fn new(fixture: &'f Fixture, remote: &'static Peer) -> Self {
        let real = Peer::all().iter().map(Side::Real);
        let sides: Vec<Side> = real.chain([Side::Ours]).collect();
        let machines = || {
            let each = sides.iter();
            each.map(|side| (side.label(), side.machine(fixture)))
                .collect()
        };
        Self {
            fixture,
            remote,
            shared: machines(),
            quiet: machines(),
            sides,
        }
    }

    /// What each program does in each case, in that order.
    pub(crate) fn run(&self, cases: &[Case]) -> BTreeMap<(String, usize), Seen> {
        let units = self.units(cases);
        let (next, seen) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
        let work = || {
            while let Some((side, numbers)) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
                let chosen: Vec<&Case> = numbers.iter().map(|number| &cases[*number]).collect();
                let found = match chosen[..] {
                    [case] if case.changes => vec![self.run_apart(*side, case)],
                    [case, ..] if case.alone => {
                        side.run_all(&chosen, self.fixture, &self.quiet[&side.label()])
                    }
                    _ => side.run_all(&chosen, self.fixture, &self.shared[&side.label()]),
                };
                let keys = numbers.iter().map(|number| (side.label(), *number));
                seen.lock().unwrap().extend(keys.zip(found));
            }
        };
        let threads = std::thread::available_parallelism().map_or(2, |count| count.get().max(2));
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
        seen.into_inner().unwrap()
    }

    /// What is run at once by one program: a case that changes something, or many others.
    fn units(&self, cases: &[Case]) -> Vec<(Side, Vec<usize>)> {
        let numbers = |wanted: fn(&Case) -> bool| -> Vec<usize> {
            (0..cases.len())
                .filter(|number| wanted(&cases[*number]))
                .collect()
        };
        let changing = numbers(|case| case.changes);
        let mut units = Vec::new();
        for side in &self.sides {
            units.extend(changing.iter().map(|number| (*side, vec![*number])));
            units.push((*side, numbers(|case| !case.changes && case.alone)));
            let others = numbers(|case| !case.changes && !case.alone);
            units.extend(others.chunks(AT_ONCE).map(|chunk| (*side, chunk.to_vec())));
        }
        units
    }

    fn run_apart(&self, side: Side, case: &Case) -> Seen {
        let fixture = self.fixture;
        let machine = side.machine(fixture);
        let other = match case.remote {
            None => return side.run(case, fixture, &machine, None),
            Some(Remote::Empty) => Machine::new_in(&fast_directory()),
            Some(Remote::Filled) => fixture.machine.copy(),
        };
        other.install(self.remote);
        let host = machine.ssh_to(&other);
        side.run(case, fixture, &machine, Some((&other, &host)))
    }
}

/// How many cases that change nothing are run in one shell.
const AT_ONCE: usize = 25;
