//! Requests that were changed at random, some of them by an attacker who knows the rules
//! and makes all paths fit again.

use std::collections::{BTreeMap, BTreeSet};

use bstr::BString;
use nix_base::{StorePath, StorePathSet};

use super::forgeries::accept;
use super::graph::{Graph, Random, Request};
use crate::derivation::{BasicDerivation, DerivationOutput};
use crate::outputs::output_path;
use crate::proof::{Classification, ProofInput, ProofText, classify, masked_hash, text_outputs};

struct Attacker<'g> {
    random: Random,
    graph: &'g Graph,
    texts: Vec<&'g Vec<u8>>,
    paths: Vec<StorePath>,
}

impl Attacker<'_> {
    fn change(&mut self, request: &mut Request) {
        match self.random.below(12) {
            0..4 => self.change_drv(request),
            4..6 => self.change_outputs(request),
            6..8 => self.change_inputs(request),
            _ => self.change_proof(request),
        }
    }

    fn bytes(&mut self, value: &mut BString) {
        if value.is_empty() || self.random.below(4) == 0 {
            value.push(*self.random.one_of(b"ax/\"\\\n"));
            return;
        }
        let at = self.random.below(value.len());
        match self.random.below(2) {
            0 => value[at] ^= 1 << self.random.below(7),
            _ => drop(value.remove(at)),
        }
    }

    fn change_drv(&mut self, request: &mut Request) {
        let drv = &mut request.drv;
        match self.random.below(6) {
            0 => {
                let n = self.random.below(drv.args.len() + 1);
                match drv.args.get_mut(n) {
                    Some(arg) => self.bytes(arg),
                    None => drv.args.push("x".into()),
                }
            }
            1 => self.bytes(&mut drv.builder),
            2 => self.bytes(&mut drv.platform),
            3 => {
                let n = self.random.below(drv.env.len());
                let (name, mut value) = drv
                    .env
                    .iter()
                    .nth(n)
                    .map(|(n, v)| (n.clone(), v.clone()))
                    .unwrap();
                match self.random.below(3) {
                    0 => drop(drv.env.remove(&name)),
                    1 => {
                        let mut name = name;
                        self.bytes(&mut name);
                        drv.env.insert(name, value);
                    }
                    _ => {
                        self.bytes(&mut value);
                        drv.env.insert(name, value);
                    }
                }
            }
            4 => {
                let name = format!("{}x", drv.name);
                drv.name = name.parse().unwrap();
            }
            _ => {
                let path = self.random.one_of(&self.paths);
                let path = self.graph.store_dir.print(path);
                drv.env.insert("x".into(), path.into());
            }
        }
    }

    fn change_outputs(&mut self, request: &mut Request) {
        let drv = &mut request.drv;
        let names: Vec<_> = drv.outputs.keys().cloned().collect();
        if names.is_empty() {
            return;
        }
        let name = self.random.one_of(&names).clone();
        let path = self.random.one_of(&self.paths).clone();
        let printed = self.graph.store_dir.print(&path);
        let variable: BString = name.as_str().into();
        match self.random.below(6) {
            0 => drop(
                drv.outputs
                    .insert(name, DerivationOutput::InputAddressed(path)),
            ),
            1 => {
                drv.outputs
                    .insert(name, DerivationOutput::InputAddressed(path));
                drv.env.insert(variable, printed.into());
            }
            2 => drop(drv.env.insert(variable, printed.into())),
            3 => drv
                .env
                .entry(variable)
                .or_default()
                .extend_from_slice(b"/sub"),
            4 => drop(drv.outputs.remove(&name)),
            _ => {
                let other = self.random.one_of(&["lib", "out", "z"]).parse().unwrap();
                drv.outputs
                    .insert(other, DerivationOutput::InputAddressed(path));
            }
        }
    }

    fn change_inputs(&mut self, request: &mut Request) {
        let path = self.random.one_of(&self.paths).clone();
        let have: Vec<_> = request.drv.input_srcs.iter().cloned().collect();
        if !have.is_empty() && self.random.below(2) == 0 {
            let gone = self.random.one_of(&have);
            request.drv.input_srcs.remove(gone);
            if self.random.below(2) == 0 {
                request.proof.sources.remove(gone);
            }
        } else {
            request.drv.input_srcs.insert(path.clone());
            if self.random.below(2) == 0 {
                request.proof.sources.insert(path);
            }
        }
    }

    fn change_proof(&mut self, request: &mut Request) {
        let inputs = &mut request.proof.inputs;
        let n = self.random.below(inputs.len().max(1));
        let text = self.random.one_of(&self.texts).to_vec();
        let outputs = text_outputs(&text, &self.graph.store_dir).unwrap();
        let wanted = BTreeSet::from([outputs.keys().next().unwrap().clone()]);
        let text = ProofText::new(text);
        let Some(input) = inputs.get_mut(n) else {
            return inputs.push(ProofInput { text, wanted });
        };
        match self.random.below(8) {
            0 => drop(inputs.remove(n)),
            1 => inputs.push(ProofInput { text, wanted }),
            2 => input.text = text,
            3 => {
                let mut changed = BString::from(input.text.as_bytes());
                self.bytes(&mut changed);
                input.text = ProofText::new(Vec::from(changed));
            }
            4 => input.wanted = wanted,
            5 => input.wanted.extend(wanted),
            6 => drop(input.wanted.pop_first()),
            _ => {
                // Another output path in the text, and in all that the client sends.
                let Ok(outputs) = text_outputs(input.text.as_bytes(), &self.graph.store_dir) else {
                    return;
                };
                let names: Vec<_> = outputs.into_values().collect();
                let from = self.random.one_of(&names).clone();
                let to = self.random.one_of(&self.paths).clone();
                let (old, new) = (
                    self.graph.store_dir.print(&from),
                    self.graph.store_dir.print(&to),
                );
                let text = bstr::ByteSlice::replace(input.text.as_bytes(), &old, &new);
                input.text = ProofText::new(text);
                if request.drv.input_srcs.remove(&from) {
                    request.drv.input_srcs.insert(to);
                }
            }
        }
    }

    /// Makes the request fit together again.
    fn repair(&self, request: &mut Request) {
        let store_dir = &self.graph.store_dir;
        let mut inputs: StorePathSet = request.proof.sources.clone();
        let mut wanted: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for input in &request.proof.inputs {
            let Ok(outputs) = text_outputs(input.text.as_bytes(), store_dir) else {
                return;
            };
            inputs.extend(
                input
                    .wanted
                    .iter()
                    .filter_map(|name| outputs.get(name).cloned()),
            );
            wanted
                .entry(*input.text.hash())
                .or_default()
                .extend(&input.wanted);
        }
        request.drv.input_srcs = inputs;
        let Ok(masked) = masked_hash(&request.drv, &request.proof.sources, &wanted, store_dir)
        else {
            return;
        };
        let names: Vec<_> = request.drv.outputs.keys().cloned().collect();
        for name in names {
            let Ok(path) = output_path(store_dir, &request.drv.name, &name, &masked) else {
                return;
            };
            if let Some(value) = request.drv.env.get_mut(name.as_str().as_bytes()) {
                *value = store_dir.print(&path).into();
            }
            request
                .drv
                .outputs
                .insert(name, DerivationOutput::InputAddressed(path));
        }
    }
}

