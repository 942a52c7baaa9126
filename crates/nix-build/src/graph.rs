//! The closures that a derivation asks to be told (`exportReferencesGraph`).
//!
//! Without structured attributes each becomes a file in the form in which objects are
//! registered, without hashes and derivers:
//!
//! ```text
//! path LF  LF  number of references LF  { reference LF }
//! ```
//!
//! With them each becomes an attribute, an array with one object for each path.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bstr::BString;
use nix_base::{
    BuildStatus, OutputName, StoreDir, StorePath, StorePathSet, UnkeyedValidPathInfo, ValidPathInfo,
};
use nix_drv::DerivationOptions;
use nix_drv::options::OptionRef;
use nix_store_core::{IncludeOutputs, LocalStore, Store};
use serde_json::{Value, json};

use crate::failure::BuildFailure;

/// The graphs of one build.
#[derive(Debug, Clone, PartialEq)]
pub enum GraphData {
    /// Files in the build directory, by name.
    Files(BTreeMap<BString, Vec<u8>>),
    /// Structured attributes, by key.
    Attributes(BTreeMap<String, Value>),
}

impl Default for GraphData {
    fn default() -> Self {
        Self::Files(BTreeMap::new())
    }
}

/// Why a graph can't be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// The derivation doesn't depend on the path.
    #[error(
        "cannot export references of path '{0}' because it is not in the input closure of the \
         derivation"
    )]
    NotAnInput(String),
    /// The path of an output isn't known.
    #[error("cannot export references of output '{0}', whose path isn't known")]
    Unknown(OutputName),
    /// The graphs would fill the memory.
    #[error("the graphs in 'exportReferencesGraph' take more than {MAX_GRAPHS} bytes")]
    TooLarge,
    /// The store.
    #[error(transparent)]
    Store(#[from] nix_store_core::Error),
}

impl From<GraphError> for BuildFailure {
    fn from(error: GraphError) -> Self {
        match error {
            GraphError::Store(error) => error.into(),
            GraphError::NotAnInput(_) => Self::new(BuildStatus::InputRejected, error.to_string()),
            GraphError::Unknown(_) | GraphError::TooLarge => Self::misc(error.to_string()),
        }
    }
}

impl GraphData {
    /// The graphs that `options` ask for. `inputs` is the closure of all inputs;
    /// `structured` says whether the derivation has structured attributes.
    ///
    /// # Errors
    /// A path outside of `inputs`; those of the store.
    pub fn compute(
        store: &LocalStore,
        options: &DerivationOptions,
        structured: bool,
        inputs: &StorePathSet,
    ) -> Result<Self, GraphError> {
        Self::compute_within(store, options, structured, inputs, MAX_GRAPHS)
    }

    fn compute_within(
        store: &LocalStore,
        options: &DerivationOptions,
        structured: bool,
        inputs: &StorePathSet,
        most: u64,
    ) -> Result<Self, GraphError> {
        let mut data = match structured {
            true => Self::Attributes(BTreeMap::new()),
            false => Self::default(),
        };
        let mut left = most;
        for (name, wanted) in &options.export_references_graph {
            let roots = roots(store.store_dir(), wanted, inputs)?;
            let infos = read(store, &roots)?;
            left = left
                .checked_sub(weight(store.store_dir(), &infos))
                .ok_or(GraphError::TooLarge)?;
            match &mut data {
                Self::Files(files) => {
                    let text = registration(store.store_dir(), &infos);
                    files.insert(name.clone(), text.into_bytes());
                }
                Self::Attributes(attributes) => {
                    let graph = to_json(store.store_dir(), &infos);
                    attributes.insert(name.to_string(), graph);
                }
            }
        }
        Ok(data)
    }
}

fn roots(
    dir: &StoreDir,
    wanted: &BTreeSet<OptionRef>,
    inputs: &StorePathSet,
) -> Result<StorePathSet, GraphError> {
    let mut roots = StorePathSet::new();
    for reference in wanted {
        let path = match reference {
            OptionRef::Path(path) => path,
            OptionRef::Own(output) | OptionRef::Input { output, .. } => {
                return Err(GraphError::Unknown(output.clone()));
            }
        };
        if !inputs.contains(path) {
            return Err(GraphError::NotAnInput(dir.print(path)));
        }
        roots.insert(path.clone());
    }
    Ok(roots)
}

