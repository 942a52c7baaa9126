//! The settings that this program acts on, with their types and defaults.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix_base::PublicKey;
use nix_store_core::{Durability, JournalMode};

use super::config::{Config, ConfigError};
use super::env::Environment;
use super::secret_keys::read_secret_key;
use super::upkeep_settings::UpkeepSettings;

/// Settings from nix.conf, the environment and the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// `store`: the store when neither `--store` nor `NIX_REMOTE` names one.
    pub(crate) store: Option<String>,
    /// `build-users-group`; root gives the store directory to it.
    pub(crate) build_users_group: Option<String>,
    /// `use-sqlite-wal`.
    pub(crate) journal: JournalMode,
    /// `durability`, ours; Nix's `fsync-metadata = false` means none.
    pub(crate) durability: Durability,
    /// `database-busy-timeout`, ours, in seconds.
    pub(crate) busy_timeout: Option<Duration>,
    /// Those of upkeep.
    pub(crate) upkeep: UpkeepSettings,
    /// `allow-symlinked-store`.
    pub(crate) allow_symlinked_store: bool,
    /// `trusted-public-keys`, if `require-sigs` is switched on expressly: what is copied
    /// from elsewhere must then be content-addressed or signed by one of them.
    // Nix compat: nix-copy-closure asks for no signatures although the setting's default
    // is on; whoever names a host to copy from trusts it.
    pub(crate) demanded_keys: Option<Vec<PublicKey>>,
}

impl Settings {
    /// Reads nix.conf and everything that overrides it, in Nix's order.
    pub(crate) fn load(
        environment: &Environment,
        command_line: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        Self::from_config(&load_config(environment, command_line)?, environment)
    }

    fn from_config(config: &Config, environment: &Environment) -> Result<Self, ConfigError> {
        let full = |name| config.value(name).filter(|value| !value.is_empty());
        let journal = match config.boolean("use-sqlite-wal")? {
            Some(false) => JournalMode::Truncate,
            _ => JournalMode::Wal,
        };
        let flushes = config.boolean("fsync-metadata")?.unwrap_or(true);
        let durability = config.parsed("durability", DURABILITY_WORDS, parse_durability)?;
        let busy_timeout = config.parsed("database-busy-timeout", "expected seconds", |text| {
            text.parse().ok().map(Duration::from_secs)
        })?;
        let symlinks = config.boolean("allow-symlinked-store")?.unwrap_or(false);
        Ok(Self {
            store: full("store").map(str::to_owned),
            build_users_group: build_users_group(config),
            journal,
            durability: durability.unwrap_or(match flushes {
                true => Durability::default(),
                false => Durability::None,
            }),
            busy_timeout,
            upkeep: UpkeepSettings::from_config(config)?,
            allow_symlinked_store: symlinks || environment.ignore_symlink_store,
            demanded_keys: match config.boolean("require-sigs")? {
                Some(true) => Some(trusted_keys(config, environment)?),
                _ => None,
            },
        })
    }
}

/// Reads nix.conf and everything that overrides it, in Nix's order.
pub(crate) fn load_config(
    environment: &Environment,
    command_line: &[(String, String)],
) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    config.read_file(&environment.conf_dir().join("nix.conf"))?;
    for file in &environment.user_conf_files {
        config.read_file(file)?;
    }
    if let Some(text) = &environment.config {
        config.read_variable("NIX_CONFIG", text)?;
    }
    for (name, value) in command_line {
        config.set(name, value);
    }
    Ok(config)
}

/// The group whose members build for root.
pub(crate) fn build_users_group(config: &Config) -> Option<String> {
    let is_root = rustix::process::geteuid().is_root();
    match config.value("build-users-group") {
        Some(group) => Some(group.to_owned()).filter(|group| !group.is_empty()),
        // Nix compat: its default. That the group isn't there is worth a word only if
        // somebody named it.
        None => (is_root && group_exists(DEFAULT_GROUP)).then(|| DEFAULT_GROUP.to_owned()),
    }
}

fn group_exists(name: &str) -> bool {
    matches!(posix::unistd::Group::from_name(name), Ok(Some(_)))
}

