//! Those that add, collect and optimise until the end.

use test_support::{Peer, collect_really, run_ok};

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
        let collect = || collect_really(stage.machine.nix_store(peer, ["--gc"]));
        count(match stage.while_disturbed(collect) {
            true => &stage.counts.real_collections,
            false => &stage.counts.crashes,
        });
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
