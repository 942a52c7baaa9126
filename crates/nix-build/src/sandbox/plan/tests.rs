use std::path::{Path, PathBuf};

use super::*;
use crate::config::{SandboxConfig, SandboxPath};

struct Case {
    config: SandboxConfig,
    inputs: Vec<(PathBuf, PathBuf)>,
    paths: Vec<SandboxPath>,
    is_root: bool,
    count: u32,
    network: Network,
    confinement: Confinement,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            config: SandboxConfig::default(),
            inputs: vec![("/nix/store/a".into(), "/nix/store/a".into())],
            paths: Vec::new(),
            is_root: true,
            count: 1,
            network: Network::Isolated,
            confinement: Confinement::Full,
        }
    }
}

impl Case {
    fn plan(&self) -> Result<SandboxPlan, SandboxError> {
        plan(&SandboxInput {
            config: &self.config,
            confinement: self.confinement,
            network: self.network,
            identity: Identity {
                uid: 70_000,
                gid: 80_000,
                count: self.count,
                groups: vec![90_000],
            },
            is_root: self.is_root,
            store_dir: Path::new("/nix/store"),
            host_store: Path::new("/host/store"),
            host_build: Path::new("/host/build"),
            host_tmp: Path::new("/host/tmp"),
            inputs: &self.inputs,
            paths: &self.paths,
            network_files: NetworkFiles::default(),
            kvm: false,
            personality_32: false,
            own_cgroup: true,
            rlimits: Rlimits::default(),
            program: Program::Exec {
                path: "/bin/sh".into(),
                args: vec!["sh".into()],
                env: Vec::new(),
            },
        })
    }

    fn names(&self) -> Vec<String> {
        self.plan()
            .expect("a plan")
            .steps
            .iter()
            .map(name)
            .collect()
    }

    fn add_path(&mut self, target: &str) {
        self.paths.push(SandboxPath {
            target: target.into(),
            source: "/host/x".into(),
            optional: false,
        });
    }
}

/// The step and, for those of the file system, where.
fn name(step: &Step) -> String {
    match step {
        Step::Bind(bind) => format!("{:?} {}", bind.kind, bind.target.as_path().display()),
        Step::Directory { path, .. } => format!("Directory {}", path.as_path().display()),
        Step::File { path, .. } => format!("File {}", path.as_path().display()),
        Step::Link { path, .. } => format!("Link {}", path.as_path().display()),
        other => format!("{other:?}"),
    }
}

