//! Store addresses: which store is meant, and where a local one has its directories.
//!
//! | address | store |
//! |---|---|
//! | empty, `auto` | the system's; without one, and not as root, the user's own |
//! | `local`, `local?PARAMETERS` | the system's, or where the parameters say |
//! | `/DIR`, `./DIR` | a store below a directory: `local?root=DIR` |
//! | `daemon`, `unix://` | the system's, for reading |
//! | `ssh://…`, `exec:…` | another program's, over a pipe |

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix_base::StoreDir;
use nix_store_core::{Durability, StoreLayout};

use super::env::Environment;
use super::settings::{DURABILITY_WORDS, parse_durability, user_store};
use crate::client::{AddressError, Parameters, StoreAddress};

/// The store that an address means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// One whose files this process uses.
    Local(LocalAddress),
    /// One at the other end of a pipe: as given, and parsed.
    Remote(String, StoreAddress),
}

/// Where a local store is, and how it is to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalAddress {
    /// Its directories.
    pub(crate) layout: StoreLayout,
    /// `durability=`.
    pub(crate) durability: Option<Durability>,
    /// `read-only=true`.
    pub(crate) read_only: bool,
    /// The address as given if it is that of a daemon, which alone may write.
    pub(crate) daemon: Option<String>,
}

impl Address {
    /// Parses an address. Only `auto` looks at the file system.
    pub(crate) fn parse(text: &str, environment: &Environment) -> anyhow::Result<Self> {
        let parsed = match StoreAddress::parse(text) {
            Ok(parsed) => parsed,
            Err(AddressError::Unknown(_)) => bail!("{}", unknown(text)),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot use store address '{text}'"));
            }
        };
        let address = match parsed {
            StoreAddress::Auto(parameters) => automatic(parameters, environment),
            StoreAddress::Local(parameters) => local(parameters, environment),
            // The daemon keeps the system's store, which may be read without it.
            StoreAddress::Other { scheme, .. } if scheme == "unix" => {
                let mut address = local(Parameters::new(), environment)?;
                address.daemon = Some(text.to_owned());
                Ok(address)
            }
            remote if remote.is_remote() => return Ok(Self::Remote(text.to_owned(), remote)),
            _ => bail!("{}", unknown(text)),
        };
        address
            .map(Self::Local)
            .with_context(|| format!("cannot use store address '{text}'"))
    }

    /// The local store, or an error that says what `command` needs.
    pub(crate) fn require_local(self, command: &str) -> anyhow::Result<LocalAddress> {
        match self {
            Self::Local(address) => Ok(address),
            Self::Remote(address, _) => bail!(
                "'{command}' needs a local store, not '{address}': \
                 use --store with local, a directory or local?root=DIR"
            ),
        }
    }
}

/// Nix's choice of a store when none is named.
fn automatic(parameters: Parameters, environment: &Environment) -> anyhow::Result<LocalAddress> {
    let system = local(parameters, environment)?;
    let is_named = environment.store_dir.is_some() || environment.state_dir.is_some();
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    let wants_own = !is_named
        && !rustix::process::geteuid().is_root()
        && !is_there(&system.layout.state)
        && !is_there(Path::new("/nix"));
    match user_store(environment).filter(|_| wants_own) {
        // Nix compat: since 2.10.
        Some(root) => Ok(LocalAddress {
            layout: StoreLayout::chroot(system.layout.store_dir, &root),
            ..system
        }),
        None => Ok(system),
    }
}

fn local(parameters: Parameters, environment: &Environment) -> anyhow::Result<LocalAddress> {
    let mut address = LocalAddress {
        layout: StoreLayout::default(),
        durability: None,
        read_only: false,
        daemon: None,
    };
    let mut store = environment.store_dir.clone();
    let (mut root, mut real, mut state, mut log) = (None, None, None, None);
    for (name, value) in parameters {
        match name.as_str() {
            "root" => root = Some(absolute(&value)?),
            "real" => real = Some(absolute(&value)?),
            "state" => state = Some(absolute(&value)?),
            "log" => log = Some(absolute(&value)?),
            "store" => store = Some(value),
            "read-only" => address.read_only = boolean("read-only", &value)?,
            "durability" => {
                let level = parse_durability(&value).with_context(|| {
                    format!(
                        "parameter 'durability' has the invalid value '{value}': {DURABILITY_WORDS}"
                    )
                })?;
                address.durability = Some(level);
            }
            name if WITHOUT_EFFECT.contains(&name) => {}
            // Nix compat: a warning only.
            name => tracing::warn!("unknown parameter '{name}' of a local store"),
        }
    }
    let store_dir = match &store {
        Some(text) => StoreDir::new(text)?,
        None => StoreDir::default(),
    };
    address.layout = match &root {
        Some(root) => StoreLayout::chroot(store_dir, root),
        None => StoreLayout::new(
            store_dir,
            environment
                .state_dir
                .as_deref()
                .unwrap_or(Path::new("/nix/var/nix")),
            environment
                .log_dir
                .as_deref()
                .unwrap_or(Path::new("/nix/var/log/nix")),
        ),
    };
    let layout = &mut address.layout;
    layout.real_store = real.unwrap_or(std::mem::take(&mut layout.real_store));
    layout.state = state.unwrap_or(std::mem::take(&mut layout.state));
    layout.log = log.unwrap_or(std::mem::take(&mut layout.log));
    Ok(address)
}

fn absolute(path: &str) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot use directory '{path}'"))
}

fn boolean(name: &str, value: &str) -> anyhow::Result<bool> {
    match value {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => {
            bail!("parameter '{name}' has the invalid value '{value}': expected 'true' or 'false'")
        }
    }
}

// Nix compat: its words, then ours.
fn unknown(text: &str) -> String {
    format!(
        "don't know how to open Nix store '{text}': \
         use auto, local, a directory, local?root=DIR, ssh://HOST or exec:COMMAND"
    )
}

/// Parameters of real Nix's local stores that change nothing here.
const WITHOUT_EFFECT: [&str; 8] = [
    "require-sigs",
    "path-info-cache-size",
    "trusted",
    "priority",
    "want-mass-query",
    "system-features",
    "build-dir",
    "ignore-gc-delete-failure",
];

#[cfg(test)]
mod tests;
