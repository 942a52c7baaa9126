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
    /// `--NAME VALUE`, where the value is a number, perhaps with a unit.
    Number,
    /// `--NAME VALUE`, where the value is a number or `auto`.
    Jobs,
    /// `--NAME`, `--no-NAME` and `--relaxed-NAME`.
    Sandbox,
}

use SettingKind::{Boolean, Jobs, List, Number, Sandbox, Value};

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
const ALIASES: [(&str, &str); 25] = [
    ("binary-cache-public-keys", "trusted-public-keys"),
    ("binary-caches", "substituters"),
    ("binary-caches-parallel-connections", "http-connections"),
    ("build-chroot-dirs", "sandbox-paths"),
    ("build-compress-log", "compress-build-log"),
    ("build-cores", "cores"),
    ("build-extra-chroot-dirs", "extra-sandbox-paths"),
    ("build-extra-sandbox-paths", "extra-sandbox-paths"),
    ("build-fallback", "fallback"),
    ("build-impersonate-linux-26", "impersonate-linux-26"),
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
    ("substitution-max-jobs", "max-substitution-jobs"),
    ("trusted-binary-caches", "trusted-substituters"),
];

/// Settings of real Nix and ours, sorted.
const SETTINGS: [(&str, SettingKind); 141] = [
    ("abort-on-warn", Boolean),
    ("accept-flake-config", Boolean),
    ("access-tokens", List),
    ("allow-dirty", Boolean),
    ("allow-dirty-locks", Boolean),
    ("allow-import-from-derivation", Boolean),
    ("allow-new-privileges", Boolean),
    ("allow-symlinked-store", Boolean),
    ("allow-unsafe-native-code-during-evaluation", Boolean),
    ("allowed-impure-host-deps", List),
    ("allowed-uris", List),
    ("allowed-users", List),
    ("always-allow-substitutes", Boolean),
    ("auto-allocate-uids", Boolean),
    ("auto-optimise-store", Boolean),
    ("bash-prompt", Value),
    ("bash-prompt-prefix", Value),
    ("bash-prompt-suffix", Value),
    ("build-dir", Value),
    ("build-disk-limit", Value),
    ("build-hook", List),
    ("build-linger", Value),
    ("build-memory-limit", Value),
    ("build-poll-interval", Number),
    ("build-process-limit", Value),
    ("build-users-group", Value),
    ("builders", Value),
    ("builders-use-substitutes", Boolean),
    ("commit-lock-file-summary", Value),
    ("commit-lockfile-summary", Value),
    ("compress-build-log", Boolean),
    ("connect-timeout", Number),
    ("cores", Number),
    ("database-busy-timeout", Value),
    ("debugger-on-trace", Boolean),
    ("debugger-on-warn", Boolean),
    ("diff-hook", Value),
    ("download-attempts", Number),
    ("download-buffer-size", Number),
    ("download-speed", Number),
    ("durability", Value),
    ("enforce-determinism", Boolean),
    ("eval-attrset-update-layer-rhs-threshold", Number),
    ("eval-cache", Boolean),
    ("eval-profile-file", Value),
    ("eval-profiler", Value),
    ("eval-profiler-frequency", Number),
    ("eval-system", Value),
    ("experimental-features", List),
    ("external-builders", Value),
    ("extra-platforms", List),
    ("fallback", Boolean),
    ("filter-syscalls", Boolean),
    ("fixed-output-network", Value),
    ("flake-registry", Value),
    ("fsync-metadata", Boolean),
    ("fsync-store-paths", Boolean),
    ("gc-check-reachability", Boolean),
    ("gc-reserved-space", Number),
    ("hashed-mirrors", List),
    ("http-connections", Number),
    ("http2", Boolean),
    ("id-count", Number),
    ("ignore-try", Boolean),
    ("ignored-acls", List),
    ("impersonate-linux-26", Boolean),
    ("impure-env", List),
    ("json-log-path", Value),
    ("keep-build-log", Boolean),
    ("keep-derivations", Boolean),
    ("keep-env-derivations", Boolean),
    ("keep-failed", Boolean),
    ("keep-going", Boolean),
    ("keep-outputs", Boolean),
    ("lint-absolute-path-literals", Value),
    ("lint-short-path-literals", Value),
    ("lint-url-literals", Value),
    ("log-lines", Number),
    ("max-build-log-size", Number),
    ("max-call-depth", Number),
    ("max-free", Number),
    ("max-jobs", Jobs),
    ("max-silent-time", Number),
    ("max-substitution-jobs", Number),
    ("min-free", Number),
    ("min-free-check-interval", Number),
    ("nar-buffer-size", Number),
    ("narinfo-cache-meta-ttl", Number),
    ("narinfo-cache-negative-ttl", Number),
    ("narinfo-cache-positive-ttl", Number),
    ("netrc-file", Value),
    ("nix-path", List),
    ("nix-shell-always-looks-for-shell-nix", Boolean),
    ("nix-shell-shebang-arguments-relative-to-script", Boolean),
    ("plugin-files", List),
    ("post-build-hook", Value),
    ("pre-build-hook", Value),
    ("preallocate-contents", Boolean),
    ("print-missing", Boolean),
    ("pure-eval", Boolean),
    ("repeat", Number),
    ("require-drop-supplementary-groups", Boolean),
    ("require-sigs", Boolean),
    ("restrict-eval", Boolean),
    ("run-diff-hook", Boolean),
    ("sandbox", Sandbox),
    ("sandbox-accept-missing", List),
    ("sandbox-build-dir", Value),
    ("sandbox-dev-shm-size", Value),
    ("sandbox-fallback", Boolean),
    ("sandbox-paths", List),
    ("secret-key-files", List),
    ("show-trace", Boolean),
    ("ssl-cert-file", Value),
    ("stalled-download-timeout", Number),
    ("start-id", Number),
    ("store", Value),
    ("substitute", Boolean),
    ("substituters", List),
    ("sync-before-registering", Boolean),
    ("system", Value),
    ("system-features", List),
    ("tarball-ttl", Number),
    ("timeout", Number),
    ("trace-function-calls", Boolean),
    ("trace-import-from-derivation", Boolean),
    ("trace-verbose", Boolean),
    ("trust-tarballs-from-git-forges", Boolean),
    ("trusted-public-keys", List),
    ("trusted-substituters", List),
    ("trusted-users", List),
    ("upgrade-nix-store-path-url", Value),
    ("use-case-hack", Boolean),
    ("use-cgroups", Boolean),
    ("use-registries", Boolean),
    ("use-sqlite-wal", Boolean),
    ("use-xdg-base-directories", Boolean),
    ("user-agent-suffix", Value),
    ("warn-dirty", Boolean),
    ("warn-large-path-threshold", Number),
    ("warn-short-path-literals", Boolean),
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
        assert_eq!(setting_kind("build-cores"), Some(Number));
        assert_eq!(setting_kind("binary-caches"), Some(List));
        assert_eq!(setting_kind("gc-keep-outputs"), Some(Boolean));
        assert_eq!(setting_kind("no-such-setting"), None);
    }
}
