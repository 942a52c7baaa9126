//! Slots of the machine: never more builders than allowed, and nothing is built twice.

use std::collections::BTreeMap;

use test_support::{RawLimits, ServeSession};

use crate::place::{Place, Who};

const SLOTS: usize = 2;
const CLIENTS: usize = 4;
const DERIVATIONS: usize = 50;

/// Each builder writes when it begins and when it ends.
fn shapes() -> String {
    (0..DERIVATIONS)
        .map(|number| {
            format!(
                "s{number} = make \"s{number}\" {{ }} ''\n\
                 echo begin s{number} >> /shared/record; $b usleep 20000\n\
                 echo it {number} > $out; echo end s{number} >> /shared/record\n'';\n"
            )
        })
        .collect()
}

/// The most that ran at a time, and how often each began.
fn judge(record: &str) -> (usize, BTreeMap<&str, usize>) {
    let (mut running, mut most) = (0_usize, 0);
    let mut begun = BTreeMap::new();
    for line in record.lines() {
        match line.split_once(' ').unwrap() {
            ("begin", name) => {
                running += 1;
                *begun.entry(name).or_default() += 1;
            }
            ("end", _) => running -= 1,
            other => panic!("{other:?} in the record"),
        }
        most = most.max(running);
    }
    assert_eq!(running, 0, "all have ended");
    (most, begun)
}

fn record(place: &Place) -> String {
    std::fs::read_to_string(place.shared("record")).unwrap()
}

fn machine() -> Option<Place> {
    let place = Place::with_settings(Who::Root, &shapes(), &format!("max-jobs = {SLOTS}\n"))?;
    let file = place.shared("record");
    std::fs::write(&file, "").unwrap();
    crate::place::set_mode(&file, 0o666);
    Some(place)
}

#[track_caller]
fn assert_fair(place: &Place) {
    let text = record(place);
    let (most, begun) = judge(&text);
    assert!(most <= SLOTS, "{most} builders ran at a time");
    assert_eq!(most, SLOTS, "the slots were used");
    assert_eq!(begun.len(), DERIVATIONS);
    let twice: Vec<_> = begun.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "built more than once: {twice:?}");
    for name in place.paths.keys() {
        assert!(place.output(name).symlink_metadata().is_ok());
    }
}

/// One request after another, in another order at each client.
#[test]
fn clients_of_single_derivations_share_two_slots() {
    let Some(place) = machine() else {
        return;
    };
    let drvs: Vec<_> = place
        .paths
        .iter()
        .map(|(name, path)| (path, place.drv(name)))
        .collect();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (place, drvs) = (&place, &drvs);
            scope.spawn(move || {
                let mut session = place.session();
                for step in 0..DERIVATIONS {
                    let at = (step * 7 + client * 13) % DERIVATIONS;
                    let (path, drv) = &drvs[at];
                    let result = session.build(path, drv, &RawLimits::default());
                    assert!(result.is_success(), "client {client}: {result:?}");
                }
                session.finish_ok();
            });
        }
    });
    assert_fair(&place);
}

/// Each client asks for all at once.
#[test]
fn clients_of_whole_lists_share_two_slots() {
    let Some(place) = machine() else {
        return;
    };
    let paths: Vec<&String> = place.paths.values().collect();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (place, mut paths) = (&place, paths.clone());
            paths.rotate_left(client * 13);
            scope.spawn(move || {
                let mut session = ServeSession::open(place.server(&[]), 7);
                let (code, message) = session.build_paths(&paths, &RawLimits::default());
                assert_eq!(code, 0, "client {client}: {message}");
                session.finish_ok();
            });
        }
    });
    assert_fair(&place);
}

#[test]
fn a_record_with_three_at_a_time_is_seen() {
    let text = "begin a\nbegin b\nend a\nbegin c\nbegin a\nend a\nend b\nend c\n";
    let (most, begun) = judge(text);
    assert_eq!((most, begun["a"]), (3, 2));
}
