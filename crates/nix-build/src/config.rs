//! What the operator of a machine allows and wishes.
//!
//! Plain data: the programs fill it in from `nix.conf` and their command lines. The names in
//! parentheses are the settings of `nix.conf`; those that real Nix doesn't have are ours.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix_base::SecretKey;

use crate::request::BuildLimits;

/// How builds run on this machine.
#[derive(Debug, Clone)]
pub struct BuildConfig {
    /// The platform of this machine, such as `x86_64-linux` (`system`).
    pub system: String,
    /// Other platforms that it can build for (`extra-platforms`).
    pub extra_platforms: BTreeSet<String>,
    /// What derivations may require of it (`system-features`).
    pub system_features: BTreeSet<String>,
    /// Builds at a time on this machine, of all processes together; 0 means none
    /// (`max-jobs`).
    pub max_jobs: u32,
    /// `NIX_BUILD_CORES`; 0 means as many as there are processors (`cores`).
    pub cores: u32,
    /// Bounds that hold whatever a client asks for; it can only tighten them
    /// (`max-silent-time`, `timeout`, `max-build-log-size`, and ours).
    pub limits: BuildLimits,
    /// Bounds of the machine's resources.
    pub resources: ResourceLimits,
    /// The sandbox.
    pub sandbox: SandboxConfig,
    /// As whom builders run.
    pub users: BuildUsers,
    /// Whether failed builds keep their directory, if the client doesn't say
    /// (`keep-failed`).
    pub keep_failed: bool,
    /// Whether to go on after a failure (`keep-going`).
    pub keep_going: bool,
    /// Whether logs are kept (`keep-build-log`).
    pub keep_log: bool,
    /// Whether kept logs are compressed with bzip2 (`compress-build-log`).
    pub compress_log: bool,
    /// Lines of the log in a failure's message (`log-lines`).
    pub log_lines: usize,
    /// Parent of the build directories; `None` for `builds` in the state directory
    /// (`build-dir`).
    pub build_dir: Option<PathBuf>,
    /// Programs that are run before and after builds.
    pub hooks: Hooks,
    /// Settings of the builtin fetcher.
    pub fetch: FetchConfig,
    /// Values of `impureEnvVars` (`impure-env`); they win over `environment`.
    pub impure_env: BTreeMap<String, String>,
    /// The environment that other `impureEnvVars` are taken from.
    pub environment: BTreeMap<OsString, OsString>,
    /// Whether outputs whose paths follow from their contents are built, and realisations
    /// stored (`experimental-features = ca-derivations`).
    pub ca_derivations: bool,
    /// Whether impure derivations are built (`experimental-features =
    /// impure-derivations`).
    pub impure_derivations: bool,
    /// Keys that sign what is built (`secret-key-files`).
    pub secret_keys: Arc<Vec<SecretKey>>,
    /// All settings as lines of `nix.conf`, for the post-build hook.
    pub settings_text: String,
    /// How long a build goes on when its last client has left (`--linger`).
    pub linger: Duration,
    /// The program that runs builders.
    pub helper: HelperProgram,
}

/// A program that calls [`crate::helper::main_if_asked`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelperProgram {
    /// Its path; `/proc/self/exe` for the running one.
    pub program: PathBuf,
}

impl Default for HelperProgram {
    fn default() -> Self {
        Self {
            program: PathBuf::from("/proc/self/exe"),
        }
    }
}

/// Bounds of resources; `None` means no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResourceLimits {
    /// Bytes of memory of all processes of a build together (`build-memory-limit`).
    pub memory: Option<u64>,
    /// Processes and threads of a build (`build-process-limit`).
    pub processes: Option<u64>,
    /// Bytes on disk that a build may take, in its outputs and its build directory
    /// (`build-disk-limit`).
    pub disk: Option<u64>,
}