/// What is known of the paths in the closure of `roots`. Of derivations in it the outputs
/// belong to it as well, with their closures, but no outputs of derivations in those.
fn read(store: &LocalStore, roots: &StorePathSet) -> Result<Infos, GraphError> {
    let mut paths = store.closure(roots, IncludeOutputs::No)?;
    let mut outputs = StorePathSet::new();
    for path in paths.iter().filter(|path| path.is_derivation()) {
        let known = store.query_derivation_outputs(path)?;
        outputs.extend(known.into_iter().map(|(_, path)| path));
    }
    if !outputs.is_empty() {
        paths.extend(store.closure(&outputs, IncludeOutputs::No)?);
    }
    let mut infos = Infos::new();
    store.query_path_infos(&paths, &mut |ValidPathInfo { path, info }| {
        infos.insert(path, info);
        Ok(())
    })?;
    Ok(infos)
}

type Infos = BTreeMap<StorePath, UnkeyedValidPathInfo>;

fn registration(dir: &StoreDir, infos: &Infos) -> String {
    let mut text = String::new();
    for (path, info) in infos {
        dir.append_to(path, &mut text);
        text.push_str("\n\n");
        text.push_str(&info.references.len().to_string());
        text.push('\n');
        for reference in &info.references {
            dir.append_to(reference, &mut text);
            text.push('\n');
        }
    }
    text
}

fn to_json(dir: &StoreDir, infos: &Infos) -> Value {
    infos
        .iter()
        .zip(closure_sizes(infos))
        .map(|((path, info), closure_size)| {
            let references = info.references.iter().map(|path| dir.print(path));
            let mut object = json!({
                "closureSize": closure_size,
                "narHash": info.nar_hash.to_prefixed_nix32(),
                "narSize": info.nar_size,
                "path": dir.print(path),
                "references": references.collect::<Vec<_>>(),
                "valid": true,
            });
            if let Some(ca) = &info.ca {
                object["ca"] = ca.to_string().into();
            }
            object
        })
        .collect()
}

/// Bytes of all archives in the closure of each path, in the order of `infos`, which holds
/// all of the closures.
fn closure_sizes(infos: &Infos) -> Vec<u64> {
    let places: HashMap<&StorePath, usize> = infos
        .keys()
        .enumerate()
        .map(|(n, path)| (path, n))
        .collect();
    let place = |path| places.get(path).copied();
    let references: Vec<Vec<usize>> = infos
        .values()
        .map(|info| info.references.iter().filter_map(place).collect())
        .collect();
    let sizes: Vec<u64> = infos.values().map(|info| info.nar_size).collect();
    // Of each path, the last one whose closure it was found in.
    let mut seen = vec![usize::MAX; sizes.len()];
    let mut open = Vec::new();
    let closure_size = |start: usize| {
        let mut size = 0u64;
        seen[start] = start;
        open.push(start);
        while let Some(at) = open.pop() {
            size = size.saturating_add(sizes[at]);
            for &next in &references[at] {
                if seen[next] != start {
                    seen[next] = start;
                    open.push(next);
                }
            }
        }
        size
    };
    (0..sizes.len()).map(closure_size).collect()
}

/// About as many bytes as a graph takes.
fn weight(dir: &StoreDir, infos: &Infos) -> u64 {
    let dir_len = dir.to_string().len();
    let path_len = |path: &StorePath| dir_len + 1 + path.base_name_len();
    let one = |(path, info): (&StorePath, &UnkeyedValidPathInfo)| {
        OVERHEAD + path_len(path) + info.references.iter().map(path_len).sum::<usize>()
    };
    infos.iter().map(one).sum::<usize>() as u64
}

/// Most bytes of all graphs of a build.
const MAX_GRAPHS: u64 = 256 * 1024 * 1024;
/// Bytes of a path's description without paths.
const OVERHEAD: usize = 256;

#[cfg(test)]
mod tests;
