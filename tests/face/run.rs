//! Stores for the cases: one for all that change nothing, a fresh copy for each of the others.

use std::collections::BTreeMap;

use test_support::{Machine, Peer};

use crate::cases::Case;
use crate::fixture::Fixture;
use crate::side::{Seen, Side};

/// Where the programs run.
pub(crate) struct Site<'f> {
    fixture: &'f Fixture,
    /// The release on the other machine of a copy.
    remote: &'static Peer,
    ours: Machine,
    real: BTreeMap<String, Machine>,
}

impl<'f> Site<'f> {
    /// Stores for all releases that are here.
    pub(crate) fn new(fixture: &'f Fixture, remote: &'static Peer) -> Self {
        Self {
            fixture,
            remote,
            ours: Side::Ours.machine(fixture),
            real: Peer::all()
                .iter()
                .map(|peer| (peer.label(), Side::Real(peer).machine(fixture)))
                .collect(),
        }
    }

    /// What a program does in a case.
    pub(crate) fn run(&self, side: Side, case: &Case) -> Seen {
        let (fixture, shared) = (
            self.fixture,
            match side {
                Side::Ours => &self.ours,
                Side::Real(peer) => &self.real[&peer.label()],
            },
        );
        if !case.changes {
            return side.run(case, fixture, shared, None);
        }
        let machine = side.machine(fixture);
        if !case.remote {
            return side.run(case, fixture, &machine, None);
        }
        let other = Machine::with(self.remote);
        let host = machine.ssh_to(&other);
        side.run(case, fixture, &machine, Some((&other, &host)))
    }
}
