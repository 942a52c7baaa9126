//! Two keys on one store: whatever one does, the other reads the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use test_support::{Machine, Message, PathToAdd, RawPathInfo, say, verify_with};

use crate::closure::{Merged, Size, attributes};
use crate::forgeries::bring_sources;
use crate::imports::{paths_of, write_policy};
use crate::proofs::{Client, Request, requests};
use crate::site::{confined, is_soak, newest, stocked};

const OPERATIONS: usize = 100_000;

/// What a key reads: all that is known of its paths, and their contents.
type Reading = BTreeMap<String, (RawPathInfo, Vec<u8>)>;

fn read(client: &mut Client<'_>, paths: &BTreeSet<String>) -> Reading {
    let session = client.session();
    let infos = session.query_path_infos(paths);
    infos
        .into_iter()
        .map(|info| {
            session.send(&Message::dump_store_path(&info.path));
            let size = usize::try_from(info.nar_size).unwrap();
            let archive = session.read_exact(size);
            (info.path.clone(), (info, archive))
        })
        .collect()
}

/// The one whose doings are drawn at random.
struct Mallory<'m> {
    client: Client<'m>,
    random: Random,
    /// Sources of the other key, which anybody may bring again.
    sources: Vec<PathToAdd>,
    requests: Vec<Request>,
    /// What this key has brought or built.
    own: BTreeSet<String>,
    /// All paths that have ever been spoken of.
    known: Vec<String>,
    refused: usize,
    done: usize,
}

impl Mallory<'_> {
    fn act(&mut self) {
        self.done += 1;
        match self.random.below(20) {
            0..=4 => self.ask_for_validity(),
            5..=6 => self.ask_for_infos(),
            7 => self.ask_for_a_closure(),
            8 => self.dump(),
            9..=11 => self.bring(),
            12 => self.bring_a_lie(),
            13 => self.bring_a_source(),
            14..=16 => self.build(),
            17..=18 => self.build_a_forgery(),
            _ => self.talk_nonsense(),
        }
    }

    fn some_known(&mut self) -> BTreeSet<String> {
        let count = self.random.below(6);
        (0..count)
            .map(|_| self.known[self.random.below(self.known.len())].clone())
            .collect()
    }

    /// What is visible is what was brought or built, and nothing else.
    fn ask_for_validity(&mut self) {
        let asked = self.some_known();
        let lock = self.random.below(2) == 0;
        let seen = self.client.session().query_valid_paths(lock, false, &asked);
        assert_eq!(seen, &asked & &self.own);
    }

    fn ask_for_infos(&mut self) {
        let asked = self.some_known();
        let infos = self.client.session().query_path_infos(&asked);
        let seen: BTreeSet<String> = infos.into_iter().map(|info| info.path).collect();
        assert_eq!(seen, &asked & &self.own);
    }

    fn ask_for_a_closure(&mut self) {
        let asked = &self.some_known() & &self.own;
        let closure = self.client.session().query_closure(true, &asked);
        assert!(closure.is_subset(&self.own), "{closure:?}");
        assert!(closure.is_superset(&asked), "{closure:?}");
    }

    fn dump(&mut self) {
        let path = self.known[self.random.below(self.known.len())].clone();
        if self.own.contains(&path) {
            let read = read(&mut self.client, &[path].into());
            assert_eq!(read.len(), 1);
            return;
        }
        let session = self.client.session();
        session.send(&Message::dump_store_path(&path));
        assert!(session.at_end(), "'{path}' isn't to be seen");
        self.client.ended();
        self.refused += 1;
    }

    fn bring(&mut self) {
        let number = self.random.below(200);
        let path = PathToAdd::added_file(&format!("own-{number}"), format!("{number}").as_bytes());
        self.client.add(&path.request()).unwrap();
        self.now_own(path.path);
    }

    fn bring_a_source(&mut self) {
        let source = self.sources[self.random.below(self.sources.len())].clone();
        self.client.add(&source.request()).unwrap();
        self.now_own(source.path);
    }

    /// Something at a path that it doesn't belong to, if possible one that the other key has.
    fn bring_a_lie(&mut self) {
        let number = self.random.below(200);
        let mut path = PathToAdd::added_file(&format!("lie-{number}"), b"a lie");
        match self.random.below(4) {
            0 => path.ca.clear(),
            1 => path.path = self.known[self.random.below(self.known.len())].clone(),
            2 => path.nar[100] ^= 1,
            _ => {
                path.path = self.known[self.random.below(self.known.len())].clone();
                path.ca.clear();
                path.ultimate = true;
            }
        }
        if self.client.add(&path.request()).is_ok() {
            panic!("'{}' was taken", path.path);
        }
        self.refused += 1;
    }

    fn build(&mut self) {
        let request = &self.requests[self.random.below(self.requests.len())];
        let outputs = request.outputs();
        let inputs: BTreeSet<String> = request.drv.input_srcs.iter().cloned().collect();
        let message = match self.random.below(2) {
            0 => request.plain(),
            _ => request.with_proof(),
        };
        // Without evidence one from earlier may do.
        let built = self.client.build(&message);
        if built.is_ok() {
            assert!(inputs.is_subset(&self.own), "built without its inputs");
            outputs.into_iter().for_each(|path| self.now_own(path));
        } else {
            self.refused += 1;
        }
    }

    fn build_a_forgery(&mut self) {
        let mut request = self.requests[self.random.below(self.requests.len())].clone();
        let other = self.requests[self.random.below(self.requests.len())].clone();
        let own: Vec<String> = self.own.iter().cloned().collect();
        match self.random.below(5) {
            0 => request.drv.args.push("x".to_owned()),
            1 => request.drv.outputs[0][1].clone_from(&other.drv.outputs[0][1]),
            2 => request.drv.builder.push('x'),
            3 if !own.is_empty() => {
                request
                    .drv
                    .input_srcs
                    .push(own[self.random.below(own.len())].clone());
            }
            _ => request.proof = other.proof,
        }
        let honest = request.outputs();
        let is_fixed = request.is_fixed();
        let built = self.client.build(&request.with_proof());
        // Some changes make no difference: an input that is one already, and anything about
        // what a fixed output is made by.
        if built.is_ok() {
            assert!(
                is_fixed || self.may_be_built(&request),
                "'{}'",
                request.drv_path
            );
            honest.into_iter().for_each(|path| self.now_own(path));
        } else {
            self.refused += 1;
        }
    }

    /// Whether a request is one of the honest ones, but for inputs given twice over and proofs
    /// that aren't needed.
    fn may_be_built(&self, request: &Request) -> bool {
        self.requests.iter().any(|honest| {
            let (mut left, mut right) = (request.drv.clone(), honest.drv.clone());
            left.input_srcs.clear();
            right.input_srcs.clear();
            left == right
        })
    }

    fn talk_nonsense(&mut self) {
        let bytes = Message::new()
            .u64(self.random.next() % 12)
            .u64(self.random.next() % 3)
            .u64(self.random.next());
        let session = self.client.session();
        // What comes back, if anything, is of no interest.
        let _ = session.try_send(bytes.as_bytes());
        session.close_input();
        self.client.leave();
    }

    fn now_own(&mut self, path: String) {
        if self.own.insert(path.clone()) && !self.known.contains(&path) {
            self.known.push(path);
        }
    }
}

