//! What a builder is started with: program, arguments, environment, and files in its
//! directory.
//!
//! Nothing of our own environment gets in. In the order of rank, later ones win:
//!
//! ```text
//! PATH HOME NIX_STORE NIX_BUILD_CORES           fixed values, and the number of processors
//! the derivation's variables                    without structured attributes
//! NIX_ATTRS_SH_FILE NIX_ATTRS_JSON_FILE         with them
//! NIX_BUILD_TOP TMPDIR TEMPDIR TMP TEMP PWD     the build directory
//! NIX_OUTPUT_CHECKED                            fixed outputs
//! impureEnvVars                                 fixed and impure outputs
//! NIX_LOG_FD TERM                               fixed values
//! ```
//!
//! The rules are pure; whoever starts the builder makes the files.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bstr::{BString, ByteSlice};
use nix_base::StoreDir;
use nix_drv::options::pass_as_file_name;
use nix_drv::{BasicDerivation, DerivationOptions, DerivationType};

use crate::config::BuildConfig;
use crate::failure::BuildFailure;
use crate::graph::GraphData;
use crate::scratch::{InputRewrites, ScratchPaths};

mod attrs;
mod refusal;

pub use refusal::options_failure;

/// What a builder's surroundings depend on.
#[derive(Debug, Clone, Copy)]
pub struct EnvInput<'a> {
    /// The derivation.
    pub drv: &'a BasicDerivation,
    /// Its type: what may use the network gets variables from outside.
    pub drv_type: DerivationType,
    /// Its attributes.
    pub options: &'a DerivationOptions,
    /// The store, as the builder sees it.
    pub store_dir: &'a StoreDir,
    /// Processors, and the variables of the outside.
    pub config: &'a BuildConfig,
    /// The build directory, as the builder sees it.
    pub build_dir: &'a Path,
    /// Where the builder is to put the outputs.
    pub scratch: &'a ScratchPaths,
    /// The graphs that it wants.
    pub graphs: &'a GraphData,
}

/// What a builder is started with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuilderEnvironment {
    /// The program, which isn't looked up anywhere.
    pub program: BString,
    /// The arguments; the first one is the program's base name.
    pub args: Vec<BString>,
    /// The variables, all of them.
    pub env: BTreeMap<BString, BString>,
    /// What the build directory holds at the start.
    pub files: Vec<BuildFile>,
}

/// A file in the build directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildFile {
    /// Its name, a single component.
    pub name: BString,
    /// What it holds.
    pub contents: BString,
    /// Its permissions.
    pub mode: u32,
}

/// Why a builder can't be started with what its derivation says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvError {
    /// The structured attributes can't be read.
    #[error("cannot process __json attribute of '{name}'")]
    Json {
        /// The derivation.
        name: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The structured attributes are something else.
    #[error("__json attribute of '{0}' is not an object")]
    NotAnObject(String),
    /// No program can be given this text.
    #[error("{what} of '{name}' has a NUL byte")]
    Nul {
        /// The derivation.
        name: String,
        /// Where it is.
        what: String,
    },
}

impl From<EnvError> for BuildFailure {
    fn from(error: EnvError) -> Self {
        match std::error::Error::source(&error) {
            Some(source) => Self::misc(format!("{error}: {source}")),
            None => Self::misc(error.to_string()),
        }
    }
}

/// What the builder of a derivation is started with.
///
/// # Errors
/// The derivation holds what no program can be started with.
pub fn prepare(input: &EnvInput<'_>) -> Result<BuilderEnvironment, EnvError> {
    let rewrites = input.scratch.rewrites();
    let mut surroundings = Surroundings {
        input,
        rewrites: &rewrites,
        env: BTreeMap::new(),
        files: Vec::new(),
    };
    surroundings.fill()?;
    let Surroundings { env, files, .. } = surroundings;
    let drv = input.drv;
    let mut args = vec![base_name(&drv.builder).into()];
    args.extend(drv.args.iter().map(|arg| rewrites.apply(arg)));
    let prepared = BuilderEnvironment {
        program: drv.builder.clone(),
        args,
        env: env
            .iter()
            .map(|(name, value)| (rewrites.apply(name), rewrites.apply(value)))
            .collect(),
        files,
    };
    refuse_nul(&prepared, drv)?;
    Ok(prepared)
}

/// The variables that a builtin builder reads: the derivation's own, rewritten.
#[must_use]
pub fn builtin_variables(
    drv: &BasicDerivation,
    rewrites: &InputRewrites,
) -> BTreeMap<BString, BString> {
    drv.env
        .iter()
        .map(|(name, value)| (name.clone(), rewrites.apply(value)))
        .collect()
}

