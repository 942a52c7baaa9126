use std::io::Read;

use nix_drv::Strictness;
use nix_drv::generate::package_set;
use nix_drv::proof::{Classification, Proof, ProofText, classify, verify};

use super::*;
use crate::client::RemoteStore;
use crate::client::fake_server::connect;
use crate::proto::proof::{read_text_hashes, write_text_hashes};
use crate::proto::{Feature, Features, ServeCommand};

/// Derivations in the order in which they can be built.
fn package_graph(dir: &StoreDir) -> (Graph, Vec<StorePath>) {
    let mut graph = Graph::default();
    let mut order = Vec::new();
    for made in package_set(60, 7, dir).unwrap() {
        let drv = Derivation::parse_file(&made.text, dir, &made.path, Strictness::Strict);
        graph.drvs.insert(made.path.clone(), drv.unwrap());
        order.push(made.path);
    }
    (graph, order)
}

/// What is sent in place of a derivation.
fn resolved(graph: &Graph, drv: &Derivation, dir: &StoreDir) -> nix_drv::BasicDerivation {
    drv.resolve(dir, |input, output| {
        let outputs = graph.drvs[input].known_outputs(dir)?;
        let found = outputs.into_iter().find(|(name, _)| name == output);
        Ok::<_, nix_drv::error::ReadError>(found.map(|(_, path)| path))
    })
    .unwrap()
}

/// Prepares proofs over a connection to a server that has `known` and tells what it was
/// asked.
fn prepare(
    graph: &Graph,
    to_build: &[StorePath],
    known: BTreeSet<TextHash>,
) -> (Proofs, BTreeSet<TextHash>) {
    let (connection, server) = connect(move |wire| {
        wire.greet_with(Features::ALL);
        wire.expect(ServeCommand::AnnounceFeatures);
        let theirs = Features::read(&mut wire.requests).unwrap();
        assert!(theirs.contains(Feature::Proof));
        wire.expect(ServeCommand::QueryProofTexts);
        let asked = read_text_hashes("texts", &mut wire.requests).unwrap();
        let missing = asked.difference(&known).copied().collect();
        write_text_hashes(&missing, &mut wire.replies).unwrap();
        assert!(wire.at_end());
        asked
    });
    let mut store = RemoteStore::new(connection);
    let proofs = Proofs::prepare(graph, to_build, &mut store, &StoreDir::default()).unwrap();
    store.finish();
    (proofs, server.join().unwrap())
}

#[test]
fn texts_go_once_those_of_what_is_built_never_and_all_proofs_hold() {
    let dir = StoreDir::default();
    let (graph, order) = package_graph(&dir);
    let (to_build, built_before): (Vec<_>, Vec<_>) =
        { order.iter().cloned() }.partition(|path| is_proven(&graph.drvs[path]));
    let (mut proofs, asked) = prepare(&graph, &to_build, BTreeSet::new());
    let mut sent: BTreeMap<TextHash, ProofText> = BTreeMap::new();
    let mut kept = sent.clone();
    for path in &to_build {
        let drv = &graph.drvs[path];
        let request = resolved(&graph, drv, &dir);
        let packed = proofs.pack(&graph, drv).unwrap().unwrap();
        for input in &packed.inputs {
            if let Some(text) = &input.text {
                assert!(sent.insert(input.hash, text.clone()).is_none());
                kept.insert(input.hash, text.clone());
            }
        }
        proofs.built(path, Some(&packed)).unwrap();
        let proof = packed.unpack(|hash| kept.get(hash).cloned()).unwrap();
        assert_eq!(
            verify(&request, &proof, &dir).unwrap().inputs,
            request.input_srcs
        );
        let own = proof.text_of(&request, &dir).unwrap();
        kept.insert(*own.hash(), own);
    }
    assert!(to_build.len() > 30, "{}", to_build.len());
    let hashes = |paths: &[StorePath]| -> BTreeSet<TextHash> {
        { paths.iter() }
            .filter_map(|path| text_hash(&proofs.memo, path).ok().flatten())
            .collect()
    };
    assert!(sent.keys().copied().eq(hashes(&built_before)));
    let mut inputs = hashes(&built_before);
    inputs.extend(hashes(&to_build));
    assert_eq!(inputs, asked);
}

