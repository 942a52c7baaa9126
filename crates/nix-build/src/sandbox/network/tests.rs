//! The choice, and the program itself where it is installed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use super::{NetworkChoice, PrivateNetwork, choose};
use crate::config::FixedOutputNetwork::{Auto, Host, Off, Private};

fn stack() -> Option<PrivateNetwork> {
    Some(PrivateNetwork {
        program: "/bin/pasta".into(),
    })
}

#[test]
fn a_private_network_is_preferred() {
    for wanted in [Auto, Private] {
        let (choice, warning) = choose(wanted, stack(), true).unwrap();
        assert!(matches!(choice, NetworkChoice::Private(_)));
        assert_eq!(warning, None);
    }
}

#[test]
fn without_the_program_the_host_is_shared_with_a_warning() {
    let (choice, warning) = choose(Auto, None, true).unwrap();
    assert_eq!(choice, NetworkChoice::Host { scoped: true });
    let warning = warning.unwrap();
    assert!(warning.contains("other processes can still connect to theirs"));
    assert!(warning.contains("'pasta'"));

    let (choice, warning) = choose(Auto, None, false).unwrap();
    assert_eq!(choice, NetworkChoice::Host { scoped: false });
    assert!(warning.unwrap().contains("Linux 6.12"));
}

#[test]
fn a_demand_for_a_private_network_fails_closed() {
    let error = choose(Private, None, true).unwrap_err();
    assert_eq!(error.layer, crate::config::Layer::Network);
    assert!(error.to_string().contains("'pasta'"));
}

#[test]
fn the_operators_word_counts() {
    assert_eq!(
        choose(Off, stack(), true).unwrap(),
        (NetworkChoice::None, None)
    );
    let (choice, warning) = choose(Host, stack(), true).unwrap();
    assert_eq!(
        (choice, warning),
        (NetworkChoice::Host { scoped: true }, None)
    );
    let (_, warning) = choose(Host, stack(), false).unwrap();
    assert!(warning.is_some());
}

#[test]
fn programs_are_found_in_the_search_path() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("pasta");
    fs::write(&program, "").unwrap();
    let find = || PrivateNetwork::find(Some(dir.path().as_os_str()));
    assert_ne!(find().map(|found| found.program), Some(program.clone()));
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let is_open = fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .is_ok();
    let found = find().map(|found| found.program);
    assert_eq!(found, is_open.then_some(program));
}

#[test]
fn the_stack_is_asked_for_names() {
    let host = "# local\nnameserver 127.0.0.53\nsearch a.example\n nameserver ::1\noptions edns0";
    assert_eq!(
        PrivateNetwork::resolv_conf(host),
        "nameserver 169.254.1.1\n# local\nsearch a.example\noptions edns0\n"
    );
    assert_eq!(PrivateNetwork::resolv_conf(""), "nameserver 169.254.1.1\n");
}

#[test]
fn failures_come_with_the_programs_words() {
    // Any program that doesn't know the options.
    let stranger = PrivateNetwork {
        program: "/bin/ls".into(),
    };
    let error = stranger.start(std::process::id()).unwrap_err();
    let words = error.source.to_string();
    assert!(words.starts_with("it ended with exit status: "), "{words}");
    assert!(words.contains("--foreground"), "{words}");
}

/// A process in a network namespace of its own that says what interfaces it has when it is asked.
fn isolated() -> Option<Child> {
    let mut child = Command::new("unshare")
        .args([
            "--net",
            "sh",
            "-c",
            "echo there; read go; cat /proc/net/route",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut line = String::new();
    let mut out = BufReader::with_capacity(1, child.stdout.take()?);
    out.read_line(&mut line).ok()?;
    child.stdout = Some(out.into_inner());
    (line == "there\n").then_some(child)
}

#[test]
#[allow(clippy::disallowed_methods)]
fn connects_a_namespace_and_dies_with_its_owner() {
    let Some(network) = PrivateNetwork::find(std::env::var_os("PATH").as_deref()) else {
        test_support::say(
            "SKIPPED: NO PROGRAM 'pasta' HERE, OR NO TUN DEVICE: private networks are untested",
        );
        return;
    };
    if !rustix::process::geteuid().is_root() {
        test_support::say("SKIPPED: NOT ROOT: private networks are untested");
        return;
    }
    let child = isolated().expect("'unshare' works for root");
    let running = network.start(child.id()).unwrap();
    let pid = running.child.id();
    let routes = child.wait_with_output().unwrap().stdout;
    let routes = String::from_utf8(routes).unwrap();
    // Heading, and at least the default route.
    assert!(routes.lines().count() > 1, "{routes}");
    drop(running);
    assert!(fs::metadata(format!("/proc/{pid}")).is_err());
}
