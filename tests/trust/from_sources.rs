//! A whole closure built by a server that trusts nobody, from its sources up.

use std::collections::BTreeSet;

use test_support::{Machine, Peer, RawDrv, RawLimits, run_ok, say, verify_with, with_each_release};

use crate::closure::{Merged, Size, attributes, in_order};
use crate::site::{confined, force, is_soak, newest, ours, session, stocked, untrusted};

/// What two machines have to agree on after builds over there.
fn assert_built(peer: &Peer, here: &Machine, there: &Machine, top: &str) -> usize {
    let drvs = in_order(here, top);
    let outputs: BTreeSet<String> = drvs
        .iter()
        .flat_map(|(_, drv)| drv.outputs.iter().map(|output| output[1].clone()))
        .collect();
    let mut session =
        test_support::ServeSession::open(there.command(ours(), ["serve", "--write"]), 7);
    let valid = session.query_valid_paths(false, false, &outputs);
    session.finish_ok();
    let missing: Vec<_> = outputs.difference(&valid).collect();
    assert!(missing.is_empty(), "not valid: {missing:?}");
    verify_with(peer, there);
    drvs.len()
}

/// The derivation files in a machine's store.
fn derivation_files(machine: &Machine) -> Vec<String> {
    let mut names = machine.names();
    names.retain(|name| name.ends_with(".drv"));
    names
}

#[test]
fn our_client_builds_a_closure_with_no_derivation_copied() {
    let Some(peer) = newest() else { return };
    let (here, drvs) = stocked(peer, &attributes(Size::FULL, Merged::Yes));
    let there = confined();
    force(&there, &untrusted("alice"));
    let host = here.ssh_to(&there);
    let address = format!("ssh://{host}?remote-program=nix-serve");
    run_ok(here.command(
        ours(),
        ["build", "--no-link", "--on", &address, &drvs["top"]],
    ));
    assert_eq!(derivation_files(&there), Vec::<String>::new());
    let count = assert_built(peer, &here, &there, &drvs["top"]);
    assert!(count >= 90, "{count} derivations");
    say(&format!(
        "{count} derivations built without trust, none of them copied"
    ));
}

/// `nix-build` with `builders`, once the derivations were copied: they verify themselves. Then
/// another key has the same paths built by name.
fn a_stock_client_builds_a_closure(peer: &Peer) {
    let merged = match peer.is_at_least(2, 8) {
        true => Merged::Yes,
        false => Merged::No,
    };
    let size = match is_soak() {
        true => Size::FULL,
        false => Size::SMALL,
    };
    let shapes = attributes(size, merged);
    let (here, drvs) = stocked(peer, &shapes);
    let there = confined();
    force(&there, &untrusted("stock"));
    let host = here.ssh_to(&there);
    run_ok(here.command("nix-copy-closure", ["--to", &host, &drvs["top"]]));
    let builders = format!("ssh://{host} x86_64-linux - 2 1");
    let file = here.path("home/workshop/default.nix").display().to_string();
    let words = [
        "-A",
        "top",
        "--no-out-link",
        "-j0",
        "--builders",
        &builders,
        &file,
    ];
    // In the long form this takes longer than other commands may.
    let output = here.command("nix-build", words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    let count = assert_built(peer, &here, &there, &drvs["top"]);
    say(&format!(
        "Nix {}: {count} derivations built without trust",
        peer.version()
    ));
    build_paths(&here, &there, &host, &drvs["top"]);
}

/// What one key built is not there for another one, which copies the derivations again and
/// builds again.
fn build_paths(here: &Machine, there: &Machine, host: &str, top: &str) {
    let output = RawDrv::read(&here.on_disk(top)).output("out").to_owned();
    let mut other = session(there, "other");
    let seen = other.query_valid_paths(false, false, [top, &output]);
    assert_eq!(seen, BTreeSet::new());
    other.finish_ok();
    force(there, &untrusted("other"));
    run_ok(here.command("nix-copy-closure", ["--to", host, top]));
    let mut other = session(there, "other");
    let (status, error) = other.build_paths([top], &RawLimits::default());
    assert_eq!(status, 0, "{error}");
    let seen = other.query_valid_paths(false, false, [top, &output]);
    assert_eq!(seen.len(), 2);
    other.finish_ok();
}

with_each_release!(stock_clients: a_stock_client_builds_a_closure);
