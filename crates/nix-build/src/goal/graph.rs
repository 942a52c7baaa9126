//! The part of a graph of derivations that has to be built.
//!
//! From the targets downwards: a derivation whose wanted outputs are all there hides all that
//! is below it, so its inputs aren't read. Each derivation is kept once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use nix_base::store_path::make::make_text_path;
use nix_base::{BuildStatus, DrvOutput, Hash, HashAlgo, OutputName, StorePath, StorePathSet};
use nix_drv::{Derivation, DerivationOutput, Strictness};

use super::hashes::Hashes;
use super::{GraphStore, StoreError, Target, Wanted};
use crate::failure::{BuildFailure, Result};
use crate::request::BuildMode;

/// The derivations that targets need.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    index: HashMap<StorePath, usize>,
    /// Targets that aren't derivations, and whether they are there.
    pub(crate) opaque: BTreeMap<StorePath, bool>,
}

/// A derivation.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) path: StorePath,
    /// Outputs that somebody wants.
    pub(crate) wanted: BTreeSet<OutputName>,
    pub(crate) is_target: bool,
    pub(crate) state: NodeState,
    /// Where outputs are, as far as it is known; they need not be valid.
    pub(crate) outputs: BTreeMap<OutputName, StorePath>,
}

/// What is to be done about a derivation.
#[derive(Debug)]
pub(crate) enum NodeState {
    /// Nothing; the wanted outputs are there.
    Valid,
    /// It has to be built.
    ToBuild(Box<Derivation>),
    /// It can't be built.
    Failed(BuildFailure),
}

/// Something that is wanted of a derivation.
struct Wish {
    drv: StorePath,
    outputs: WishedOutputs,
    is_target: bool,
}

enum WishedOutputs {
    All,
    Names(BTreeSet<OutputName>),
}

impl Graph {
    /// What there is to do for `targets`.
    ///
    /// # Errors
    /// The store can't answer.
    pub(crate) fn load<S: GraphStore>(
        store: &S,
        targets: &[Target],
        mode: BuildMode,
        hashes: &Hashes,
    ) -> Result<Self> {
        let mut loader = Loader {
            store,
            hashes,
            mode,
            graph: Self::default(),
            wishes: Vec::new(),
        };
        loader.targets(targets)?;
        // Not a recursion: graphs are as deep as their authors like.
        while let Some(wish) = loader.wishes.pop() {
            loader.grant(wish)?;
        }
        Ok(loader.graph)
    }

    /// Where a derivation is among the nodes.
    pub(crate) fn find(&self, drv: &StorePath) -> Option<usize> {
        self.index.get(drv).copied()
    }

    /// The derivations to be built, inputs first. Those of a circle are left out.
    pub(crate) fn order(&self) -> Vec<usize> {
        let mut left: Vec<usize> = Vec::with_capacity(self.nodes.len());
        let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            let inputs = self.inputs_to_build(node);
            left.push(inputs.len());
            for input in inputs {
                dependents[input].push(i);
            }
        }
        let is_ready = |i: &usize| left[*i] == 0;
        let mut order: Vec<usize> = (0..self.nodes.len()).filter(is_ready).collect();
        let mut next = 0;
        while let Some(&i) = order.get(next) {
            next += 1;
            for &dependent in &dependents[i] {
                left[dependent] -= 1;
                if left[dependent] == 0 {
                    order.push(dependent);
                }
            }
        }
        order.retain(|&i| !matches!(self.nodes[i].state, NodeState::Valid));
        order
    }

    /// The inputs of a node that aren't there.
    pub(crate) fn inputs_to_build(&self, node: &Node) -> Vec<usize> {
        let NodeState::ToBuild(drv) = &node.state else {
            return Vec::new();
        };
        let missing = |&i: &usize| !matches!(self.nodes[i].state, NodeState::Valid);
        drv.input_drvs
            .keys()
            .filter_map(|path| self.find(path))
            .filter(missing)
            .collect()
    }
}

struct Loader<'a, S> {
    store: &'a S,
    hashes: &'a Hashes,
    mode: BuildMode,
    graph: Graph,
    wishes: Vec<Wish>,
}