/// As whom builders run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildUsers {
    /// As the user that runs this process, who isn't root.
    Caller,
    /// As members of a group that aren't in use (`build-users-group`).
    Group(String),
    /// As user ids from a range, without accounts (`auto-allocate-uids`); also what root
    /// does without a group.
    Automatic {
        /// The first one (`start-id`).
        start: u32,
        /// How many; each build takes one, or 65,536 (`id-count`).
        count: u32,
    },
}

impl BuildUsers {
    /// Nix's automatic range.
    pub const AUTOMATIC: Self = Self::Automatic {
        start: 872_415_232,
        count: 1 << 23,
    };
}

/// Whether builders are confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SandboxMode {
    /// All of them (`sandbox = true`).
    #[default]
    Always,
    /// All but fixed-output ones and those with `__noChroot` (`sandbox = relaxed`).
    Relaxed,
    /// None (`sandbox = false`).
    Never,
}

/// A path of the host that builders see.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SandboxPath {
    /// Where, inside.
    pub target: PathBuf,
    /// What, on the host.
    pub source: PathBuf,
    /// Whether it may be missing.
    pub optional: bool,
}

impl SandboxPath {
    /// Parses `path`, `target=source`, either with `?` behind it.
    ///
    /// `None` if a part is empty.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (text, optional) = match text.strip_suffix('?') {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (target, source) = text.split_once('=').unwrap_or((text, text));
        (!target.is_empty() && !source.is_empty()).then(|| Self {
            target: target.into(),
            source: source.into(),
            optional,
        })
    }
}

/// How a builder that may use the network gets one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FixedOutputNetwork {
    /// A user-mode network stack if there is one, else the host's network with a warning.
    #[default]
    Auto,
    /// A network of its own with a user-mode stack (`pasta`) only.
    Private,
    /// The host's.
    Host,
    /// None.
    Off,
}

/// A layer of the confinement that an operator can do without, by name
/// (`sandbox-accept-missing`).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Layer {
    /// User namespaces.
    UserNamespace,
    /// Mount, process, IPC and host name namespaces.
    Namespaces,
    /// Network namespaces.
    Network,
    /// Bind mounts, pivot_root, `/proc`, `/dev`.
    Mounts,
    /// The filter of system calls.
    SyscallFilter,
    /// Landlock, for builds on the host's network.
    Landlock,
    /// Control groups, where limits ask for them.
    Cgroups,
    /// User ids of their own for builders.
    Users,
    /// Dropping supplementary groups.
    Groups,
    /// Dropping capabilities, `no_new_privs`.
    Capabilities,
}

impl Layer {
    /// All layers with their names.
    pub const ALL: [(Self, &'static str); 10] = [
        (Self::UserNamespace, "user-namespace"),
        (Self::Namespaces, "namespaces"),
        (Self::Network, "network"),
        (Self::Mounts, "mounts"),
        (Self::SyscallFilter, "syscall-filter"),
        (Self::Landlock, "landlock"),
        (Self::Cgroups, "cgroups"),
        (Self::Users, "users"),
        (Self::Groups, "groups"),
        (Self::Capabilities, "capabilities"),
    ];

    /// The name in settings and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(layer, _)| *layer == self)
            .map_or("", |(_, name)| name)
    }

    /// The layer of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n)| *n == name).map(|(l, _)| *l)
    }
}

