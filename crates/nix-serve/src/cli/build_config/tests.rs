use std::os::unix::fs::PermissionsExt;

use super::*;

fn read(text: &str) -> anyhow::Result<BuildConfig> {
    let mut config = Config::default();
    config.read_variable("NIX_CONFIG", text)?;
    build_config(&config, &Environment::default())
}

fn refusal(text: &str) -> String {
    crate::cli::report::one_line(&read(text).unwrap_err())
}

#[test]
fn defaults_are_those_of_the_machine_and_of_nix() {
    let config = read("").unwrap();
    assert_eq!(config.max_jobs, 1);
    assert_eq!(config.cores, 0);
    assert!(config.keep_log && config.compress_log && !config.keep_failed);
    assert!(config.system_features.contains("big-parallel"));
    assert_eq!(config.sandbox.mode, SandboxMode::Always);
    assert!(!config.sandbox.fallback);
    assert!(!config.ca_derivations && !config.impure_derivations);
    assert_eq!(config.fetch.connect_timeout, 15);
}

#[test]
fn numbers_sizes_and_words_are_read_by_any_of_their_names() {
    let config = read(
        "build-max-jobs = 7\nbuild-cores = 3\nbuild-timeout = 5\nmax-silent-time = 6\n\
         build-max-log-size = 2K\nbuild-memory-limit = 3G\nbuild-process-limit = 100\n\
         build-disk-limit = 0\nlog-lines = 4\nkeep-failed = yes\nkeep-going = 1\n\
         experimental-features = nix-command ca-derivations\n",
    )
    .unwrap();
    assert_eq!((config.max_jobs, config.cores), (7, 3));
    assert_eq!(config.limits.timeout, 5);
    assert_eq!(config.limits.max_silent_time, 6);
    assert_eq!(config.limits.max_log_size, 2048);
    assert_eq!(config.resources.memory, Some(3 << 30));
    assert_eq!(config.resources.processes, Some(100));
    assert_eq!(config.resources.disk, None);
    assert_eq!(config.log_lines, 4);
    assert!(config.keep_failed && config.keep_going);
    assert!(config.ca_derivations && !config.impure_derivations);
    assert!(read("max-jobs = auto\n").unwrap().max_jobs >= 1);
}

#[test]
fn the_sandbox_is_described_word_by_word() {
    let config = read(
        "build-use-chroot = relaxed\nsandbox-paths = /bin/sh=/busybox /dev/kvm?\n\
         fixed-output-network = private\nsandbox-accept-missing = cgroups landlock\n\
         sandbox-build-dir = /b\nsandbox-fallback = true\nfilter-syscalls = false\n",
    )
    .unwrap();
    let sandbox = config.sandbox;
    assert_eq!(sandbox.mode, SandboxMode::Relaxed);
    assert_eq!(sandbox.network, FixedOutputNetwork::Private);
    assert_eq!(sandbox.paths.len(), 2);
    assert_eq!(sandbox.paths[0].source, PathBuf::from("/busybox"));
    assert!(sandbox.paths[1].optional);
    assert_eq!(
        sandbox.accept_missing,
        BTreeSet::from([Layer::Cgroups, Layer::Landlock])
    );
    assert!(sandbox.fallback && !sandbox.filter_syscalls);
}

#[test]
fn extra_adds_to_the_default_and_a_plain_value_replaces_it() {
    let extra = read("extra-system-features = gccarch-x\n").unwrap();
    assert!(extra.system_features.contains("gccarch-x"));
    assert!(extra.system_features.contains("big-parallel"));
    let plain = read("system-features = a\nextra-system-features = b\n").unwrap();
    assert_eq!(
        plain.system_features,
        BTreeSet::from(["a".to_owned(), "b".to_owned()])
    );
    assert!(
        read("system-features =\n")
            .unwrap()
            .system_features
            .is_empty()
    );
}

#[test]
fn a_bad_value_names_its_setting() {
    for (text, setting) in [
        ("max-jobs = many\n", "'max-jobs'"),
        ("cores = -1\n", "'cores'"),
        ("sandbox = maybe\n", "'sandbox'"),
        ("build-memory-limit = 1X\n", "'build-memory-limit'"),
        (
            "build-memory-limit = 99999999999999T\n",
            "'build-memory-limit'",
        ),
        (
            "sandbox-accept-missing = walls\n",
            "'sandbox-accept-missing'",
        ),
        ("fixed-output-network = some\n", "'fixed-output-network'"),
        ("sandbox-paths = =x\n", "'sandbox-paths'"),
        ("impure-env = x\n", "'impure-env'"),
        ("keep-going = perhaps\n", "'keep-going'"),
        ("secret-key-files = /nonexistent\n", "'secret-key-files'"),
    ] {
        let said = refusal(text);
        assert!(said.contains(setting), "{text}: {said}");
    }
}

#[test]
fn a_key_that_others_can_read_is_refused_without_a_word_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    let key = nix_base::SecretKey::from_seed("k-1", &[7; 32]);
    std::fs::write(&file, &*key.to_text()).unwrap();
    let set_mode = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&file, permissions).unwrap();
    };
    let text = format!("secret-key-files = {}\n", file.display());
    set_mode(0o644);
    let said = refusal(&text);
    assert!(said.contains("mode 0644"), "{said}");
    assert!(!said.contains("k-1:"), "{said}");
    set_mode(0o600);
    assert_eq!(read(&text).unwrap().secret_keys[0].name(), "k-1");
    std::fs::write(&file, "k-1:c2VjcmV0").unwrap();
    assert!(!refusal(&text).contains("c2VjcmV0"));
}

#[test]
fn the_hook_gets_all_settings_as_lines() {
    let config = read("max-jobs = 2\nextra-sandbox-paths = /a\n").unwrap();
    assert_eq!(config.settings_text, "max-jobs = 2\nsandbox-paths = /a\n");
}
