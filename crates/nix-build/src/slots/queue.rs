//! One look at the queue, under the gate.

use std::collections::BTreeSet;
use std::fs::File;

use super::lock_file::{LockDirectory, LockError};

/// What a look at the queue gave.
#[derive(Debug)]
pub(super) enum Attempt {
    /// A slot.
    Taken(File),
    /// Nothing.
    Wait {
        /// The place in the queue, from 1 on.
        place: usize,
    },
}

/// A place in the queue.
#[derive(Debug)]
pub(super) struct Ticket<'d> {
    dir: &'d LockDirectory,
    number: u64,
    _lock: File,
}

impl Drop for Ticket<'_> {
    /// Leaves the queue. If the file stays, those behind see that nobody holds it.
    fn drop(&mut self) {
        let _ = self.dir.remove(&ticket_name(self.number));
    }
}

/// Takes a slot if one is free and nobody comes first; else makes sure that there is a
/// ticket. To be called with the gate held.
pub(super) fn attempt<'d>(
    dir: &'d LockDirectory,
    max_jobs: u32,
    ticket: &mut Option<Ticket<'d>>,
) -> Result<Attempt, LockError> {
    let files = list(dir)?;
    let ahead = waiting_before(dir, &files.tickets, ticket.as_ref().map(|t| t.number))?;
    if ahead == 0
        && let Some(slot) = free_slot(dir, &files.slots, max_jobs)?
    {
        *ticket = None;
        return Ok(Attempt::Taken(slot));
    }
    if ticket.is_none() {
        let number = files
            .tickets
            .last()
            .map_or(1, |last| last.saturating_add(1));
        *ticket = Some(draw(dir, number)?);
    }
    Ok(Attempt::Wait { place: ahead + 1 })
}

#[derive(Debug, Default)]
struct Files {
    slots: BTreeSet<u64>,
    tickets: BTreeSet<u64>,
}

fn list(dir: &LockDirectory) -> Result<Files, LockError> {
    let mut files = Files::default();
    dir.names(|name| {
        if let Some(number) = number_of(name, "slot-") {
            files.slots.insert(number);
        } else if let Some(number) = number_of(name, "ticket-") {
            files.tickets.insert(number);
        }
    })?;
    Ok(files)
}

fn number_of(name: &str, prefix: &str) -> Option<u64> {
    name.strip_prefix(prefix)?.parse().ok()
}

/// How many tickets come before `own`, or are there in all. The first of them belongs to a
/// living waiter: dead ones are removed as they come to the front, so that a look costs the
/// same in a long queue.
fn waiting_before(
    dir: &LockDirectory,
    tickets: &BTreeSet<u64>,
    own: Option<u64>,
) -> Result<usize, LockError> {
    let before = tickets.range(..own.unwrap_or(u64::MAX));
    let mut count = before.clone().count();
    for &number in before {
        let name = ticket_name(number);
        if let Some(file) = dir.open_existing(&name)? {
            if !dir.try_lock(&file, &name)? {
                break;
            }
            dir.remove(&name)?;
        }
        count -= 1;
    }
    Ok(count)
}

/// A slot, if fewer than `max_jobs` are held.
fn free_slot(
    dir: &LockDirectory,
    slots: &BTreeSet<u64>,
    max_jobs: u32,
) -> Result<Option<File>, LockError> {
    let mut held = 0;
    let mut free = None;
    for &number in slots {
        let name = slot_name(number);
        let file = dir.open(&name)?;
        match dir.try_lock(&file, &name)? {
            // All are counted, beyond the own bound too.
            true if free.is_none() => free = Some(file),
            true => {}
            false => held += 1,
        }
        if held >= max_jobs {
            return Ok(None);
        }
    }
    if free.is_none() {
        let unused = (0..).find(|number| !slots.contains(number));
        let name = slot_name(unused.expect("there are more numbers than files"));
        let file = dir.open(&name)?;
        free = dir.try_lock(&file, &name)?.then_some(file);
    }
    Ok(free)
}

fn draw(dir: &LockDirectory, number: u64) -> Result<Ticket<'_>, LockError> {
    let name = ticket_name(number);
    let lock = dir.create_new(&name)?;
    // Nobody tries it now: that is done under the gate.
    dir.try_lock(&lock, &name)?;
    Ok(Ticket {
        dir,
        number,
        _lock: lock,
    })
}

fn slot_name(number: u64) -> String {
    format!("slot-{number}")
}

fn ticket_name(number: u64) -> String {
    format!("ticket-{number}")
}
