//! The names of Nix's settings: which exist, which of them are lists or switches, and
//! what they were once called.
//!
//! Every setting can be given as a flag of `nix-store`, so the names are needed to tell a
//! flag of real Nix from one that nobody knows.

/// The type of a setting, as far as flags and `extra-` need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SettingKind {
    /// `--NAME` and `--no-NAME`.
    Boolean,
    /// `--NAME VALUE`, and `--extra-NAME VALUE` to append.
    List,
    /// `--NAME VALUE`.
    Value,
}

use SettingKind::{Boolean, List, Value};

/// The type of the setting `name`, if there is one of this name.
pub(crate) fn setting_kind(name: &str) -> Option<SettingKind> {
    let name = canonical_name(name);
    let found = SETTINGS.binary_search_by_key(&name, |(known, _)| known);
    found.ok().map(|index| SETTINGS[index].1)
}

/// Whether `extra-NAME` appends to the setting.
pub(crate) fn is_list(name: &str) -> bool {
    setting_kind(name) == Some(List)
}

/// Today's name of a setting.
pub(crate) fn canonical_name(name: &str) -> &str {
    let found = ALIASES.binary_search_by_key(&name, |(old, _)| old);
    found.map_or(name, |index| ALIASES[index].1)
}

/// Old names, sorted.
const ALIASES: [(&str, &str); 22] = [
    ("binary-cache-public-keys", "trusted-public-keys"),
    ("binary-caches", "substituters"),
    ("build-chroot-dirs", "sandbox-paths"),
    ("build-compress-log", "compress-build-log"),
    ("build-cores", "cores"),
    ("build-extra-chroot-dirs", "extra-sandbox-paths"),
    ("build-extra-sandbox-paths", "extra-sandbox-paths"),
    ("build-fallback", "fallback"),
    ("build-keep-log", "keep-build-log"),
    ("build-max-jobs", "max-jobs"),
    ("build-max-log-size", "max-build-log-size"),
    ("build-max-silent-time", "max-silent-time"),
    ("build-repeat", "repeat"),
    ("build-sandbox-paths", "sandbox-paths"),
    ("build-timeout", "timeout"),
    ("build-use-chroot", "sandbox"),
    ("build-use-sandbox", "sandbox"),
    ("build-use-substitutes", "substitute"),
    ("env-keep-derivations", "keep-env-derivations"),
    ("gc-keep-derivations", "keep-derivations"),
    ("gc-keep-outputs", "keep-outputs"),
    ("trusted-binary-caches", "trusted-substituters"),
];

/// Settings of real Nix and ours, sorted.
const SETTINGS: [(&str, SettingKind); 91] = [
    ("allow-new-privileges", Boolean),
    ("allow-symlinked-store", Boolean),
    ("allowed-impure-host-deps", List),
    ("allowed-users", List),
    ("always-allow-substitutes", Boolean),
    ("auto-allocate-uids", Boolean),
    ("auto-optimise-store", Boolean),
    ("build-dir", Value),
    ("build-disk-limit", Value),
    ("build-hook", List),
    ("build-linger", Value),
    ("build-memory-limit", Value),
    ("build-poll-interval", Value),
    ("build-process-limit", Value),
    ("build-users-group", Value),
    ("builders", Value),
    ("builders-use-substitutes", Boolean),
    ("compress-build-log", Boolean),
    ("connect-timeout", Value),
    ("cores", Value),
    ("database-busy-timeout", Value),
    ("diff-hook", Value),
    ("download-attempts", Value),
    ("download-speed", Value),
    ("durability", Value),
    ("enforce-determinism", Boolean),
    ("experimental-features", List),
    ("extra-platforms", List),
    ("fallback", Boolean),
    ("filter-syscalls", Boolean),
    ("fixed-output-network", Value),
    ("fsync-metadata", Boolean),
    ("fsync-store-paths", Boolean),
    ("gc-reserved-space", Value),
    ("hashed-mirrors", List),
    ("http-connections", Value),
    ("http2", Boolean),
    ("id-count", Value),
    ("ignored-acls", List),
    ("impersonate-linux-26", Boolean),
    ("impure-env", List),
    ("keep-build-log", Boolean),
    ("keep-derivations", Boolean),
    ("keep-env-derivations", Boolean),
    ("keep-failed", Boolean),
    ("keep-going", Boolean),
    ("keep-outputs", Boolean),
    ("log-lines", Value),
    ("max-build-log-size", Value),
    ("max-free", Value),
    ("max-jobs", Value),
    ("max-silent-time", Value),
    ("max-substitution-jobs", Value),
    ("min-free", Value),
    ("min-free-check-interval", Value),
    ("nar-buffer-size", Value),
    ("narinfo-cache-negative-ttl", Value),
    ("narinfo-cache-positive-ttl", Value),
    ("netrc-file", Value),
    ("post-build-hook", Value),
    ("pre-build-hook", Value),
    ("preallocate-contents", Boolean),
    ("print-missing", Boolean),
    ("repeat", Value),
    ("require-drop-supplementary-groups", Boolean),
    ("require-sigs", Boolean),
    ("run-diff-hook", Boolean),
    ("sandbox", Value),
    ("sandbox-accept-missing", List),
    ("sandbox-build-dir", Value),
    ("sandbox-dev-shm-size", Value),
    ("sandbox-fallback", Boolean),
    ("sandbox-paths", List),
    ("secret-key-files", List),
    ("show-trace", Boolean),
    ("ssl-cert-file", Value),
    ("stalled-download-timeout", Value),
    ("start-id", Value),
    ("store", Value),
    ("substitute", Boolean),
    ("substituters", List),
    ("sync-before-registering", Boolean),
    ("system", Value),
    ("system-features", List),
    ("timeout", Value),
    ("trusted-public-keys", List),
    ("trusted-substituters", List),
    ("trusted-users", List),
    ("use-cgroups", Boolean),
    ("use-sqlite-wal", Boolean),
    ("user-agent-suffix", Value),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tables_are_sorted() {
        assert!(ALIASES.is_sorted_by(|a, b| a.0 < b.0));
        assert!(SETTINGS.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn old_names_have_the_type_of_the_new() {
        assert_eq!(setting_kind("build-cores"), Some(Value));
        assert_eq!(setting_kind("binary-caches"), Some(List));
        assert_eq!(setting_kind("gc-keep-outputs"), Some(Boolean));
        assert_eq!(setting_kind("no-such-setting"), None);
    }
}
