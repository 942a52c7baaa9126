//! Sudden ends. The kernel lets go of the locks of a process that dies; what it had on disk stays.
//!
//! A file of roots without an owner is left out: every collector finds it unlocked and counts no
//! record of it.

use crate::collector;
use crate::model::Happening;
use crate::state::{At, CLIENTS, Client, Collector, CollectorAt, Disk, State};

pub(crate) fn happenings(state: &State, happenings: &mut Vec<Happening>) {
    let alive = |number: &usize| state.clients[*number].is_alive();
    if state.left.kills > 0 {
        happenings.extend((0..CLIENTS).filter(alive).map(Happening::KillClient));
        if state.is_collecting() {
            happenings.push(Happening::KillCollector);
        }
    }
    let somebody = state.is_collecting() || (0..CLIENTS).any(|number| alive(&number));
    if state.left.power_cuts > 0 && somebody {
        happenings.push(Happening::PowerCut);
    }
}

pub(crate) fn kill_client(state: &mut State, number: usize) {
    state.left.kills -= 1;
    end_client(&mut state.disk, &mut state.clients[number]);
}

pub(crate) fn kill_collector(state: &mut State) {
    state.left.kills -= 1;
    end_collector(state);
}

pub(crate) fn cut_power(state: &mut State) {
    state.left.power_cuts -= 1;
    for client in &mut state.clients {
        if client.is_alive() {
            end_client(&mut state.disk, client);
        }
    }
    if state.is_collecting() {
        end_collector(state);
    }
    let disk = &mut state.disk;
    let lost = disk.whole.without(disk.flushed);
    disk.whole.remove(lost);
    disk.torn.add(lost);
}

fn end_client(disk: &mut Disk, client: &mut Client) {
    // What is not valid is a leftover from now on, complete or not.
    let leftovers = client.moved.without(disk.rows).and(disk.whole);
    disk.whole.remove(leftovers);
    disk.flushed.remove(leftovers);
    disk.torn.add(leftovers);
    *client = Client {
        at: At::Gone,
        ..Client::default()
    };
}

fn end_collector(state: &mut State) {
    if state.collector.at == CollectorAt::RemoveFiles {
        // The first is half gone, the others are complete; neither is valid.
        let torn = state.collector.pending.and(state.disk.whole);
        state.disk.whole.remove(torn);
        state.disk.flushed.remove(torn);
        state.disk.torn.add(torn);
    }
    state.collector = Collector::default();
    collector::hang_up(state);
}
