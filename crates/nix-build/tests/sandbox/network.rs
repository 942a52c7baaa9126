//! Builders with a network of their own.

use std::io::{Read, Seek};
use std::net::TcpListener;
use std::thread;

use nix_build::helper::{Event, ExitStatus};
use nix_build::sandbox::network::PrivateNetwork;
use nix_build::sandbox::plan::Network;

use crate::world::{World, helper};

/// `pasta`, with a loud word where it isn't installed.
fn stack() -> Option<PrivateNetwork> {
    #[expect(clippy::disallowed_methods, reason = "programs are found there")]
    let path = std::env::var_os("PATH");
    let found = PrivateNetwork::find(path.as_deref());
    if found.is_none() {
        test_support::say(
            "SKIPPED: NO PROGRAM 'pasta' HERE, OR NO ACCESS TO '/dev/net/tun': private networks \
             are untested",
        );
    }
    found
}

#[test]
fn private_network_reaches_out_and_not_into_the_host() {
    let Some(stack) = stack() else { return };
    let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = listener.local_addr().expect("its number").port();
    thread::spawn(move || listener.accept().map(drop));

    let mut world = World::new();
    world.network = Network::Private;
    let text = PrivateNetwork::resolv_conf("nameserver 127.0.0.53\n");
    world.network_files.resolv_conf = Some(text.into_bytes());
    let script = format!(
        "b=/nix/store/8*/busybox; $b cat /etc/resolv.conf; $b ip route; $b ip -o link; \
         $b nc -w 1 127.0.0.1 {port} </dev/null && echo reached the host; \
         echo done"
    );
    let helper = helper();
    let mut log = tempfile::tempfile().expect("a file");
    let copy = log.try_clone().expect("a descriptor");
    let mut build = world.start(&helper, world.script(&script), copy.into());
    assert_eq!(build.read_event(), Event::Waiting);
    let pid = build.pid().expect("a process");
    let running = match stack.start(pid) {
        Ok(running) => running,
        Err(error) => panic!("{error}: {}", error.source),
    };
    build.go().expect("a helper");
    assert_eq!(build.read_event(), Event::Started);
    let end = build.read_event();
    drop(running);
    log.rewind().expect("the beginning");
    let mut text = String::new();
    log.read_to_string(&mut text).expect("the log");
    assert_eq!(end, Event::Exited(ExitStatus::Code(0)), "{text}");
    assert!(text.starts_with("nameserver 169.254.1.1\n"), "{text}");
    assert!(text.contains("default via"), "{text}");
    assert!(!text.contains("reached the host"), "{text}");
}
