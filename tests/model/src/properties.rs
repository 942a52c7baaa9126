//! What must hold in every state, and what must be possible lest the rest mean nothing.

use stateright::Property;

use crate::model::StoreModel;
use crate::state::{At, CLIENTS, Client, CollectorAt, Paths, State};

pub(crate) fn all() -> Vec<Property<StoreModel>> {
    vec![
        always("a valid path has its files", |_, state| {
            state.disk.whole.has(state.disk.rows)
        }),
        always("a valid path has its references", |_, state| {
            state.disk.rows.has(state.disk.rows.references())
        }),
        always("what a client relies on stays valid", |_, state| {
            let mut clients = state.clients.iter();
            clients.all(|client| is_pinning(client) || state.disk.rows.has(client.relied))
        }),
        always("what a link leads to stays valid", |_, state| {
            state.disk.rows.has(state.disk.promised)
        }),
        always("a path lock has one holder", |_, state| {
            let [one, other] = &state.clients;
            !one.held.meets(other.held)
        }),
        always(
            "what the holder of a lock put in place stays there",
            |_, state| {
                let mut clients = state.clients.iter();
                clients.all(|client| state.disk.whole.has(client.moved))
            },
        ),
        eventually("every process ends", |_, state| is_over(state)),
        sometimes("a path is deleted beside a client", |_, state| {
            state.collector.at == CollectorAt::RemoveFiles
                && state.clients.iter().any(|client| client.is_alive())
        }),
        sometimes("a root comes late and its path is spared", |_, state| {
            state.collector.at == CollectorAt::Begin
                && state.collector.roots.has(state.collector.dead.last())
        }),
        sometimes("a root waits while its path is deleted", |_, state| {
            state.clients.iter().any(|client| {
                client.at == At::Answer && state.collector.pending.meets(client.unheard)
            })
        }),
        sometimes("a dead path has got a referrer meanwhile", |_, state| {
            state.collector.at == CollectorAt::RemoveRows
                && new_referrers(state).meets(state.disk.rows)
        }),
        sometimes(
            "a lock file goes while its lock is waited for",
            |_, state| state.clients.iter().any(|client| !client.stale.is_empty()),
        ),
        sometimes("an import fails for want of a reference", |_, state| {
            state.clients.iter().any(|client| client.failed)
        }),
        sometimes("all clients use what they imported", |_, state| {
            let uses = |number: usize| {
                let client = &state.clients[number];
                client.at == At::Use && client.relied == Paths(0b011)
            };
            (0..CLIENTS).all(uses)
        }),
        sometimes("a power cut leaves a part of a path", |_, state| {
            state.left.power_cuts == 0 && !state.disk.torn.is_empty()
        }),
    ]
}

type Condition = fn(&StoreModel, &State) -> bool;

fn always(name: &'static str, condition: Condition) -> Property<StoreModel> {
    Property::always(name, condition)
}

fn eventually(name: &'static str, condition: Condition) -> Property<StoreModel> {
    Property::eventually(name, condition)
}

fn sometimes(name: &'static str, condition: Condition) -> Property<StoreModel> {
    Property::sometimes(name, condition)
}

/// Whether a client has not done yet what keeps its paths.
fn is_pinning(client: &Client) -> bool {
    let steps = [
        At::CreateFile,
        At::LockFile,
        At::Record,
        At::Ask,
        At::Answer,
    ];
    steps.contains(&client.at)
}

/// What refers to a path that is being deleted and isn't deleted with it.
fn new_referrers(state: &State) -> Paths {
    let pending = state.collector.pending;
    pending.and(state.disk.rows).referrers().without(pending)
}

/// Nothing is left to happen.
fn is_over(state: &State) -> bool {
    let gone = |number: usize| state.clients[number].at == At::Gone;
    (0..CLIENTS).all(gone)
        && !state.is_collecting()
        && state.left.collectors == 0
        && state.left.clients == 0
}
