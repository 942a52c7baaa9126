//! Derivations whose attributes can't be used, beside real Nix's answers to requests to
//! build them.
//!
//! Statuses are those of the newest release; earlier ones find some of it later, with
//! another status. Messages are those of some release, on one line.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests fail the test that called them"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use nix_base::{BuildStatus, StoreDir, StorePathSet};
use nix_build::BuildFailure;
use nix_build::env::options_failure;
use nix_build::graph::GraphData;
use nix_drv::{Derivation, Strictness, drv_name};
use nix_store_core::{LocalStore, StoreConfig, StoreLayout};
use test_support::{
    Machine, Peer, RawDrv, RawLimits, ServeSession, Workshop, all_features, without_colours,
};

const DERIVATIONS: &str = include_str!("attributes/derivations.nix");

/// What ends the server of some release, which then says nothing more.
const DEADLY: [(&str, &[&str]); 3] = [
    ("2.8", &["graph_number", "json_array"]),
    ("2.26", &["graph_number", "json_array"]),
    ("newest", &["json_array", "json_syntax"]),
];

#[test]
fn attributes_are_refused_with_the_status_and_words_of_real_nix() {
    // Later releases refuse to instantiate what is wrong.
    let Some(maker) = Peer::find("2.8").filter(|_| Machine::available()) else {
        return;
    };
    let machine = Machine::new();
    machine.configure("sandbox = true");
    let drvs = Workshop::new(&machine, maker).instantiate(DERIVATIONS);
    let ours: BTreeMap<&str, BuildFailure> = drvs
        .iter()
        .map(|(name, drv)| (name.as_str(), our_failure(&machine, drv)))
        .collect();
    let mut unsaid: BTreeSet<&str> = ours.keys().copied().collect();
    for (label, deadly) in DEADLY {
        let Some(peer) = Peer::find(label) else {
            unsaid.clear();
            continue;
        };
        for (name, drv) in drvs
            .iter()
            .filter(|(name, _)| !deadly.contains(&name.as_str()))
        {
            let (status, message) = real_failure(&machine, peer, drv);
            let ours = &ours[name.as_str()];
            if label == "newest" {
                assert_eq!(status, ours.status as u64, "{name}: {message}");
            }
            if message.ends_with(&ours.message) {
                unsaid.remove(name.as_str());
            }
        }
    }
    // The words of a JSON parser are its own, and nobody survives an array.
    for name in ["json_array", "json_syntax"] {
        unsaid.remove(name);
    }
    assert_eq!(unsaid, BTreeSet::new());
}

/// The answer of a release.
fn real_failure(machine: &Machine, peer: &Peer, drv: &str) -> (u64, String) {
    let mut server = machine.nix_store(peer, ["--serve", "--write"]);
    server.env("NIX_CONFIG", all_features(peer));
    let mut session = ServeSession::open(server, 7);
    let raw = RawDrv::read(&machine.on_disk(drv));
    let result = session.build(drv, &raw, &RawLimits::default());
    session.finish();
    (result.status, without_colours(&result.error))
}

fn our_failure(machine: &Machine, path: &str) -> BuildFailure {
    let dir = StoreDir::default();
    let path = dir.parse(path).unwrap();
    let text = fs::read(machine.on_disk(&dir.print(&path))).unwrap();
    let name = drv_name(&path).unwrap();
    let drv = Derivation::parse(&text, &dir, &name, Strictness::Strict).unwrap();
    let options = match drv.basic.options(&dir) {
        Err(error) => return options_failure(&dir, &path, &error),
        Ok(options) => options,
    };
    // No input is asked for, so any store will do.
    let directory = tempfile::tempdir().unwrap();
    let layout = StoreLayout::chroot(dir, directory.path());
    let store = LocalStore::init(StoreConfig::new(layout)).unwrap();
    let structured = drv.structured_attrs().is_some();
    let graphs = GraphData::compute(&store, &options, structured, &StorePathSet::new());
    let failure = BuildFailure::from(graphs.unwrap_err());
    assert_eq!(failure.status, BuildStatus::InputRejected);
    failure
}
