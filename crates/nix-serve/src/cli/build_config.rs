//! The settings that say how builds run, as [`BuildConfig`].
//!
//! | Setting, not in real Nix | Default | |
//! |---|---|---|
//! | `build-memory-limit`, `build-disk-limit` | none | bytes of a build, with K, M, G or T |
//! | `build-process-limit` | none | processes and threads of a build |
//! | `fixed-output-network` | `auto` | `auto`, `private`, `host` or `off` |
//! | `build-linger` | 0 | seconds that a build goes on without clients |
//! | `sandbox-accept-missing` | none | layers of the sandbox to do without |
//!
//! `sandbox-fallback` is off unless switched on, unlike upstream.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix_build::config::{
    BuildConfig, BuildUsers, FetchConfig, FixedOutputNetwork, Hooks, Layer, ResourceLimits,
    SandboxConfig, SandboxMode, SandboxPath,
};
use nix_build::request::BuildLimits;

use super::config::{Config, ConfigError};
use super::env::Environment;
use super::secret_keys::read_secret_keys;
use super::settings::build_users_group;

/// How builds run on this machine, according to its settings.
pub(crate) fn build_config(
    config: &Config,
    environment: &Environment,
) -> anyhow::Result<BuildConfig> {
    let default = BuildConfig::default();
    let features = config.words("experimental-features").unwrap_or_default();
    let has = |feature: &str| features.contains(&feature);
    let keys = config.words("secret-key-files").unwrap_or_default();
    Ok(BuildConfig {
        system: config.full("system").map_or(default.system, str::to_owned),
        extra_platforms: words_or("extra-platforms", config, default.extra_platforms),
        system_features: words_or("system-features", config, with_kvm(default.system_features)),
        max_jobs: jobs(config)?.unwrap_or(default.max_jobs),
        cores: config.number("cores")?.unwrap_or(default.cores),
        limits: limits(config)?,
        resources: resources(config)?,
        sandbox: sandbox(config)?,
        users: users(config)?,
        keep_failed: config.switch("keep-failed", default.keep_failed)?,
        keep_going: config.switch("keep-going", default.keep_going)?,
        keep_log: config.switch("keep-build-log", default.keep_log)?,
        compress_log: config.switch("compress-build-log", default.compress_log)?,
        log_lines: config.number("log-lines")?.unwrap_or(default.log_lines),
        build_dir: config.full("build-dir").map(PathBuf::from),
        hooks: hooks(config)?,
        fetch: fetch(config, environment)?,
        impure_env: impure_env(config)?,
        environment: Environment::variables_of_process(),
        ca_derivations: has("ca-derivations"),
        impure_derivations: has("impure-derivations"),
        secret_keys: Arc::new(read_secret_keys(&keys, environment)?),
        settings_text: config.text(),
        linger: config
            .number("build-linger")?
            .map_or(default.linger, Duration::from_secs),
        helper: default.helper,
    })
}

/// A list; what `extra-` adds comes on top of the default.
fn words_or(name: &str, config: &Config, default: BTreeSet<String>) -> BTreeSet<String> {
    let Some(words) = config.words(name) else {
        return default;
    };
    let words = words.into_iter().map(str::to_owned);
    match config.is_only_appended(name) {
        true => default.into_iter().chain(words).collect(),
        false => words.collect(),
    }
}

/// Nix compat: machines that can run virtual machines say so.
fn with_kvm(mut features: BTreeSet<String>) -> BTreeSet<String> {
    use rustix::fs::{Access, access};
    if access("/dev/kvm", Access::READ_OK | Access::WRITE_OK).is_ok() {
        features.insert("kvm".to_owned());
    }
    features
}

fn jobs(config: &Config) -> Result<Option<u32>, ConfigError> {
    config.parsed(
        "max-jobs",
        "expected a number or 'auto'",
        |text| match text {
            "auto" => Some(
                std::thread::available_parallelism()
                    .ok()
                    .and_then(|count| count.get().try_into().ok())
                    .unwrap_or(1),
            ),
            number => number.parse().ok(),
        },
    )
}

fn limits(config: &Config) -> Result<BuildLimits, ConfigError> {
    Ok(BuildLimits {
        max_silent_time: config.number("max-silent-time")?.unwrap_or(0),
        timeout: config.number("timeout")?.unwrap_or(0),
        max_log_size: config.size("max-build-log-size")?.unwrap_or(0),
    })
}

fn resources(config: &Config) -> Result<ResourceLimits, ConfigError> {
    let bound = |limit: Option<u64>| limit.filter(|limit| *limit > 0);
    Ok(ResourceLimits {
        memory: bound(config.size("build-memory-limit")?),
        processes: bound(config.number("build-process-limit")?),
        disk: bound(config.size("build-disk-limit")?),
    })
}

