//! The clients, each with one server after another.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use test_support::{Message, Peer, RawLimits, ServeSession};

use super::random::Random;
use super::stage::{Chain, Stage, count};

/// What serves a client.
#[derive(Debug, Clone, Copy)]
pub(super) enum Server {
    Ours,
    /// Ours, which makes equal files one as they come.
    Linking,
    Real(&'static Peer),
}

impl Server {
    fn session(self, stage: &Stage) -> ServeSession {
        let command = match self {
            Self::Ours => stage.ours(["serve", "--write"]),
            Self::Linking => stage.ours([
                "serve",
                "--write",
                "--option",
                "auto-optimise-store",
                "true",
            ]),
            Self::Real(peer) => stage.machine.nix_store(peer, ["--serve", "--write"]),
        };
        ServeSession::open(command, 7)
    }

    fn is_ours(self) -> bool {
        !matches!(self, Self::Real(_))
    }
}

/// A client with its choices and its roots, which outlive its connections.
pub(super) struct Client<'s> {
    stage: &'s Stage,
    server: Server,
    random: Random,
    roots: VecDeque<String>,
}

/// A connection, and what it pins.
struct Connection {
    session: ServeSession,
    pinned: Vec<Arc<Chain>>,
}

impl<'s> Client<'s> {
    pub(super) fn new(stage: &'s Stage, server: Server, seed: u64) -> Self {
        Self {
            stage,
            server,
            random: Random::new(seed),
            roots: VecDeque::new(),
        }
    }

    /// One connection after another until the end.
    pub(super) fn live(mut self) {
        while !self.stage.is_over() {
            let mut connection = Connection {
                session: self.server.session(self.stage),
                pinned: Vec::new(),
            };
            for _ in 0..5 + self.random.below(30) {
                self.act(&mut connection);
                self.check(&mut connection);
                if self.stage.is_over() {
                    break;
                }
            }
            self.check_validity(&mut connection);
            if self.random.below(5) == 0 {
                drop(connection.session.kill());
                count(&self.stage.counts.kills);
            } else {
                connection.session.finish_ok();
            }
        }
    }

    fn act(&mut self, connection: &mut Connection) {
        match self.random.below(12) {
            0..=3 => {
                let chain = self.stage.fresh(&mut self.random);
                self.import(connection, &chain);
                self.stage.remember(&chain);
            }
            4..=7 => self.look_up(connection),
            8 => self.import_again(connection),
            9 => self.root(connection),
            _ => self.dump(connection),
        }
    }

    /// Sends a chain at once, as clients do that know what they want.
    fn import(&mut self, connection: &mut Connection, chain: &Arc<Chain>) {
        let mut request = Message::new();
        for path in &chain.0 {
            request.raw(path.request().as_bytes());
        }
        connection.session.send(&request);
        for path in &chain.0 {
            let answer = connection.session.read_u64();
            assert_eq!(answer, 1, "{:?}: import of '{}'", self.server, path.path);
        }
        count(&self.stage.counts.imports);
        connection.pinned.push(Arc::clone(chain));
    }

    /// Asks for the top of a chain alone: what it refers to has to stay with it.
    fn look_up(&mut self, connection: &mut Connection) {
        let Some(chain) = self.stage.any(&mut self.random) else {
            return;
        };
        let quiet = self.stage.quiet();
        if quiet.is_none() && !chain.is_single() {
            return;
        }
        let top = &chain.top().path;
        let valid = connection.session.query_valid_paths(true, false, [top]);
        drop(quiet);
        if valid.is_empty() {
            count(&self.stage.counts.gone);
        } else {
            assert_eq!(valid, BTreeSet::from([top.clone()]));
            count(&self.stage.counts.found);
            connection.pinned.push(chain);
        }
    }

    /// Sends what may be there, may be dead, and may be being deleted. Real servers replace
    /// what has just become valid, so only ours are asked to.
    fn import_again(&mut self, connection: &mut Connection) {
        if !self.server.is_ours() {
            return;
        }
        let Some(chain) = self.stage.any(&mut self.random) else {
            return;
        };
        let quiet = self.stage.quiet();
        if quiet.is_some() || chain.is_single() {
            self.import(connection, &chain);
        }
    }

    fn root(&mut self, connection: &Connection) {
        if !self.server.is_ours() || connection.pinned.is_empty() {
            return;
        }
        let Some(_quiet) = self.stage.quiet() else {
            return;
        };
        let chosen = self.random.below(connection.pinned.len());
        self.roots
            .extend(self.stage.root(&connection.pinned[chosen]));
        if self.roots.len() > ROOTS {
            let oldest = self.roots.pop_front().unwrap();
            self.stage.unroot(&oldest);
        }
    }

    fn dump(&mut self, connection: &mut Connection) {
        if connection.pinned.is_empty() {
            return;
        }
        let chain = &connection.pinned[self.random.below(connection.pinned.len())];
        let path = &chain.0[self.random.below(chain.0.len())];
        connection
            .session
            .send(&Message::dump_store_path(&path.path));
        let got = connection.session.read_exact(path.nar.len());
        assert!(got == path.nar, "the archive of '{}' differs", path.path);
        count(&self.stage.counts.dumps);
    }

    /// All that the connection pins is on disk.
    fn check(&self, connection: &mut Connection) {
        let server = self.server;
        connection.pinned.retain(|chain| {
            let missing = self.stage.missing(chain.names());
            if !server.is_ours() && !missing.is_empty() {
                count(&self.stage.counts.lost_by_real);
                return false;
            }
            assert!(missing.is_empty(), "pinned, and is gone: {missing:?}");
            true
        });
    }

    /// All that the connection pins is valid.
    fn check_validity(&self, connection: &mut Connection) {
        self.check(connection);
        let pinned = connection.pinned.iter();
        let names: BTreeSet<&String> = pinned.flat_map(|chain| chain.names()).collect();
        let session = &mut connection.session;
        let valid = session.query_valid_paths(false, false, &names);
        let lost: Vec<_> = names
            .iter()
            .filter(|name| !valid.contains(**name))
            .collect();
        if self.server.is_ours() {
            assert!(lost.is_empty(), "pinned, and not valid: {lost:?}");
        } else if !lost.is_empty() {
            count(&self.stage.counts.lost_by_real);
        }
    }
}

/// A client that has derivations built until the end.
pub(super) fn build(stage: &Stage, seed: u64) {
    let mut random = Random::new(1000 + seed);
    while !stage.is_over() {
        let mut session = Server::Ours.session(stage);
        let mut outputs = BTreeSet::new();
        for _ in 0..=random.below(6) {
            let (path, drv) = &stage.drvs[random.below(stage.drvs.len())];
            let result = session.build(path, drv, &RawLimits::default());
            assert!(result.is_success(), "{result:?}");
            count(match result.status {
                0 => &stage.counts.builds,
                _ => &stage.counts.rebuilds,
            });
            outputs.insert(drv.output("out").to_owned());
            stage.assert_present(&outputs, "is being waited for");
        }
        assert_eq!(session.query_valid_paths(false, false, &outputs), outputs);
        stage.assert_present(&outputs, "is being waited for");
        match random.below(5) {
            0 => drop(session.kill()),
            _ => drop(session.finish_ok()),
        }
    }
}

/// Roots that a client keeps at a time.
const ROOTS: usize = 20;