/// The sandbox.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// Who is confined (`sandbox`).
    pub mode: SandboxMode,
    /// Whether to build unconfined where there are no namespaces (`sandbox-fallback`;
    /// off by default, unlike upstream).
    pub fallback: bool,
    /// Layers that may be missing.
    pub accept_missing: BTreeSet<Layer>,
    /// Paths of the host that are visible (`sandbox-paths`).
    pub paths: Vec<SandboxPath>,
    /// The build directory as seen inside (`sandbox-build-dir`).
    pub build_dir: PathBuf,
    /// The size of `/dev/shm`, in words of tmpfs (`sandbox-dev-shm-size`).
    pub dev_shm_size: String,
    /// Whether system calls are filtered (`filter-syscalls`).
    pub filter_syscalls: bool,
    /// Whether builders may gain privileges (`allow-new-privileges`).
    pub allow_new_privileges: bool,
    /// Whether supplementary groups must be dropped
    /// (`require-drop-supplementary-groups`).
    pub require_drop_groups: bool,
    /// The network of fixed-output and impure builds (`fixed-output-network`).
    pub network: FixedOutputNetwork,
    /// Whether to tell builders that this is Linux 2.6 (`impersonate-linux-26`).
    pub impersonate_linux_26: bool,
    /// Host paths that derivations may ask for (`allowed-impure-host-deps`).
    pub allowed_impure_host_deps: Vec<PathBuf>,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            mode: SandboxMode::default(),
            fallback: false,
            accept_missing: BTreeSet::new(),
            paths: Vec::new(),
            build_dir: PathBuf::from("/build"),
            dev_shm_size: "50%".to_owned(),
            filter_syscalls: true,
            allow_new_privileges: false,
            require_drop_groups: true,
            network: FixedOutputNetwork::default(),
            impersonate_linux_26: false,
            allowed_impure_host_deps: Vec::new(),
        }
    }
}

/// Programs that are run before and after builds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hooks {
    /// Adds paths to the sandbox (`pre-build-hook`).
    pub pre_build: Option<PathBuf>,
    /// Is told of every success (`post-build-hook`).
    pub post_build: Option<PathBuf>,
    /// Shows how two builds differ (`diff-hook`, if `run-diff-hook`).
    pub diff: Option<PathBuf>,
}

/// Settings of the builtin fetcher.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FetchConfig {
    /// Addresses that are tried first, as `MIRROR/ALGO/HEX` (`hashed-mirrors`).
    pub hashed_mirrors: Vec<String>,
    /// Passwords (`netrc-file`).
    pub netrc_file: Option<PathBuf>,
    /// Certificates (`ssl-cert-file`, `NIX_SSL_CERT_FILE`).
    pub ca_bundle: Option<PathBuf>,
    /// Seconds to wait for a connection; 0 means no limit (`connect-timeout`).
    pub connect_timeout: u32,
}

impl Default for BuildConfig {
    /// The defaults of Nix for this machine, except that nothing is read from anywhere:
    /// no hooks, no keys, no environment.
    fn default() -> Self {
        let is_root = rustix::process::geteuid().is_root();
        Self {
            system: native_system(),
            extra_platforms: default_extra_platforms(),
            system_features: ["benchmark", "big-parallel", "nixos-test"]
                .map(str::to_owned)
                .into(),
            max_jobs: 1,
            cores: 0,
            limits: BuildLimits::default(),
            resources: ResourceLimits::default(),
            sandbox: SandboxConfig::default(),
            users: match is_root {
                true => BuildUsers::AUTOMATIC,
                false => BuildUsers::Caller,
            },
            keep_failed: false,
            keep_going: false,
            keep_log: true,
            compress_log: true,
            log_lines: 25,
            build_dir: None,
            hooks: Hooks::default(),
            fetch: FetchConfig::default(),
            impure_env: BTreeMap::new(),
            environment: BTreeMap::new(),
            ca_derivations: false,
            impure_derivations: false,
            secret_keys: Arc::default(),
            settings_text: String::new(),
            linger: Duration::ZERO,
            helper: HelperProgram::default(),
        }
    }
}

/// The platform that this program was compiled for, in Nix's words.
#[must_use]
pub fn native_system() -> String {
    let arch = match std::env::consts::ARCH {
        "x86" => "i686",
        arch => arch,
    };
    format!("{arch}-{}", std::env::consts::OS)
}

fn default_extra_platforms() -> BTreeSet<String> {
    match std::env::consts::ARCH {
        "x86_64" => BTreeSet::from(["i686-linux".to_owned()]),
        _ => BTreeSet::new(),
    }
}