#[test]
fn steps_are_in_order_as_root() {
    let case = Case::default();
    insta::assert_snapshot!(case.names().join("\n"), @r#"
    HostName
    PrivateMounts
    Root { on: "/host/tmp", options: "mode=0750,gid=80000", owner: None }
    Directory /etc
    File /etc/passwd
    File /etc/group
    File /etc/hosts
    Own /build
    Own /nix/store
    Own /tmp
    Directory /dev
    Directory /dev/shm
    Directory /dev/pts
    Device /dev/full
    Device /dev/null
    Device /dev/random
    Device /dev/tty
    Device /dev/urandom
    Device /dev/zero
    Link /dev/fd
    Link /dev/stdin
    Link /dev/stdout
    Link /dev/stderr
    Link /dev/ptmx
    Kernel(Shm("50%"))
    Kernel(Pts)
    Kernel(Proc)
    Input /nix/store/a
    SealRoot
    Pivot
    Loopback
    WorkingDirectory("/build")
    Personality(0, 262144)
    Limits(Rlimits { file_size: None, processes: None, address_space: None })
    Groups([])
    UserNamespace { range: false }
    AwaitGo
    CgroupNamespace
    BoundingSet
    SyscallFilter { allow_new_privileges: false }
    Ids { uid: 1000, gid: 100 }
    NoCapabilities
    DeathSignal
    "#);
}

#[test]
fn user_namespace_comes_first_without_privileges() {
    let case = Case {
        is_root: false,
        ..Case::default()
    };
    let plan = case.plan().expect("a plan");
    assert!(plan.start.namespaces.user);
    let names = case.names();
    assert!(names.contains(&"NoGroupsBut(80000)".to_owned()));
    assert!(!names.iter().any(|name| name.starts_with("UserNamespace")));
    assert!(!names.iter().any(|name| name.starts_with("Groups")));
}

#[test]
fn range_keeps_its_capabilities_and_can_write_to_the_root() {
    let case = Case {
        count: 65_536,
        ..Case::default()
    };
    let names = case.names();
    for absent in ["SealRoot", "BoundingSet", "NoCapabilities"] {
        assert!(!names.contains(&absent.to_owned()), "{absent}");
    }
    assert!(names.contains(&"Kernel(Sys)".to_owned()));
    assert!(names.contains(&"Ids { uid: 0, gid: 0 }".to_owned()));
}

#[test]
fn network_of_the_host_needs_scopes() {
    let case = Case {
        network: Network::Host,
        ..Case::default()
    };
    assert!(!case.plan().expect("a plan").start.namespaces.network);
    let names = case.names();
    assert!(names.contains(&"Scope { required: true }".to_owned()));
    assert!(!names.contains(&"Loopback".to_owned()));
    assert!(!names.contains(&"File /etc/hosts".to_owned()));
}

#[test]
fn unconfined_builder_gets_another_user_only() {
    let case = Case {
        confinement: Confinement::None,
        ..Case::default()
    };
    let plan = case.plan().expect("a plan");
    let none = Namespaces {
        basic: false,
        network: false,
        user: false,
    };
    assert_eq!(plan.start.namespaces, none);
    insta::assert_snapshot!(case.names().join("\n"), @r#"
    WorkingDirectory("/host/build")
    Personality(0, 262144)
    Limits(Rlimits { file_size: None, processes: None, address_space: None })
    Groups([90000])
    AwaitGo
    BoundingSet
    SyscallFilter { allow_new_privileges: false }
    Scope { required: false }
    Ids { uid: 70000, gid: 80000 }
    NoCapabilities
    DeathSignal
    "#);
}

#[test]
fn paths_that_contain_others_come_first() {
    let mut case = Case::default();
    for target in ["/usr/bin/env", "/usr", "/usr-x", "/usr/bin"] {
        case.add_path(target);
    }
    let names = case.names();
    let paths: Vec<_> = names
        .iter()
        .filter_map(|name| name.strip_prefix("Any { optional: false } "))
        .collect();
    assert_eq!(paths, ["/usr", "/usr/bin", "/usr/bin/env", "/usr-x"]);
}

#[test]
fn device_directory_of_the_operator_replaces_ours() {
    let mut case = Case::default();
    case.add_path("/dev");
    assert!(!case.names().iter().any(|name| name.starts_with("Device")));
}

#[test]
fn refuses_targets_outside_the_root() {
    for target in ["/", "relative", "/a/../b", "/..", ""] {
        let mut case = Case::default();
        case.add_path(target);
        assert!(case.plan().is_err(), "{target}");
    }
}

#[test]
fn refuses_root_as_builder_and_ranges_without_root() {
    let mut case = Case {
        is_root: false,
        count: 65_536,
        ..Case::default()
    };
    assert!(case.plan().is_err());
    case.is_root = true;
    assert!(case.plan().is_ok());
    case.confinement = Confinement::None;
    assert!(case.plan().is_err());
    case.count = 0;
    assert!(case.plan().is_err());
}

#[test]
fn plan_survives_the_way_to_the_helper() {
    let mut case = Case::default();
    case.inputs.push((
        PathBuf::from(std::ffi::OsString::from("/x")),
        "/nix/store/b".into(),
    ));
    let plan = case.plan().expect("a plan");
    let bytes = postcard::to_stdvec(&plan).expect("bytes");
    assert_eq!(postcard::from_bytes::<SandboxPlan>(&bytes), Ok(plan));
}
