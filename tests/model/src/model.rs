//! The model as Stateright takes it: what may happen next, and what comes of it.

use stateright::{Model, Property};

use crate::fault::Fault;
use crate::state::{CLIENTS, Client, Collector, CollectorAt, Disk, Left, Paths, State};
use crate::{client, collector, crash, properties};

/// The model: who takes part, and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub struct StoreModel {
    /// How much may happen.
    pub bounds: Bounds,
    /// The bug that was put back.
    pub fault: Option<Fault>,
    /// Whether collectors read links before temporary roots, as real Nix does. Ours read them
    /// after those.
    pub links_first: bool,
}

/// How much may happen in all.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Collections.
    pub collectors: u8,
    /// Clients that come after one of the first two is gone.
    pub more_clients: u8,
    /// Processes that are killed at any moment.
    pub kills: u8,
    /// Power cuts at any moment.
    pub power_cuts: u8,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A client begins or goes on, choosing the given way where it has a choice.
    Client(usize, u8),
    /// The collector's thread that listens answers a client.
    Answer(usize),
    /// The collector begins or goes on, choosing the given way where it has a choice.
    Collector(u8),
    /// The collector is done with a client's file of roots.
    ReadFile(usize),
    /// A client is killed.
    KillClient(usize),
    /// The collector is killed.
    KillCollector,
    /// Power is cut: all processes end, and what isn't flushed is lost.
    PowerCut,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            collectors: 2,
            more_clients: 1,
            kills: 2,
            power_cuts: 1,
        }
    }
}

impl StoreModel {
    /// The model with a bug.
    #[must_use]
    pub fn with_fault(fault: Fault) -> Self {
        Self {
            fault: Some(fault),
            ..Self::default()
        }
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn first_state(&self, disk: Disk) -> State {
        State {
            disk,
            clients: [Client::default(); CLIENTS],
            collector: Collector::default(),
            left: Left {
                collectors: self.bounds.collectors,
                clients: self.bounds.more_clients,
                kills: self.bounds.kills,
                power_cuts: self.bounds.power_cuts,
            },
        }
    }
}

impl Model for StoreModel {
    type State = State;
    type Action = Happening;

    fn init_states(&self) -> Vec<State> {
        let full = Disk {
            rows: Paths::ALL,
            whole: Paths::ALL,
            flushed: Paths::ALL,
            ..Disk::default()
        };
        let wreck = Disk {
            torn: Paths::ALL,
            lock_files: Paths::ALL,
            ..Disk::default()
        };
        [full, wreck].map(|disk| self.first_state(disk)).into()
    }

    fn actions(&self, state: &State, happenings: &mut Vec<Happening>) {
        for number in 0..CLIENTS {
            let choices = client::choices(self, state, number);
            happenings.extend((0..choices).map(|choice| Happening::Client(number, choice)));
            if collector::may_answer(self, state, number) {
                happenings.push(Happening::Answer(number));
            }
            if collector::may_read(state, number) {
                happenings.push(Happening::ReadFile(number));
            }
        }
        let choices = collector::choices(self, state);
        happenings.extend((0..choices).map(Happening::Collector));
        crash::happenings(state, happenings);
    }

    fn next_state(&self, state: &State, happening: Happening) -> Option<State> {
        let mut next = *state;
        match happening {
            Happening::Client(number, choice) => client::step(self, &mut next, number, choice),
            Happening::Answer(number) => collector::answer(self, &mut next, number),
            Happening::Collector(choice) => collector::step(self, &mut next, choice),
            Happening::ReadFile(number) => collector::read_file(&mut next, number),
            Happening::KillClient(number) => crash::kill_client(&mut next, number),
            Happening::KillCollector => crash::kill_collector(&mut next),
            Happening::PowerCut => crash::cut_power(&mut next),
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

/// The same state with the clients in a fixed order: it makes no difference which is which.
#[must_use]
pub fn sorted(state: &State) -> State {
    let mut sorted = *state;
    sorted.clients.sort_unstable();
    sorted
}

impl State {
    /// Whether a collector holds the collector lock.
    pub(crate) fn is_collecting(&self) -> bool {
        self.collector.at != CollectorAt::Off
    }
}