/// The keys whose signatures count: also those that sign here.
pub(crate) fn trusted_keys(
    config: &Config,
    environment: &Environment,
) -> Result<Vec<PublicKey>, ConfigError> {
    let expected = "expected public keys, each NAME:BASE64";
    let keys = config.parsed("trusted-public-keys", expected, |text| {
        text.split(' ')
            .filter(|word| !word.is_empty())
            .map(|word| word.parse().ok())
            .collect()
    })?;
    let default = || DEFAULT_KEY.parse().into_iter();
    let mut keys: Vec<PublicKey> = keys.unwrap_or_else(|| default().collect());
    if config.is_only_appended("trusted-public-keys") {
        keys.extend(default());
    }
    // Nix compat: a key that can't be read signs nothing, and is no reason to fail.
    for file in config.words("secret-key-files").unwrap_or_default() {
        match read_secret_key(Path::new(file), environment) {
            Ok(key) => keys.push(key.public_key()),
            Err(error) => tracing::debug!("key file '{file}' isn't trusted: {error:#}"),
        }
    }
    Ok(keys)
}

/// The level that `word` names.
pub(crate) fn parse_durability(word: &str) -> Option<Durability> {
    Some(match word {
        "none" => Durability::None,
        "ordered" => Durability::Ordered,
        "full" => Durability::Full,
        _ => return None,
    })
}

/// What [`parse_durability`] understands.
pub(crate) const DURABILITY_WORDS: &str = "expected 'none', 'ordered' or 'full'";

/// The name of the directory of a user's own store, if the user has a home.
pub(crate) fn user_store(environment: &Environment) -> Option<PathBuf> {
    Some(environment.data_home.as_ref()?.join("nix/root"))
}

const DEFAULT_GROUP: &str = "nixbld";
/// The key of the public cache, which real Nix trusts unless told otherwise.
const DEFAULT_KEY: &str = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=";

#[cfg(test)]
mod tests {
    use super::*;

    fn load(config: &str, command_line: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let environment = Environment {
            conf_dir: Some("/nonexistent".into()),
            config: Some(config.to_owned()),
            ..Environment::default()
        };
        let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        let command_line: Vec<_> = command_line.iter().map(owned).collect();
        Settings::load(&environment, &command_line)
    }

    #[test]
    fn the_command_line_wins_over_nix_config() {
        let settings = load("durability = none\n", &[("durability", "full")]).unwrap();
        assert_eq!(settings.durability, Durability::Full);
    }

    #[test]
    fn without_flushes_of_metadata_nothing_is_flushed_unless_said() {
        let settings = load("fsync-metadata = false\n", &[]).unwrap();
        assert_eq!(settings.durability, Durability::None);
        let text = "fsync-metadata = false\ndurability = ordered\n";
        assert_eq!(load(text, &[]).unwrap().durability, Durability::Ordered);
    }

    #[test]
    fn an_empty_group_means_no_group() {
        let settings = load("build-users-group =\n", &[]).unwrap();
        assert_eq!(settings.build_users_group, None);
    }

    #[test]
    fn a_wrong_level_names_the_setting_and_the_choice() {
        let error = load("", &[("durability", "high")]).unwrap_err().to_string();
        assert_eq!(
            error,
            "setting 'durability' has the invalid value 'high': expected 'none', 'ordered' or 'full'"
        );
    }

    #[test]
    fn signatures_are_demanded_only_expressly() {
        assert_eq!(load("", &[]).unwrap().demanded_keys, None);
        let keys = |text: &str| load(text, &[]).unwrap().demanded_keys.unwrap();
        assert_eq!(keys("require-sigs = true\n").len(), 1);
        assert_eq!(
            keys("require-sigs = true\ntrusted-public-keys =\n").len(),
            0
        );
        let error = load("require-sigs = true\ntrusted-public-keys = x\n", &[]).unwrap_err();
        assert!(
            error.to_string().contains("'trusted-public-keys'"),
            "{error}"
        );
    }

    #[test]
    fn settings_of_other_programs_are_not_looked_at() {
        load("sandbox = maybe\nno-such = x\n", &[]).unwrap();
    }
}