struct Surroundings<'i> {
    input: &'i EnvInput<'i>,
    rewrites: &'i InputRewrites,
    env: BTreeMap<BString, BString>,
    files: Vec<BuildFile>,
}

impl Surroundings<'_> {
    fn fill(&mut self) -> Result<(), EnvError> {
        let input = self.input;
        self.set("PATH", "/path-not-set");
        self.set("HOME", "/homeless-shelter");
        self.set("NIX_STORE", input.store_dir.to_string());
        self.set("NIX_BUILD_CORES", cores(input.config.cores).to_string());
        match input.drv.structured_attrs() {
            Some(json) => self.structured(json)?,
            None => self.variables(),
        }
        for name in ["NIX_BUILD_TOP", "TMPDIR", "TEMPDIR", "TMP", "TEMP", "PWD"] {
            self.set(name, bytes(input.build_dir));
        }
        if input.drv_type.is_fixed() {
            self.set("NIX_OUTPUT_CHECKED", "1");
        }
        if !input.drv_type.is_sandboxed() {
            for name in &input.options.impure_env_vars {
                self.env
                    .insert(name.clone(), outside_value(input.config, name));
            }
        }
        self.set("NIX_LOG_FD", "2");
        self.set("TERM", "xterm-256color");
        Ok(())
    }

    fn set(&mut self, name: &str, value: impl Into<BString>) {
        self.env.insert(name.into(), value.into());
    }

    fn add_file(&mut self, name: impl Into<BString>, contents: impl Into<BString>) {
        self.files.push(BuildFile {
            name: name.into(),
            contents: contents.into(),
            mode: 0o644,
        });
    }

    fn in_build_dir(&self, name: &str) -> BString {
        bytes(&self.input.build_dir.join(name)).into()
    }

    /// The derivation's variables, some of them as files.
    fn variables(&mut self) {
        let Self {
            input, rewrites, ..
        } = *self;
        for (name, value) in &input.drv.env {
            if !input.options.pass_as_file.contains(name) {
                self.env.insert(name.clone(), value.clone());
                continue;
            }
            let file = pass_as_file_name(name);
            let path = self.in_build_dir(&file);
            self.add_file(file, rewrites.apply(value));
            self.env
                .insert([name.as_slice(), b"Path"].concat().into(), path);
        }
        if let GraphData::Files(graphs) = input.graphs {
            for (file, graph) in graphs {
                self.add_file(file.clone(), graph.clone());
            }
        }
    }

    /// The structured attributes, in two languages.
    fn structured(&mut self, json: &[u8]) -> Result<(), EnvError> {
        let attrs = attrs::complete(json, self.input)?;
        for (variable, file, contents) in [
            (
                "NIX_ATTRS_SH_FILE",
                ".attrs.sh",
                attrs::render_shell(&attrs),
            ),
            (
                "NIX_ATTRS_JSON_FILE",
                ".attrs.json",
                attrs::render_json(attrs),
            ),
        ] {
            let contents = self.rewrites.apply(contents.as_bytes());
            self.add_file(file, contents);
            let path = self.in_build_dir(file);
            self.set(variable, path);
        }
        Ok(())
    }
}

/// The value that a variable has outside.
fn outside_value(config: &BuildConfig, name: &BString) -> BString {
    let set = name.to_str().ok().and_then(|n| config.impure_env.get(n));
    if let Some(value) = set {
        return value.as_str().into();
    }
    let inherited = config.environment.get(OsStr::from_bytes(name));
    inherited.map_or_else(BString::default, |value| value.as_bytes().into())
}

fn cores(setting: u32) -> usize {
    match setting {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        cores => usize::try_from(cores).unwrap_or(usize::MAX),
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// What is behind the last slash that doesn't end the path.
fn base_name(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|&byte| byte != b'/');
    let path = &path[..end.map_or(path.len().min(1), |last| last + 1)];
    let start = path.iter().rposition(|&byte| byte == b'/');
    match start {
        Some(slash) if path.len() > 1 => &path[slash + 1..],
        _ => path,
    }
}

fn refuse_nul(prepared: &BuilderEnvironment, drv: &BasicDerivation) -> Result<(), EnvError> {
    let has_nul = |text: &BString| text.contains(&0);
    let what = if has_nul(&prepared.program) {
        "the builder".to_owned()
    } else if prepared.args.iter().any(has_nul) {
        "an argument".to_owned()
    } else {
        let variable = |(name, value): &(&BString, &BString)| has_nul(name) || has_nul(value);
        match prepared.env.iter().find(variable) {
            Some((name, _)) => format!("variable '{name}'"),
            None => return Ok(()),
        }
    };
    Err(EnvError::Nul {
        name: drv.name.to_string(),
        what,
    })
}

#[cfg(test)]
mod tests;
