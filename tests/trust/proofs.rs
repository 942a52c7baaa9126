//! Build requests with proofs, as bytes by the book.

use std::collections::{BTreeMap, BTreeSet};

use nix_base::{StoreDir, StorePath};
use nix_drv::proof::text_hash;
use nix_drv::{HashMemo, visit_graph};
use test_support::{Machine, Message, RawBuildResult, RawDrv, RawLimits, ServeSession};

use crate::closure::in_order;
use crate::site::{server, untrusted};

/// The command that builds with a proof.
const BUILD_DERIVATION_WITH_PROOF: u64 = 0x101;
/// The command that names features.
const ANNOUNCE_FEATURES: u64 = 0x102;

/// The sources of a derivation and the texts of its inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawProof {
    pub(crate) sources: Vec<String>,
    pub(crate) inputs: Vec<RawInput>,
}

/// The text of an input, and which of its outputs are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawInput {
    pub(crate) text: Vec<u8>,
    pub(crate) wanted: Vec<String>,
}

/// What a client sends to have a derivation built.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) drv_path: String,
    /// With the outputs of its inputs among its sources.
    pub(crate) drv: RawDrv,
    pub(crate) proof: RawProof,
}

impl Request {
    /// The request without its proof.
    pub(crate) fn plain(&self) -> Message {
        self.drv.request(&self.drv_path, &RawLimits::default(), 7)
    }

    pub(crate) fn with_proof(&self) -> Message {
        let plain = self.plain();
        let mut message = Message::new()
            .u64(BUILD_DERIVATION_WITH_PROOF)
            .raw_owned(&plain.as_bytes()[8..])
            .strings(&self.proof.sources)
            .u64(self.proof.inputs.len() as u64);
        let mut inputs: Vec<&RawInput> = self.proof.inputs.iter().collect();
        // Out of order, a proof is refused before anybody looks at it.
        inputs.sort_by_key(|input| text_hash(&input.text));
        for input in inputs {
            message = message
                .string(text_hash(&input.text))
                .u64(1)
                .string(&input.text)
                .strings(&input.wanted);
        }
        message
    }

    /// Whether its output paths follow from more than itself.
    pub(crate) fn has_inputs(&self) -> bool {
        !self.proof.inputs.is_empty()
    }

    /// Whether the paths follow from the contents.
    pub(crate) fn is_fixed(&self) -> bool {
        self.drv.outputs.iter().any(|output| !output[2].is_empty())
    }

    pub(crate) fn outputs(&self) -> BTreeSet<String> {
        let outputs = self.drv.outputs.iter();
        outputs.map(|output| output[1].clone()).collect()
    }
}

/// The requests that build all that a derivation is made from, inputs first.
pub(crate) fn requests(machine: &Machine, top: &str) -> Vec<Request> {
    let drvs = in_order(machine, top);
    let texts = texts(machine, top);
    let by_path: BTreeMap<&str, &RawDrv> = drvs
        .iter()
        .map(|(path, drv)| (path.as_str(), drv))
        .collect();
    drvs.iter()
        .map(|(path, drv)| request(path, drv, &by_path, &texts))
        .collect()
}

fn request(
    path: &str,
    drv: &RawDrv,
    drvs: &BTreeMap<&str, &RawDrv>,
    texts: &BTreeMap<String, Vec<u8>>,
) -> Request {
    let mut all: BTreeSet<String> = drv.input_srcs.iter().cloned().collect();
    let mut inputs: BTreeMap<[u8; 32], (Vec<u8>, BTreeSet<String>)> = BTreeMap::new();
    for (input, wanted) in &drv.input_drvs {
        let text = &texts[input];
        let (_, names) = inputs
            .entry(text_hash(text))
            .or_insert_with(|| (text.clone(), BTreeSet::new()));
        for name in wanted {
            names.insert(name.clone());
            all.insert(drvs[input.as_str()].output(name).to_owned());
        }
    }
    let inputs = inputs.into_values().map(|(text, wanted)| RawInput {
        text,
        wanted: wanted.into_iter().collect(),
    });
    Request {
        drv_path: path.to_owned(),
        drv: RawDrv {
            input_srcs: all.into_iter().collect(),
            ..drv.clone()
        },
        proof: RawProof {
            sources: drv.input_srcs.clone(),
            inputs: inputs.collect(),
        },
    }
}