impl<S: GraphStore> Loader<'_, S> {
    fn targets(&mut self, targets: &[Target]) -> Result<()> {
        let mut opaque = StorePathSet::new();
        for target in targets {
            match target {
                Target::Opaque(path) => {
                    opaque.insert(path.clone());
                }
                Target::Built { drv, outputs } => self.wishes.push(Wish {
                    drv: drv.clone(),
                    outputs: match outputs {
                        Wanted::All => WishedOutputs::All,
                        Wanted::Names(names) => WishedOutputs::Names(names.clone()),
                    },
                    is_target: true,
                }),
            }
        }
        let valid = self.valid(&opaque)?;
        let opaque = opaque.into_iter().map(|path| {
            let is_valid = valid.contains(&path);
            (path, is_valid)
        });
        self.graph.opaque = opaque.collect();
        Ok(())
    }

    fn valid(&self, paths: &StorePathSet) -> Result<StorePathSet> {
        if paths.is_empty() {
            return Ok(StorePathSet::new());
        }
        self.store
            .valid_paths(paths)
            .map_err(|error| unanswered(&*error))
    }

    fn grant(&mut self, wish: Wish) -> Result<()> {
        let known = self.graph.find(&wish.drv);
        if let Some(i) = known
            && !matches!(self.graph.nodes[i].state, NodeState::Valid)
        {
            let node = &mut self.graph.nodes[i];
            node.is_target |= wish.is_target;
            if let NodeState::ToBuild(drv) = &node.state {
                match wanted_of(drv, &wish.outputs, self.store, &wish.drv) {
                    Ok(wanted) => node.wanted.extend(wanted),
                    Err(failure) => node.state = NodeState::Failed(failure),
                }
            }
            return Ok(());
        }
        if let Some(i) = known
            && let WishedOutputs::Names(names) = &wish.outputs
            && !(wish.is_target && self.mode == BuildMode::Check)
            && names.is_subset(&self.graph.nodes[i].wanted)
        {
            self.graph.nodes[i].is_target |= wish.is_target;
            return Ok(());
        }
        let node = self.look_at(&wish, known)?;
        if let NodeState::ToBuild(drv) = &node.state {
            for (input, wanted) in &drv.input_drvs {
                self.wishes.push(Wish {
                    drv: input.clone(),
                    outputs: WishedOutputs::Names(wanted.outputs.clone()),
                    is_target: false,
                });
            }
        }
        match known {
            Some(i) => self.graph.nodes[i] = node,
            None => {
                self.graph.index.insert(wish.drv, self.graph.nodes.len());
                self.graph.nodes.push(node);
            }
        }
        Ok(())
    }

    /// The node for a wish, together with what was wanted of it before.
    fn look_at(&self, wish: &Wish, known: Option<usize>) -> Result<Node> {
        let before = known.map(|i| &self.graph.nodes[i]);
        let mut node = Node {
            path: wish.drv.clone(),
            wanted: before.map_or_else(BTreeSet::new, |node| node.wanted.clone()),
            is_target: wish.is_target || before.is_some_and(|node| node.is_target),
            state: NodeState::Valid,
            outputs: BTreeMap::new(),
        };
        let text = self.store.read_derivation(&wish.drv);
        let Some(text) = text.map_err(|error| unanswered(&*error))? else {
            node.state = NodeState::Failed(missing(self.store, &wish.drv));
            return Ok(node);
        };
        let parsed = parse(self.store, &wish.drv, &text).and_then(|drv| {
            let wanted = wanted_of(&drv, &wish.outputs, self.store, &wish.drv)?;
            Ok((drv, wanted))
        });
        match parsed {
            Err(failure) => node.state = NodeState::Failed(failure),
            Ok((drv, wanted)) => {
                node.wanted.extend(wanted);
                self.find_outputs(drv, &mut node)?;
            }
        }
        Ok(node)
    }

    /// Finds out where the outputs are, and whether the wanted ones are there.
    fn find_outputs(&self, drv: Derivation, node: &mut Node) -> Result<()> {
        let dir = self.store.store_dir();
        match drv.known_outputs(dir) {
            Ok(known) => node.outputs = known.into_iter().collect(),
            Err(error) => {
                node.state = NodeState::Failed(bad_derivation(self.store, &node.path, &error));
                return Ok(());
            }
        }
        let unknown = node
            .wanted
            .iter()
            .filter(|name| !node.outputs.contains_key(*name));
        let mut realised = Vec::new();
        for name in unknown {
            // Nix compat: what an impure derivation made once isn't used again.
            if matches!(drv.outputs.get(name), Some(DerivationOutput::Impure { .. })) {
                continue;
            }
            if let Some(path) = self.realisation(&drv, name)? {
                realised.push((name.clone(), path));
            }
        }
        node.outputs.extend(realised);
        let found: Option<StorePathSet> = node
            .wanted
            .iter()
            .map(|name| node.outputs.get(name).cloned())
            .collect();
        let is_forced = node.is_target && self.mode == BuildMode::Check;
        let is_there = match &found {
            Some(paths) if !is_forced => self.valid(paths)? == *paths,
            _ => false,
        };
        if !is_there {
            node.state = NodeState::ToBuild(Box::new(drv));
        }
        Ok(())
    }

    fn realisation(&self, drv: &Derivation, output: &OutputName) -> Result<Option<StorePath>> {
        let Ok(drv_hash) = self.hashes.of(self.store, drv) else {
            // Whatever is wrong with its inputs shows when they are looked at.
            return Ok(None);
        };
        let id = DrvOutput {
            drv_hash,
            output: output.clone(),
        };
        self.store
            .find_realisation(&id)
            .map_err(|error| unanswered(&*error))
    }
}

