use super::*;

fn options() -> DerivationOptions {
    DerivationOptions::default()
}

fn drv(platform: &str, builder: &str) -> BasicDerivation {
    BasicDerivation {
        name: "x".parse().unwrap(),
        outputs: nix_drv::DerivationOutputs::new(),
        input_srcs: BTreeSet::new(),
        platform: platform.into(),
        builder: builder.into(),
        args: Vec::new(),
        env: std::collections::BTreeMap::new(),
    }
}

fn config() -> BuildConfig {
    BuildConfig {
        system: "x86_64-linux".to_owned(),
        ..BuildConfig::default()
    }
}

const KIND: DerivationType = DerivationType::InputAddressed;

#[test]
fn another_platform_is_rejected_with_both_named() {
    let config = config();
    check_machine(&drv("x86_64-linux", "/bin/sh"), &options(), KIND, &config).unwrap();
    check_machine(
        &drv("mips-linux", "builtin:fetchurl"),
        &options(),
        KIND,
        &config,
    )
    .unwrap();
    let error = check_machine(&drv("mips-linux", "/bin/sh"), &options(), KIND, &config);
    let error = error.unwrap_err();
    assert_eq!(error.status, BuildStatus::InputRejected);
    assert_eq!(
        error.message,
        "a 'mips-linux' with features {} is required to build 'x', but I am a 'x86_64-linux' \
         with features {benchmark, big-parallel, nixos-test}"
    );
}

#[test]
fn a_feature_that_the_machine_lacks_is_rejected() {
    let mut options = options();
    options.required_system_features.insert("kvm".into());
    let mut config = config();
    let drv = drv("x86_64-linux", "/bin/sh");
    assert!(check_machine(&drv, &options, KIND, &config).is_err());
    config.system_features.insert("kvm".to_owned());
    check_machine(&drv, &options, KIND, &config).unwrap();
}

#[test]
fn no_jobs_means_builtin_builders_only() {
    let config = BuildConfig {
        max_jobs: 0,
        ..config()
    };
    assert!(check_machine(&drv("x86_64-linux", "/bin/sh"), &options(), KIND, &config).is_err());
    check_machine(
        &drv("builtin", "builtin:buildenv"),
        &options(),
        KIND,
        &config,
    )
    .unwrap();
}

#[test]
fn without_sandbox_needs_the_operators_word() {
    let mut options = options();
    options.no_chroot = true;
    let mut config = config();
    let confine = |config: &BuildConfig, kind, relocated| {
        confinement("/nix/store/x.drv", &options, kind, config, relocated)
    };
    let error = confine(&config, KIND, false).unwrap_err();
    assert!(error.message.contains("'__noChroot' set"), "{error}");
    config.sandbox.mode = SandboxMode::Relaxed;
    assert_eq!(confine(&config, KIND, false).unwrap(), Confined::No);
    assert_eq!(confine(&config, KIND, true).unwrap(), Confined::Yes);
}

#[test]
fn experimental_kinds_need_their_feature() {
    let mut config = config();
    let error = check_kind(DerivationType::CaFloating, &config).unwrap_err();
    assert!(error.message.contains("'ca-derivations'"), "{error}");
    config.ca_derivations = true;
    check_kind(DerivationType::CaFloating, &config).unwrap();
    check_kind(DerivationType::CaFixed, &config).unwrap();
    assert!(check_kind(DerivationType::Impure, &config).is_err());
}
