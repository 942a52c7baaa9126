//! What the doctor says of machines, this one included.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::io::Errno;

use super::probe::{Probed, Step};
use super::{Check, State, examine, kernel, machine, render_json, render_text, worst};
use crate::config::{BuildConfig, BuildUsers, FixedOutputNetwork, Layer};

fn of<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    checks
        .iter()
        .find(|check| check.name == name)
        .unwrap_or_else(|| panic!("no check '{name}'"))
}

fn strictly(_: Layer) -> State {
    State::Missing
}

#[test]
fn every_layer_but_capabilities_has_its_check() {
    let dir = tempfile::tempdir().unwrap();
    let checks = examine(&BuildConfig::default(), dir.path(), dir.path());
    for (layer, name) in Layer::ALL {
        if layer != Layer::Capabilities {
            of(&checks, name);
        }
    }
    for name in ["kernel", "helper", "store-space", "build-space", "kvm"] {
        of(&checks, name);
    }
    for check in &checks {
        assert_eq!(check.fix.is_empty(), check.state == State::Ok, "{check:?}");
        assert!(!check.found.is_empty());
    }
}

#[test]
fn root_can_have_the_whole_sandbox_here() {
    if !rustix::process::geteuid().is_root() {
        test_support::say("SKIPPED: NOT ROOT: what the doctor says to root is untested");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let checks = examine(&BuildConfig::default(), dir.path(), dir.path());
    for name in [
        "kernel",
        "user-namespace",
        "namespaces",
        "network",
        "mounts",
        "users",
        "groups",
    ] {
        let check = of(&checks, name);
        assert_eq!(check.state, State::Ok, "{check:?}");
    }
}

/// The whole text, for those who want to read it: `cargo test doctor -- --nocapture`.
#[test]
fn says_how_this_machine_is() {
    let dir = tempfile::tempdir().unwrap();
    let checks = examine(&BuildConfig::default(), dir.path(), dir.path());
    let text = render_text(&checks);
    assert!(text.lines().count() >= checks.len());
    test_support::say(&text);
}

#[test]
fn the_host_is_left_as_it_was() {
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    super::probe::try_all();
    assert_eq!(before, mounts());
}

#[test]
fn missing_namespaces_are_named_with_the_reason() {
    let probed = Probed::fake(&[(Step::Ipc, Errno::NOSPC), (Step::Network, Errno::PERM)]);
    let checks = kernel::namespaces(&probed, &strictly);
    assert_eq!(of(&checks, "user-namespace").state, State::Ok);
    assert_eq!(of(&checks, "mounts").state, State::Ok);
    let check = of(&checks, "namespaces");
    assert_eq!(check.state, State::Missing);
    assert!(
        check
            .found
            .starts_with("namespaces that can't be made: IPC (No space left")
    );
    assert!(check.fix.contains("user.max_ipc_namespaces"));
    assert_eq!(of(&checks, "network").state, State::Missing);
}

#[test]
fn a_masked_proc_is_recognised() {
    let probed = Probed::fake(&[(Step::Proc, Errno::PERM)]);
    let checks = kernel::namespaces(&probed, &strictly);
    let check = of(&checks, "mounts");
    assert!(
        check.found.contains("proc (Operation not permitted"),
        "{check:?}"
    );
    assert!(check.fix.contains("unmask"));
}

#[test]
fn nothing_tried_is_nothing_there() {
    let checks = kernel::namespaces(&Probed::default(), &strictly);
    assert!(checks.iter().all(|check| check.state == State::Missing));
}

#[test]
fn accepted_layers_are_warned_of_only() {
    let mut config = BuildConfig::default();
    assert_eq!(
        super::state_without(&config, Layer::Network),
        State::Missing
    );
    config.sandbox.accept_missing = BTreeSet::from([Layer::Network]);
    assert_eq!(
        super::state_without(&config, Layer::Network),
        State::Warning
    );
    assert_eq!(super::state_without(&config, Layer::Mounts), State::Missing);
}

#[test]
fn releases_are_compared_as_numbers() {
    assert_eq!(kernel::parse_release("6.18.44-fc-v657"), Some((6, 18)));
    assert_eq!(kernel::parse_release("5.9-rc1"), Some((5, 9)));
    assert_eq!(kernel::parse_release("Linux"), None);
}

#[test]
fn a_wrong_group_is_missing_with_its_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let users = BuildUsers::Group("no-such-group-at-all".into());
    let check = machine::users(&users, dir.path());
    assert_eq!(check.state, State::Missing);
    assert!(check.found.contains("does not exist"));
    assert!(check.fix.contains("groupadd"));
}

#[test]
fn promises_that_do_not_hold_are_warned_of() {
    let mut config = BuildConfig::default();
    config.helper.program = "/nowhere/nix-serve".into();
    assert_eq!(machine::helper(&config).state, State::Missing);
    config.sandbox.network = FixedOutputNetwork::Off;
    let check = machine::fixed_output_network(&config, State::Missing);
    assert_eq!(check.state, State::Ok);
}

#[test]
fn space_is_looked_for_where_the_directory_will_be() {
    let checks = machine::disks(
        &BuildConfig::default(),
        Path::new("/no/state"),
        Path::new("/no/store"),
    );
    assert!(
        checks.iter().all(|check| check.found.contains("'/'")),
        "{checks:?}"
    );
}

#[test]
fn renders_for_people_and_programs() {
    let checks = [
        Check::ok("kernel", "Linux 6.12"),
        Check::bad("user-namespace", State::Missing, "none", "set it"),
    ];
    insta::assert_snapshot!(render_text(&checks), @r"
    ok       kernel          Linux 6.12
    missing  user-namespace  none
                             fix: set it
    ");
    assert_eq!(
        render_json(&checks),
        serde_json::json!({"state": "missing", "checks": [
            {"name": "kernel", "state": "ok", "found": "Linux 6.12", "fix": ""},
            {"name": "user-namespace", "state": "missing", "found": "none", "fix": "set it"},
        ]})
    );
    assert_eq!(worst(&checks), State::Missing);
    assert_eq!(worst(&[]), State::Ok);
}