fn output_paths(drv: &BasicDerivation) -> impl Iterator<Item = &StorePath> {
    drv.outputs.values().filter_map(|output| match output {
        DerivationOutput::InputAddressed(path) => Some(path),
        _ => None,
    })
}

/// Draws requests, and counts those that passed: unchanged in meaning, and repaired ones
/// that ask for paths of their own.
fn draw(graph: &Graph, count: usize, seed: u64) -> (usize, usize, usize) {
    let requests = graph.requests();
    let mut honest = BTreeMap::new();
    let mut paths = Vec::new();
    for request in &requests {
        for path in output_paths(&request.drv) {
            honest.insert(path.clone(), &request.drv);
            paths.push(path.clone());
        }
        paths.extend(request.drv.input_srcs.iter().cloned());
    }
    let mut attacker = Attacker {
        random: Random(seed),
        graph,
        texts: graph.texts.values().collect(),
        paths,
    };
    let (mut refused, mut same, mut own) = (0, 0, 0);
    for _ in 0..count {
        let mut request = attacker.random.one_of(&requests).clone();
        for _ in 0..1 + attacker.random.below(3) {
            attacker.change(&mut request);
        }
        if attacker.random.below(4) == 0 {
            attacker.repair(&mut request);
        }
        let alone = matches!(
            classify(&request.drv, &graph.store_dir),
            Ok(Classification::SelfContained)
        );
        if !alone && accept(&request, &graph.store_dir).is_err() {
            refused += 1;
            continue;
        }
        // What passed must be what an honest client would have asked for at that path.
        let mut is_known = false;
        for path in output_paths(&request.drv) {
            if let Some(drv) = honest.get(path) {
                assert_eq!(*drv, &request.drv);
                is_known = true;
            }
        }
        same += usize::from(is_known);
        own += usize::from(!is_known);
    }
    (refused, same, own)
}

#[test]
fn no_mutated_request_gets_the_path_of_another() {
    let (refused, same, own) = draw(&Graph::small(90), 100_000, 0xfeed);
    assert!(
        refused > 50_000,
        "{refused} refused, {same} same, {own} own"
    );
    assert!(own > 1_000, "{refused} refused, {same} same, {own} own");
}

#[test]
fn no_mutated_request_of_a_package_set_gets_the_path_of_another() {
    let (refused, _, own) = draw(&Graph::of_package_set(60), 1_000, 0xbeef);
    assert!(refused > 500 && own > 10, "{refused} refused, {own} own");
}