fn sandbox(config: &Config) -> Result<SandboxConfig, ConfigError> {
    let default = SandboxConfig::default();
    let mode = config.parsed(
        "sandbox",
        "expected 'true', 'relaxed' or 'false'",
        |text| match text {
            "true" | "yes" | "1" => Some(SandboxMode::Always),
            "relaxed" => Some(SandboxMode::Relaxed),
            "false" | "no" | "0" => Some(SandboxMode::Never),
            _ => None,
        },
    )?;
    let network = config.parsed(
        "fixed-output-network",
        "expected 'auto', 'private', 'host' or 'off'",
        |text| match text {
            "auto" => Some(FixedOutputNetwork::Auto),
            "private" => Some(FixedOutputNetwork::Private),
            "host" => Some(FixedOutputNetwork::Host),
            "off" => Some(FixedOutputNetwork::Off),
            _ => None,
        },
    )?;
    let paths = config.parsed_words(
        "sandbox-paths",
        "expected words of the form PATH or TARGET=SOURCE, with '?' behind it if it may be missing",
        SandboxPath::parse,
    )?;
    let accepted = config.parsed_words("sandbox-accept-missing", LAYERS, Layer::from_name)?;
    let impure = config.words("allowed-impure-host-deps");
    Ok(SandboxConfig {
        mode: mode.unwrap_or(default.mode),
        fallback: config.switch("sandbox-fallback", default.fallback)?,
        accept_missing: accepted.into_iter().collect(),
        paths,
        build_dir: config
            .full("sandbox-build-dir")
            .map_or(default.build_dir, PathBuf::from),
        dev_shm_size: config
            .full("sandbox-dev-shm-size")
            .map_or(default.dev_shm_size, str::to_owned),
        filter_syscalls: config.switch("filter-syscalls", default.filter_syscalls)?,
        allow_new_privileges: config
            .switch("allow-new-privileges", default.allow_new_privileges)?,
        require_drop_groups: config.switch(
            "require-drop-supplementary-groups",
            default.require_drop_groups,
        )?,
        network: network.unwrap_or(default.network),
        impersonate_linux_26: config
            .switch("impersonate-linux-26", default.impersonate_linux_26)?,
        allowed_impure_host_deps: impure
            .unwrap_or_default()
            .into_iter()
            .map(PathBuf::from)
            .collect(),
    })
}

fn users(config: &Config) -> Result<BuildUsers, ConfigError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(BuildUsers::Caller);
    }
    let start = config.number("start-id")?;
    let count = config.number("id-count")?;
    let BuildUsers::Automatic {
        start: default_start,
        count: default_count,
    } = BuildUsers::AUTOMATIC
    else {
        return Ok(BuildUsers::AUTOMATIC);
    };
    let automatic = BuildUsers::Automatic {
        start: start.unwrap_or(default_start),
        count: count.unwrap_or(default_count),
    };
    let is_wanted = config.switch("auto-allocate-uids", false)?;
    Ok(match build_users_group(config).filter(|_| !is_wanted) {
        Some(group) => BuildUsers::Group(group),
        // Root never builds as root.
        None => automatic,
    })
}

fn hooks(config: &Config) -> Result<Hooks, ConfigError> {
    let program = |name| config.full(name).map(PathBuf::from);
    let runs_diff = config.switch("run-diff-hook", false)?;
    Ok(Hooks {
        pre_build: program("pre-build-hook"),
        post_build: program("post-build-hook"),
        diff: program("diff-hook").filter(|_| runs_diff),
    })
}

/// How files are fetched from elsewhere.
pub(crate) fn fetch(
    config: &Config,
    environment: &Environment,
) -> Result<FetchConfig, ConfigError> {
    let netrc = config
        .value("netrc-file")
        .map_or_else(|| environment.conf_dir().join("netrc"), PathBuf::from);
    let bundle = environment
        .ssl_cert_file
        .clone()
        .or_else(|| config.full("ssl-cert-file").map(PathBuf::from))
        .or_else(|| Some(PathBuf::from(CA_BUNDLE)).filter(|file| is_there(file)));
    let mirrors = config.words("hashed-mirrors").unwrap_or_default();
    Ok(FetchConfig {
        hashed_mirrors: mirrors.into_iter().map(str::to_owned).collect(),
        netrc_file: Some(netrc).filter(|file| is_there(file)),
        ca_bundle: bundle,
        connect_timeout: config.number("connect-timeout")?.unwrap_or(CONNECT_TIMEOUT),
    })
}

fn is_there(file: &std::path::Path) -> bool {
    std::fs::metadata(file).is_ok()
}

fn impure_env(config: &Config) -> Result<BTreeMap<String, String>, ConfigError> {
    let pairs = config.parsed_words(
        "impure-env",
        "expected words of the form NAME=VALUE",
        |word| {
            let (name, value) = word.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        },
    )?;
    Ok(pairs.into_iter().collect())
}

const LAYERS: &str = "expected some of 'user-namespace', 'namespaces', 'network', 'mounts', \
     'syscall-filter', 'landlock', 'cgroups', 'users', 'groups' and 'capabilities'";
/// Where most systems keep the certificates that they trust.
const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Nix's seconds for a connection.
const CONNECT_TIMEOUT: u32 = 15;

#[cfg(test)]
mod tests;