#[test]
fn no_texts_go_along_when_all_is_built_there() {
    let dir = StoreDir::default();
    let (graph, order) = package_graph(&dir);
    let (mut proofs, _) = prepare(&graph, &order, BTreeSet::new());
    let mut kept: BTreeMap<TextHash, ProofText> = BTreeMap::new();
    for path in &order {
        let drv = &graph.drvs[path];
        let request = resolved(&graph, drv, &dir);
        let packed = proofs.pack(&graph, drv).unwrap();
        proofs.built(path, packed.as_ref()).unwrap();
        let text = match packed {
            Some(packed) => {
                let proof = packed.unpack(|hash| kept.get(hash).cloned()).unwrap();
                verify(&request, &proof, &dir).unwrap();
                proof.text_of(&request, &dir).unwrap()
            }
            None => {
                let class = classify(&request, &dir).unwrap();
                assert_ne!(class, Classification::NeedsProof);
                ProofText::new(input_text(&request.into(), &dir, &HashMemo::new()).unwrap())
            }
        };
        kept.insert(*text.hash(), text);
    }
}

#[test]
fn the_proof_is_the_same_as_from_the_texts_of_all_inputs() {
    let dir = StoreDir::default();
    let (graph, order) = package_graph(&dir);
    let (proofs, _) = prepare(&graph, &order, BTreeSet::new());
    for path in &order {
        let drv = &graph.drvs[path];
        let Some(packed) = proofs.pack(&graph, drv).unwrap() else {
            continue;
        };
        let text_of = |input: &StorePath| input_text(&graph.drvs[input], &dir, &proofs.memo);
        let proof = Proof::of(drv, |input| text_of(input).map_err(std::io::Error::other)).unwrap();
        assert_eq!(packed, PackedProof::pack(&proof, |_| false));
    }
}

#[test]
fn texts_that_are_known_there_stay_here() {
    let (graph, order) = package_graph(&StoreDir::default());
    let (_, all) = prepare(&graph, &order, BTreeSet::new());
    let (proofs, asked) = prepare(&graph, &order, all.clone());
    assert_eq!(asked, all);
    for path in &order {
        let packed = proofs.pack(&graph, &graph.drvs[path]).unwrap();
        let inputs = packed.into_iter().flat_map(|packed| packed.inputs);
        assert!({ inputs }.all(|input| input.text.is_none()));
    }
}

#[test]
fn nothing_is_asked_where_nothing_needs_a_proof() {
    let (graph, order) = package_graph(&StoreDir::default());
    let source = order
        .iter()
        .find(|path| graph.drvs[*path].input_drvs.is_empty());
    let (connection, server) = connect(|wire| {
        let mut sent = Vec::new();
        wire.requests.read_to_end(&mut sent).unwrap();
        sent
    });
    let mut store = RemoteStore::new(connection);
    let source = [source.unwrap().clone()];
    Proofs::prepare(&graph, &source, &mut store, &StoreDir::default()).unwrap();
    drop(store);
    // Nothing but the greeting.
    assert_eq!(server.join().unwrap().len(), 16);
}

#[test]
fn a_cycle_of_derivations_is_an_error() {
    let dir = StoreDir::default();
    let (mut graph, order) = package_graph(&dir);
    let needing = order
        .iter()
        .find(|path| is_proven(&graph.drvs[*path]))
        .unwrap();
    let drv = graph.drvs.get_mut(needing).unwrap();
    let node = drv.input_drvs.values().next().unwrap().clone();
    drv.input_drvs.insert(needing.clone(), node);
    let roots = [needing.clone()].into();
    assert!(hashes_of(&graph, &roots, &dir).is_err());
}
