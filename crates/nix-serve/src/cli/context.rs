//! What a command finds around it: the environment, the configuration and the store.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix_base::{PublicKey, StoreDir};
use nix_build::BuildConfig;
use nix_store_core::{Access, LocalStore, StoreConfig, StoreLayout};

use super::address::{Address, LocalAddress};
use super::build_config::build_config;
use super::env::Environment;
use super::log_format::LogFormat;
use super::low_args::GlobalArgs;
use super::settings::{Settings, load_config, trusted_keys};
use super::upkeep_settings::UpkeepSettings;
use crate::builds::SupervisorCommand;

/// The surroundings of a command. The configuration is read when a store is needed, so
/// that a server can answer a greeting first and a dump needs none.
#[derive(Debug)]
pub(crate) struct Context {
    global: GlobalArgs,
    environment: Environment,
}

/// What a command is going to do to its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Look, even if the store can only be read.
    Read,
    /// Change it; make it if there is none.
    Write,
}

impl Context {
    /// The surroundings of this process.
    pub(crate) fn new(global: GlobalArgs, environment: Environment) -> Self {
        Self {
            global,
            environment,
        }
    }

    /// The same without an environment, as servers under a policy have it.
    pub(crate) fn sealed(&self) -> Self {
        let nothing = Environment::from_lookup(|_| None);
        Self::new(self.global.clone(), nothing)
    }

    /// Options that every command has.
    pub(crate) fn global(&self) -> &GlobalArgs {
        &self.global
    }

    /// The environment.
    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// How progress is shown.
    pub(crate) fn log_format(&self) -> LogFormat {
        self.global.log_format
    }

    /// The settings of nix.conf and all that overrides it.
    pub(crate) fn settings(&self) -> anyhow::Result<Settings> {
        Ok(Settings::load(&self.environment, &self.global.settings)?)
    }

    /// Whose signatures count where a policy names nobody.
    pub(crate) fn trusted_keys(&self) -> anyhow::Result<Vec<PublicKey>> {
        let config = load_config(&self.environment, &self.global.settings)?;
        Ok(trusted_keys(&config, &self.environment)?)
    }

    /// The settings of upkeep.
    pub(crate) fn upkeep_settings(&self) -> anyhow::Result<UpkeepSettings> {
        let config = load_config(&self.environment, &self.global.settings)?;
        Ok(UpkeepSettings::from_config(&config)?)
    }

    /// How builds run, by the same settings.
    pub(crate) fn build_config(&self) -> anyhow::Result<BuildConfig> {
        let config = load_config(&self.environment, &self.global.settings)?;
        build_config(&config, &self.environment)
    }

    /// Where builds have their directories, if not in the state directory. What else builds
    /// need, such as keys, may be out of reach.
    pub(crate) fn build_dir(&self) -> anyhow::Result<Option<PathBuf>> {
        let config = load_config(&self.environment, &self.global.settings)?;
        Ok(config.full("build-dir").map(PathBuf::from))
    }

    /// How to start this program as a supervisor of builds, if they are to linger: with the
    /// same store and settings, wherever those came from.
    pub(crate) fn supervisor(&self, config: &BuildConfig) -> Option<SupervisorCommand> {
        if config.linger.is_zero() {
            return None;
        }
        let mut args: Vec<OsString> = vec![SUPERVISE.into()];
        for (name, value) in &self.global.settings {
            args.extend(["--option".into(), name.into(), value.into()]);
        }
        if let Some(store) = &self.global.store {
            args.extend(["--store".into(), store.into()]);
        }
        Some(SupervisorCommand {
            program: OWN_PROGRAM.into(),
            args,
        })
    }

    /// The store that was named; else that of the environment, or the system's.
    pub(crate) fn address(&self, settings: &Settings) -> anyhow::Result<Address> {
        let named = [
            &self.global.store,
            &self.environment.remote,
            &settings.store,
        ];
        let text = named
            .into_iter()
            .flatten()
            .next()
            .map_or("", String::as_str);
        Address::parse(text, &self.environment)
    }

