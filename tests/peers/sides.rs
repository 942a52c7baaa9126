//! Who talks to whom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};

use test_support::{
    Corpus, Machine, Peer, RawPathInfo, ServeSession, assert_same_contents, verify_with,
};

/// Our program.
pub(crate) fn ours() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_nix-serve"))
}

/// Our program on a machine.
pub(crate) fn ours_on<'a>(
    machine: &Machine,
    arguments: impl IntoIterator<Item = &'a str>,
) -> Command {
    machine.command(ours(), arguments)
}

/// What answers on a machine that serves.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Server<'a> {
    Ours,
    Real(&'a Peer),
}

impl Server<'_> {
    /// Puts the server on the machine's `PATH` as `nix-store`, and ours under
    /// its own name as well.
    pub(crate) fn install(self, machine: &Machine) {
        match self {
            Self::Ours => {
                machine.link("nix-store", ours());
                machine.link("nix-serve", ours());
            }
            Self::Real(peer) => machine.install(peer),
        }
    }

    /// What to append to an `ssh://` address. Ours is named there, so that
    /// both ways to find it are tried.
    pub(crate) fn address_suffix(self) -> &'static str {
        match self {
            Self::Ours => "?remote-program=nix-serve",
            Self::Real(_) => "",
        }
    }

    /// A serving process on the machine, told in the server's own way.
    pub(crate) fn command(self, machine: &Machine) -> Command {
        match self {
            Self::Ours => ours_on(machine, ["serve", "--write"]),
            Self::Real(peer) => machine.nix_store(peer, ["--serve", "--write"]),
        }
    }

    /// A client of that server, shaken hands with.
    pub(crate) fn session(self, machine: &Machine) -> ServeSession {
        ServeSession::open(self.command(machine), 7)
    }
}

/// A machine with a corpus of a release, made once for a test.
pub(crate) fn stock(peer: &Peer, salt: &str) -> (Machine, Corpus) {
    let machine = Machine::new();
    let corpus = Corpus::build(&machine, peer, &format!("{salt}-{}", peer.label()));
    (machine, corpus)
}

/// Demands that `paths` were copied: the same archives, the same metadata,
/// and real Nix is content with the store on `to`.
#[track_caller]
pub(crate) fn assert_copied(peer: &Peer, from: &Machine, to: &Machine, paths: &BTreeSet<String>) {
    assert_same_contents(from, to, paths);
    let (wanted, got) = (infos(peer, from, paths), infos(peer, to, paths));
    assert_eq!(
        wanted.len(),
        paths.len(),
        "all are valid where they come from"
    );
    for (path, info) in &wanted {
        assert_eq!(Some(info), got.get(path), "what is known of '{path}'");
    }
    verify_with(peer, to);
}

/// What a release of real Nix says about paths on a machine.
pub(crate) fn infos(
    peer: &Peer,
    machine: &Machine,
    paths: &BTreeSet<String>,
) -> BTreeMap<String, RawPathInfo> {
    let mut session = Server::Real(peer).session(machine);
    let infos = session.query_path_infos(paths);
    session.finish_ok();
    infos
        .into_iter()
        .map(|info| (info.path.clone(), info))
        .collect()
}

/// What a command printed, or its complaint if it failed.
pub(crate) fn outcome(output: &Output) -> Result<Vec<String>, String> {
    if output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout);
        return Ok(text.lines().map(str::to_owned).collect());
    }
    Err(format!(
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}
