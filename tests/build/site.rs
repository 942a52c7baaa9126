//! Who builds, and where.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use test_support::{Machine, Peer, ServeSession, Workshop, all_features};

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

/// Who builds on a machine.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Builder<'a> {
    Ours,
    Real(&'a Peer),
}

impl Builder<'_> {
    /// A program's name and arguments on a machine, with all features on: `nix-store`, which
    /// ours answers to as well.
    pub(crate) fn nix_store(self, machine: &Machine, arguments: &[&str]) -> Command {
        match self {
            Self::Ours => {
                machine.link("nix-store", ours());
                let mut command = machine.command(machine.path("bin/nix-store"), arguments);
                command.env("NIX_CONFIG", FEATURES);
                command
            }
            Self::Real(peer) => {
                let mut command = machine.nix_store(peer, arguments);
                command.env("NIX_CONFIG", all_features(peer));
                command
            }
        }
    }

    /// A serving process.
    pub(crate) fn server(self, machine: &Machine) -> Command {
        match self {
            Self::Ours => {
                let mut command = machine.command(ours(), ["serve", "--write"]);
                command.env("NIX_CONFIG", FEATURES);
                command
            }
            Self::Real(_) => self.nix_store(machine, &["--serve", "--write"]),
        }
    }

    /// A client of a serving process, shaken hands with.
    pub(crate) fn session(self, machine: &Machine) -> ServeSession {
        ServeSession::open(self.server(machine), 7)
    }

    /// Puts the server on the machine's `PATH` with all features on: real Nix and ours as
    /// `nix-store`, ours under its own name as well.
    pub(crate) fn install(self, machine: &Machine) {
        match self {
            Self::Ours => {
                for name in ["nix-serve", "nix-store"] {
                    // The program goes by the name that it is called by.
                    let face = machine.path("home").join(name);
                    let _ = std::fs::remove_file(&face);
                    std::os::unix::fs::symlink(ours(), &face).unwrap();
                    let text = format!(
                        "#!/bin/sh\nexport NIX_CONFIG='{FEATURES}'\nexec {} \"$@\"\n",
                        face.display()
                    );
                    machine.install_script(name, &text);
                }
            }
            Self::Real(peer) => {
                machine.install(peer);
                let mut text = "#!/bin/sh\n".to_owned();
                for (name, value) in peer.environment() {
                    text.push_str(&format!("export {name}='{value}'\n"));
                }
                text.push_str(&format!(
                    "export NIX_CONFIG='{}'\nexec {} \"$@\"\n",
                    all_features(peer),
                    peer.program("nix-store").display()
                ));
                machine.install_script("nix-store", &text);
            }
        }
    }
}

/// A machine whose builds are confined, with derivations of a release in its store.
pub(crate) fn stocked(peer: &Peer, attributes: &str) -> (Machine, BTreeMap<String, String>) {
    let machine = confined();
    let drvs = Workshop::new(&machine, peer).instantiate(attributes);
    (machine, drvs)
}

/// A machine whose builds are confined.
pub(crate) fn confined() -> Machine {
    let machine = Machine::new();
    machine.configure(CONFINED);
    machine
}

/// The lines of nix.conf for that; more may follow.
pub(crate) const CONFINED: &str = "sandbox = true\n";

const FEATURES: &str = "experimental-features = nix-command ca-derivations impure-derivations";
