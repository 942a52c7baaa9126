//! A crowd: eight clients import, look up with lock and dump, two have things built, real Nix
//! adds and collects, ours collects, optimises and verifies, all in one store at once. What a living
//! client was told of stays, nobody fails, and in the end the store is whole.
//!
//! A minute long; ten in `cargo xtask soak gc`, or as many seconds as `CROWD_SECONDS` says.
//!
//! Three weaknesses of real Nix are steered round, so that what is left is everybody's duty:
//!
//! * Its collector marks what refers to a path before it deletes the path, and asks only about
//!   the last of these whether somebody has pinned it meanwhile. So chains that nobody pins any
//!   more are looked up only while no real collector runs ([`stage::Stage::quiet`]).
//! * It looks for links first and for pins afterwards, so a path whose pin gives way to a link
//!   in between seems to have neither. Links are made while no real collector runs.
//! * Its servers write a root down after they have told a collector, and lose it if that
//!   collector ends and another one begins in between. Such losses are counted and few.

mod client;
mod keepers;
mod random;
mod stage;

use std::time::{Duration, Instant};

use test_support::{Machine, Peer, run, run_ok, say, verify_with};

use client::{Client, Server};
use stage::Stage;

/// What serves each of the clients: `linking` is ours with `auto-optimise-store`.
const SERVERS: [&str; 8] = [
    "ours", "ours", "ours", "linking", "linking", "2.8", "2.26", "newest",
];

const BUILDERS: u64 = 2;

fn length() -> Duration {
    let seconds = std::env::var("CROWD_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let usual = match std::env::var_os("SOAK") {
        Some(_) => 600,
        None => 60,
    };
    Duration::from_secs(seconds.unwrap_or(usual))
}

#[test]
fn a_crowd_beside_collectors_loses_nothing() {
    if !Machine::available() {
        return;
    }
    let keepers: Vec<&Peer> = ["2.8", "newest"]
        .into_iter()
        .filter_map(Peer::find)
        .collect();
    let Some(&judge) = keepers.last() else {
        return;
    };
    let stage = Stage::new(judge, Instant::now() + length());
    std::thread::scope(|scope| {
        let stage = &stage;
        for (seed, label) in (0..).zip(SERVERS) {
            let server = match label {
                "ours" => Server::Ours,
                "linking" => Server::Linking,
                label => match Peer::find(label) {
                    Some(peer) => Server::Real(peer),
                    None => continue,
                },
            };
            scope.spawn(move || Client::new(stage, server, seed).live());
        }
        for seed in 0..BUILDERS {
            scope.spawn(move || client::build(stage, seed));
        }
        scope.spawn(|| keepers::add_with_real(stage, &keepers));
        scope.spawn(|| keepers::collect_with_real(stage, &keepers));
        scope.spawn(|| keepers::collect_with_ours(stage));
        scope.spawn(|| keepers::optimise_with_ours(stage));
        scope.spawn(|| keepers::verify_with_ours(stage));
    });
    say(&format!("a crowd beside collectors: {}", stage.counts));
    stage.counts.assert_tried();

    for peer in &keepers {
        verify_with(peer, &stage.machine);
    }
    run_ok(stage.ours(["verify", "--check-contents"]));
    // With nobody left, what has a root stays, and nothing else.
    run_ok(stage.ours(["gc"]));
    stage.assert_only_rooted(judge);
    let output = run(stage.machine.nix_store(judge, ["--gc", "--print-dead"]));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "all dead went");
    verify_with(judge, &stage.machine);
}