fn parse<S: GraphStore>(store: &S, path: &StorePath, text: &[u8]) -> Result<Derivation> {
    // Nix compat: what is in a store already was taken by the reader of some release.
    let drv = Derivation::parse_file(text, store.store_dir(), path, Strictness::Lenient)
        .map_err(|error| BuildFailure::because("cannot build", &error))?;
    let hash = Hash::of(HashAlgo::Sha256, text);
    if make_text_path(store.store_dir(), &hash, &drv.references(), path.name()) != *path {
        let path = store.store_dir().print(path);
        return Err(BuildFailure::misc(format!(
            "derivation '{path}' isn't what its path says: the file was changed"
        )));
    }
    if drv.is_dynamic() {
        let path = store.store_dir().print(path);
        return Err(BuildFailure::misc(format!(
            "derivation '{path}' depends on outputs of outputs, which can't be built here"
        )));
    }
    drv.derivation_type()
        .map_err(|error| bad_derivation(store, path, &error))?;
    Ok(drv)
}

/// The names of the outputs that are wanted, which the derivation must have.
fn wanted_of<S: GraphStore>(
    drv: &Derivation,
    wanted: &WishedOutputs,
    store: &S,
    path: &StorePath,
) -> Result<BTreeSet<OutputName>> {
    let names = match wanted {
        WishedOutputs::All => return Ok(drv.outputs.keys().cloned().collect()),
        WishedOutputs::Names(names) => names,
    };
    match names.iter().find(|name| !drv.outputs.contains_key(*name)) {
        None => Ok(names.clone()),
        Some(name) => Err(BuildFailure::misc(format!(
            "derivation '{}' does not have wanted outputs '{name}'",
            store.store_dir().print(path)
        ))),
    }
}

fn missing<S: GraphStore>(store: &S, path: &StorePath) -> BuildFailure {
    let path = store.store_dir().print(path);
    BuildFailure::new(
        BuildStatus::NoSubstituters,
        format!("path '{path}' is not valid, and nothing here can make it"),
    )
}

fn bad_derivation<S: GraphStore>(
    store: &S,
    path: &StorePath,
    error: &nix_drv::Error,
) -> BuildFailure {
    let path = store.store_dir().print(path);
    BuildFailure::because(&format!("derivation '{path}' cannot be built"), error)
}

/// The store couldn't answer.
pub(crate) fn unanswered(error: &(dyn std::error::Error + Send + Sync + 'static)) -> BuildFailure {
    BuildFailure::because("cannot ask the store", error)
}

/// The same for those that give an error on.
pub(crate) fn unanswered_by(error: &StoreError) -> BuildFailure {
    unanswered(&**error)
}