    /// The logical store directory when the store itself is elsewhere.
    pub(crate) fn store_dir(&self) -> anyhow::Result<StoreDir> {
        match &self.environment.store_dir {
            Some(text) => Ok(StoreDir::new(text)?),
            None => Ok(StoreDir::default()),
        }
    }

    /// The directories of the local store.
    pub(crate) fn layout(&self, command: &str) -> anyhow::Result<StoreLayout> {
        let settings = self.settings()?;
        Ok(self.address(&settings)?.require_local(command)?.layout)
    }

    /// Opens another local store than that of the command, to read from it.
    pub(crate) fn open_other_store(&self, address: &str) -> anyhow::Result<LocalStore> {
        let parsed = Address::parse(address, &self.environment)?;
        let config = store_config(
            parsed.require_local("a source")?,
            self.settings()?,
            Purpose::Read,
        );
        LocalStore::open(config).with_context(|| format!("cannot open store '{address}'"))
    }

    /// Opens the local store for `command`.
    pub(crate) fn open_store(&self, command: &str, purpose: Purpose) -> anyhow::Result<LocalStore> {
        let settings = self.settings()?;
        let address = self.address(&settings)?.require_local(command)?;
        if let Some(daemon) = address
            .daemon
            .as_ref()
            .filter(|_| purpose == Purpose::Write)
        {
            bail!(
                "'{command}' can't write to store '{daemon}', which is behind a Nix daemon whose \
                 protocol this program doesn't speak: use --store local as the store's owner, or \
                 --store with another store"
            );
        }
        let upkeep = settings.upkeep.clone();
        let mut config = store_config(address, settings, purpose);
        config.auto_gc = upkeep.auto_gc();
        config.reserved_bytes = upkeep.reserved_space;
        let state = config.layout.state.clone();
        LocalStore::open(config).map_err(|error| explain_denial(error, &state))
    }
}

/// The command of supervisors, which users have no use for.
pub(crate) const SUPERVISE: &str = "supervise-build";
/// This program, even if its file was replaced meanwhile.
pub(crate) const OWN_PROGRAM: &str = "/proc/self/exe";

/// Tells a way out to whoever may not write to the store.
fn explain_denial(error: nix_store_core::Error, state: &Path) -> anyhow::Error {
    let error = anyhow::Error::from(error);
    let is_denied = error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    });
    if !is_denied {
        return error;
    }
    let user = rustix::process::geteuid().as_raw();
    error.context(format!(
        "user {user} may not open the store in '{}': act as its owner, or use another store \
         with --store DIR",
        state.display()
    ))
}

/// How to open the store at `address`.
fn store_config(address: LocalAddress, settings: Settings, purpose: Purpose) -> StoreConfig {
    let mut config = StoreConfig::new(address.layout);
    config.durability = address.durability.unwrap_or(settings.durability);
    config.access = match purpose {
        _ if address.read_only || address.daemon.is_some() => Access::ReadOnly,
        Purpose::Read => Access::Auto,
        Purpose::Write => Access::ReadWrite,
    };
    config.create = purpose == Purpose::Write && !address.read_only;
    config.busy_timeout = settings.busy_timeout.unwrap_or(config.busy_timeout);
    config.allow_symlinked_store = settings.allow_symlinked_store;
    config.journal = settings.journal;
    config.auto_optimise = settings.upkeep.auto_optimise;
    config.build_users_group = settings.build_users_group;
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_out_of_reach_are_for_builds_alone() {
        let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let global = GlobalArgs {
            settings: vec![
                setting("secret-key-files", "/nonexistent/key"),
                setting("build-dir", "/builds"),
            ],
            ..GlobalArgs::default()
        };
        let context = Context::new(global, Environment::from_lookup(|_| None));
        context.build_config().unwrap_err();
        assert_eq!(context.build_dir().unwrap(), Some("/builds".into()));
    }
}
