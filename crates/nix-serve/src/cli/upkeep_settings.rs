//! The settings of upkeep: what collections keep, and when they start by themselves.

use std::time::Duration;

use nix_store_core::gc::AutoGc;

use super::config::{Config, ConfigError};

/// Settings from nix.conf, the environment and the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UpkeepSettings {
    /// `keep-outputs`: live derivations keep their outputs.
    pub(crate) keep_outputs: bool,
    /// `keep-derivations`: live paths keep their derivations.
    pub(crate) keep_derivations: bool,
    /// `min-free`: collect before adding or building if there are fewer bytes to spare.
    pub(crate) min_free: u64,
    /// `max-free`: until there are so many; `None` for no end.
    pub(crate) max_free: Option<u64>,
    /// `min-free-check-interval`.
    pub(crate) check_interval: Duration,
    /// `auto-optimise-store`: what is added shares files with what is there.
    pub(crate) auto_optimise: bool,
    /// `gc-reserved-space`: bytes set aside for collecting on a full disk.
    pub(crate) reserved_space: u64,
}

impl UpkeepSettings {
    /// Reads them, with Nix's defaults.
    pub(crate) fn from_config(config: &Config) -> Result<Self, ConfigError> {
        let interval = config.number::<u64>("min-free-check-interval")?;
        // Nix compat: what is no limit is a number that no disk reaches.
        let max_free = config.size("max-free")?;
        Ok(Self {
            keep_outputs: config.switch("keep-outputs", false)?,
            keep_derivations: config.switch("keep-derivations", true)?,
            min_free: config.size("min-free")?.unwrap_or(0),
            max_free: max_free.filter(|&bytes| bytes < u64::MAX / 2),
            check_interval: Duration::from_secs(interval.unwrap_or(CHECK_INTERVAL)),
            auto_optimise: config.switch("auto-optimise-store", false)?,
            reserved_space: config.size("gc-reserved-space")?.unwrap_or(RESERVED),
        })
    }

    /// When the store collects garbage by itself, if it does.
    pub(crate) fn auto_gc(&self) -> Option<AutoGc> {
        (self.min_free > 0).then_some(AutoGc {
            min_free: self.min_free,
            max_free: self.max_free,
            check_interval: self.check_interval,
            keep_outputs: self.keep_outputs,
            keep_derivations: self.keep_derivations,
        })
    }
}

/// Nix's number of seconds between two looks at the disk.
const CHECK_INTERVAL: u64 = 5;
/// Nix's number of bytes to set aside.
const RESERVED: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<UpkeepSettings, ConfigError> {
        let mut config = Config::default();
        config.read_variable("NIX_CONFIG", text)?;
        UpkeepSettings::from_config(&config)
    }

    #[test]
    fn defaults_are_those_of_nix() {
        let defaults = settings("").unwrap();
        assert!(defaults.keep_derivations && !defaults.keep_outputs && !defaults.auto_optimise);
        assert_eq!(defaults.auto_gc(), None);
        assert_eq!(defaults.reserved_space, 8 * 1024 * 1024);
    }

    #[test]
    fn sizes_have_units_and_old_names_count() {
        let text = "min-free = 2G\nmax-free = 3G\ngc-keep-outputs = true\n";
        let auto = settings(text).unwrap().auto_gc().unwrap();
        assert_eq!((auto.min_free, auto.max_free), (2 << 30, Some(3 << 30)));
        assert!(auto.keep_outputs);
        assert_eq!(auto.check_interval, Duration::from_secs(5));
        let endless = settings("min-free = 1\nmax-free = 9223372036854775807\n").unwrap();
        assert_eq!(endless.auto_gc().unwrap().max_free, None);
    }

    #[test]
    fn a_wrong_value_names_the_setting() {
        let error = settings("min-free = much\n").unwrap_err().to_string();
        assert!(error.contains("'min-free'"), "{error}");
    }
}
