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

use std::collections::{BTreeMap, BTreeSet};

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
    /// The store.
    #[error(transparent)]
    Store(#[from] nix_store_core::Error),
}

impl From<GraphError> for BuildFailure {
    fn from(error: GraphError) -> Self {
        match error {
            GraphError::Store(error) => error.into(),
            GraphError::NotAnInput(_) => Self::new(BuildStatus::InputRejected, error.to_string()),
            GraphError::Unknown(_) => Self::misc(error.to_string()),
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
        let mut data = match structured {
            true => Self::Attributes(BTreeMap::new()),
            false => Self::default(),
        };
        for (name, wanted) in &options.export_references_graph {
            let roots = roots(store.store_dir(), wanted, inputs)?;
            let infos = read(store, &roots)?;
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
        .map(|(path, info)| {
            let references = info.references.iter().map(|path| dir.print(path));
            let mut object = json!({
                "closureSize": closure_size(path, infos),
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

/// Bytes of all archives in the closure of `path`, all of which is in `infos`.
fn closure_size(path: &StorePath, infos: &Infos) -> u64 {
    let mut seen = BTreeSet::from([path]);
    let mut open = vec![path];
    let mut size = 0u64;
    while let Some(path) = open.pop() {
        let Some(info) = infos.get(path) else {
            continue;
        };
        size = size.saturating_add(info.nar_size);
        open.extend(info.references.iter().filter(|path| seen.insert(path)));
    }
    size
}

#[cfg(test)]
mod tests;
