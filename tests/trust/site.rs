//! Machines with an untrusted server, and who talks to it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use test_support::{Machine, Peer, ServeSession, Workshop};

/// The newest release that is here, as the maker of derivations and the judge.
pub(crate) fn newest() -> Option<&'static Peer> {
    Peer::all().last().filter(|_| Machine::available())
}

/// Whether this is the long form of the tests.
pub(crate) fn is_soak() -> bool {
    std::env::var_os("SOAK").is_some()
}

/// Our program.
pub(crate) fn ours() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_nix-serve"))
}

/// A machine whose builds are confined.
pub(crate) fn confined() -> Machine {
    let machine = Machine::new();
    machine.configure("sandbox = true\ncores = 1\n");
    machine
}

/// A machine with derivations of a release in its store; their paths by their names.
pub(crate) fn stocked(peer: &Peer, attributes: &str) -> (Machine, BTreeMap<String, String>) {
    let machine = confined();
    machine.install(peer);
    let drvs = Workshop::new(&machine, peer).instantiate(attributes);
    (machine, drvs)
}

/// The words of a server that trusts nobody, for one key.
pub(crate) fn untrusted(key: &str) -> Vec<String> {
    ["serve", "--write", "--untrusted", "--as", key]
        .map(str::to_owned)
        .to_vec()
}

/// A serving process with these words.
pub(crate) fn server(machine: &Machine, words: &[String]) -> Command {
    machine.command(ours(), words)
}

/// A client of an untrusted server, shaken hands with.
pub(crate) fn session(machine: &Machine, key: &str) -> ServeSession {
    ServeSession::open(server(machine, &untrusted(key)), 7)
}

/// Answers every way to start a server on a machine with one command, as a forced command in
/// `authorized_keys` does.
pub(crate) fn force(machine: &Machine, words: &[String]) {
    let text = format!("#!/bin/sh\nexec {} {}\n", ours().display(), words.join(" "));
    for name in ["nix-store", "nix-serve"] {
        machine.install_script(name, &text);
    }
}
