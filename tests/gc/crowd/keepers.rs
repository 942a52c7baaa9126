//! Those that add, collect and optimise until the end.

use std::os::unix::process::ExitStatusExt;

use test_support::{Peer, run, run_ok};

use super::stage::{Stage, count};

/// Adds files by one release after the other; nothing pins them afterwards.
pub(super) fn add_with_real(stage: &Stage, peers: &[&Peer]) {
    for (number, peer) in (0..).zip(peers.iter().cycle()) {
        if stage.is_over() {
            return;
        }
        let name = format!("added-{}", number % 30);
        let file = stage.machine.path("home").join(&name);
        std::fs::write(&file, format!("file {}\n", number % 90)).unwrap();
        let words = ["--add", file.to_str().unwrap()];
        run_ok(stage.machine.nix_store(peer, words));
        count(&stage.counts.additions);
    }
}

pub(super) fn collect_with_real(stage: &Stage, peers: &[&Peer]) {
    for peer in peers.iter().cycle() {
        if stage.is_over() {
            return;
        }
        let output = stage.while_disturbed(|| run(stage.machine.nix_store(peer, ["--gc"])));
        // With 2.8 and 2.34 the thread that hears of new roots may die with the client it
        // listens to, and takes the collector with it.
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.signal().is_some() || said.contains("Nix crashed") {
            count(&stage.counts.crashes);
            continue;
        }
        let last: Vec<&str> = said.lines().rev().take(5).collect();
        assert!(output.status.success(), "{}: {last:?}", output.status);
        count(&stage.counts.real_collections);
    }
}

pub(super) fn collect_with_ours(stage: &Stage) {
    while !stage.is_over() {
        run_ok(stage.ours(["gc"]));
        count(&stage.counts.collections);
    }
}

pub(super) fn optimise_with_ours(stage: &Stage) {
    while !stage.is_over() {
        run_ok(stage.ours(["optimise"]));
        count(&stage.counts.optimisations);
    }
}

/// What goes meanwhile is no damage.
pub(super) fn verify_with_ours(stage: &Stage) {
    while !stage.is_over() {
        run_ok(stage.ours(["verify", "--check-contents"]));
        count(&stage.counts.verifications);
    }
}
