//! Machines that lack a layer of the sandbox: nothing runs, unless that is accepted.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use nix_build::config::{HelperProgram, Layer};
use nix_build::helper::{Event, ExitStatus, Helper};
use nix_build::sandbox::plan::Program;

use crate::world::{World, is_root, skip, unprivileged};

/// A helper that can't create namespaces of a kind.
fn helper_without(world: &World, kind: &str) -> Option<Helper> {
    let script = format!(
        "#!/bin/sh\nexec unshare -Ur sh -c \
         'echo 0 >/proc/sys/user/max_{kind}_namespaces && exec {} \"$@\"' sh \"$@\"\n",
        env!("CARGO_BIN_EXE_nix-build-helper")
    );
    let program = world.path("helper");
    fs::write(&program, script).expect("a script");
    fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("permissions");
    match Helper::spawn(&HelperProgram { program }) {
        Ok(helper) => Some(helper),
        Err(error) => {
            skip(&format!("no helper without {kind} namespaces: {error}"));
            None
        }
    }
}

fn refuses(kind: &str, expected: Layer) {
    let world = World::new();
    let Some(helper) = helper_without(&world, kind) else {
        return;
    };
    let outcome = world.run(&helper, marker(&world));
    let Some(Event::SetupFailed { layer, message }) = outcome.events.last() else {
        panic!("{kind}: {outcome:?}");
    };
    assert_eq!(*layer, expected, "{message}");
    let limit = format!("(forbidden by '/proc/sys/user/max_{kind}_namespaces')");
    assert!(message.contains(&limit), "{message}");
    assert!(world.path("build/ran").symlink_metadata().is_err());
}

fn marker(world: &World) -> Program {
    world.script(": >/build/ran")
}

#[test]
fn refuses_to_build_without_a_namespace() {
    for kind in ["mnt", "pid", "ipc", "uts"] {
        refuses(kind, Layer::Namespaces);
    }
    refuses("net", Layer::Network);
}

#[test]
fn refuses_to_build_without_a_namespace_as_another_user() {
    let name = "missing::refuses_to_build_without_a_namespace_as_another_user";
    unprivileged(name, || {
        refuses("user", Layer::UserNamespace);
        for kind in ["mnt", "pid", "ipc", "uts"] {
            refuses(kind, Layer::Namespaces);
        }
        refuses("net", Layer::Network);
    });
}

#[test]
fn builds_on_the_network_of_the_host_if_accepted() {
    let name = "missing::builds_on_the_network_of_the_host_if_accepted";
    unprivileged(name, || {
        let mut world = World::new();
        // The helper is root in its namespace.
        world.identity.uid = 0;
        world.identity.gid = 0;
        world.config.accept_missing.insert(Layer::Network);
        let Some(helper) = helper_without(&world, "net") else {
            return;
        };
        let outcome = world.run(&helper, marker(&world));
        let last = outcome.events.last();
        assert_eq!(
            last,
            Some(&Event::Exited(ExitStatus::Code(0))),
            "{outcome:?}"
        );
        assert!(world.path("build/ran").symlink_metadata().is_ok());
    });
}

#[test]
fn mounts_and_namespaces_cannot_be_accepted_as_missing() {
    if is_root() {
        let mut world = World::new();
        world.config.accept_missing = Layer::ALL.map(|(layer, _)| layer).into();
        let Some(helper) = helper_without(&world, "mnt") else {
            return;
        };
        let outcome = world.run(&helper, marker(&world));
        assert!(
            matches!(
                outcome.events.last(),
                Some(Event::SetupFailed {
                    layer: Layer::Namespaces,
                    ..
                })
            ),
            "{outcome:?}"
        );
    }
}