/// The texts that stand for derivations among the inputs of others.
fn texts(machine: &Machine, top: &str) -> BTreeMap<String, Vec<u8>> {
    let dir = StoreDir::default();
    let mut texts = BTreeMap::new();
    let root = dir.parse(top.as_bytes()).unwrap();
    let read = |path: &StorePath| std::fs::read(machine.on_disk(&dir.print(path)));
    visit_graph([root], &dir, &mut HashMemo::new(), read, |visited| {
        texts.insert(dir.print(visited.path()), visited.input_text()?);
        Ok(())
    })
    .unwrap();
    texts
}

/// All sources of these requests that nothing built.
pub(crate) fn sources(requests: &[Request]) -> BTreeSet<String> {
    let all = requests.iter();
    all.flat_map(|request| request.proof.sources.clone())
        .collect()
}

/// A client of an untrusted server that starts again where one was closed.
pub(crate) struct Client<'m> {
    machine: &'m Machine,
    words: Vec<String>,
    session: Option<ServeSession>,
}

impl<'m> Client<'m> {
    pub(crate) fn new(machine: &'m Machine, key: &str) -> Self {
        Self {
            machine,
            words: untrusted(key),
            session: None,
        }
    }

    /// The same with more words to the server.
    pub(crate) fn told(mut self, words: &[&str]) -> Self {
        self.words
            .extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// A session in which proofs are agreed on, where the server takes any.
    pub(crate) fn session(&mut self) -> &mut ServeSession {
        self.session
            .get_or_insert_with(|| with_proofs(self.machine, &self.words))
    }

    /// Has something built; what the server said if it refused or failed.
    pub(crate) fn build(&mut self, request: &Message) -> Result<RawBuildResult, String> {
        let session = self.session();
        session.send(request);
        if session.at_end() {
            return Err(self.ended());
        }
        let result = session.read_build_result();
        match result.is_success() {
            true => Ok(result),
            false => Err(result.error),
        }
    }

    /// Has something built by its name; a status that is not one if the server went away.
    pub(crate) fn build_paths(&mut self, path: &str, limits: &RawLimits) -> (u64, String) {
        let session = self.session();
        session.send(&limits.build_paths([path], 7));
        if session.at_end() {
            return (u64::MAX, self.ended());
        }
        match session.read_u64() {
            0 => (0, String::new()),
            status => (status, session.read_string()),
        }
    }

    /// Adds a path; what the server said if it refused.
    pub(crate) fn add(&mut self, request: &Message) -> Result<(), String> {
        let session = self.session();
        // What is refused isn't read to its end.
        let _ = session.try_send(request.as_bytes());
        if session.at_end() {
            return Err(self.ended());
        }
        assert_eq!(session.read_u64(), 1, "an acknowledgement");
        Ok(())
    }

    /// Goes away; the next command opens another session.
    pub(crate) fn leave(&mut self) {
        self.session.take().map(ServeSession::finish);
    }

    /// What a server answers first, or says at its end.
    pub(crate) fn outcome(&mut self) -> String {
        let session = self.session();
        match session.at_end() {
            true => self.ended(),
            false => {
                let word = session.read_u64();
                self.leave();
                format!("answered {word}")
            }
        }
    }

    /// Goes away, and gives what was said on stderr.
    pub(crate) fn leave_and_hear(&mut self, hear: impl FnOnce(&str)) {
        let session = self.session.take().expect("a session was open");
        hear(&session.finish_ok().stderr);
    }

    /// The reason of a server that went away.
    pub(crate) fn ended(&mut self) -> String {
        let ended = self.session.take().map(ServeSession::finish);
        let ended = ended.expect("a session was open");
        assert!(!ended.status.success(), "it ended without an error");
        ended.stderr
    }
}

fn with_proofs(machine: &Machine, words: &[String]) -> ServeSession {
    let mut session = ServeSession::spawn(server(machine, words));
    let word = session.greet(1 << 16 | 0x207);
    assert_eq!(word >> 16, 1, "the server has extensions");
    // Who may not build has no use for them.
    if session.read_strings().iter().any(|name| name == "proof") {
        session.send(&Message::new().u64(ANNOUNCE_FEATURES).strings(["proof"]));
    }
    session
}
