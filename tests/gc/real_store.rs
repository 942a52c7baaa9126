//! A store that a real Nix makes and works on.

use std::process::Command;

use nix_base::StoreDir;
use nix_store_core::{LocalStore, StoreConfig, StoreLayout};
use test_support::{PathToAdd, Peer, ServeSession, TempStore, say};

/// A release, and a store for it and for us.
pub(crate) struct RealStore {
    pub(crate) peer: &'static Peer,
    pub(crate) store: TempStore,
}

impl RealStore {
    pub(crate) fn new(peer: &'static Peer) -> Self {
        let store = TempStore::new();
        Self { peer, store }
    }

    pub(crate) fn nix_store(&self, arguments: &[&str]) -> Command {
        let mut command = self.peer.command("nix-store");
        command.args(["--store", &self.store.address()]);
        command.args(arguments);
        command
    }

    pub(crate) fn server(&self) -> ServeSession {
        ServeSession::open(self.nix_store(&["--serve", "--write"]), 5)
    }

    /// Has a server of the release add objects.
    pub(crate) fn add(&self, paths: &[PathToAdd]) {
        let mut server = self.server();
        for path in paths {
            server.add(path);
        }
        server.finish_ok();
    }

    pub(crate) fn open(&self) -> LocalStore {
        let layout = StoreLayout::chroot(StoreDir::default(), self.store.root());
        LocalStore::open(StoreConfig::new(layout)).unwrap()
    }
}

/// Runs a test with each release that is here.
pub(crate) fn with_each(test: impl Fn(&'static Peer)) {
    for peer in Peer::all() {
        say(&format!("beside Nix {}", peer.version()));
        test(peer);
    }
}