#[test]
fn what_one_key_does_never_changes_what_the_other_reads() {
    let Some(peer) = newest() else { return };
    let (here, drvs) = stocked(peer, &attributes(Size::SMALL, Merged::Yes));
    let there = confined();
    write_policy(
        &there,
        "[key.alice]\nallow = [\"query\", \"dump\", \"import-ca\", \"build-verified\"]\n\
         [key.mallory]\n\
         allow = [\"query\", \"dump\", \"import-ca\", \"import-signed\", \"build-verified\"]\n",
    );
    let requests = requests(&here, &drvs["top"]);
    let mut alice = Client::new(&there, "alice");
    let paths = alices_paths(&mut alice, &here, &requests);
    let before = read(&mut alice, &paths);
    assert_eq!(before.len(), paths.len());

    let sources = paths_of(&here, &crate::proofs::sources(&requests));
    let mut mallory = Mallory {
        client: Client::new(&there, "mallory"),
        random: Random(11),
        sources,
        requests,
        own: BTreeSet::new(),
        known: paths.iter().cloned().collect(),
        refused: 0,
        done: 0,
    };
    let until = Instant::now() + Duration::from_secs(15);
    while match is_soak() {
        true => mallory.done < OPERATIONS,
        false => Instant::now() < until,
    } {
        mallory.act();
        if mallory.done.is_multiple_of(500) {
            assert_eq!(read(&mut alice, &paths), before);
        }
    }
    assert_eq!(read(&mut alice, &paths), before);
    let mut later = Client::new(&there, "alice");
    assert_eq!(read(&mut later, &paths), before);
    verify_with(peer, &there);
    say(&format!(
        "{} operations of a stranger, {} of them refused: nothing changed",
        mallory.done, mallory.refused
    ));
}

/// All that a key brought and built from sources up.
fn alices_paths(alice: &mut Client<'_>, here: &Machine, requests: &[Request]) -> BTreeSet<String> {
    bring_sources(alice, here, requests);
    let mut paths = crate::proofs::sources(requests);
    for request in requests {
        alice.build(&request.with_proof()).unwrap();
        paths.extend(request.outputs());
    }
    paths
}

/// splitmix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}
