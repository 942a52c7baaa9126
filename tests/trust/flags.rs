//! Flags in the upper half of the version word: no release of real Nix minds them.

use std::collections::BTreeMap;
use std::process::Command;

use test_support::{
    CLIENT_MAGIC, Machine, Message, PathToAdd, Peer, RawDrv, RawLimits, ServeSession, nar, run_ok,
    verify_with, with_each_release,
};

use crate::site::{confined, force, ours, stocked};

const SHAPES: &str = r#"
base = make "base" { } "echo base > $out";
top = make "top" { inherit base; } "echo $base > $out";
"#;

/// Bit 16, and all of them.
const FLAGS: [u64; 2] = [1 << 16, 0xffff << 16];

/// Every command, one after the other, in a session opened with flags.
fn a_real_server_minds_no_flags(peer: &Peer) {
    for flags in FLAGS {
        // Releases compare whole words: with flags the announced version has to be the newest.
        for minor in [7, 8] {
            let (machine, drvs) = stocked(peer, SHAPES);
            let command = machine.nix_store(peer, ["--serve", "--write"]);
            let mut session = ServeSession::spawn(command);
            let theirs = session.greet(flags | 0x200 | minor);
            assert_eq!(theirs >> 16, 0, "a release with flags of its own");
            every_command(&mut session, &machine, &drvs);
            session.finish_ok();
        }
    }
}

fn every_command(session: &mut ServeSession, machine: &Machine, drvs: &BTreeMap<String, String>) {
    let added = PathToAdd::file("0123456789abcdfghijklmnpqrsvwxyz", "added", b"text");
    assert!(
        session
            .query_valid_paths(true, false, [&added.path])
            .is_empty()
    );
    session.add(&added);
    assert_eq!(
        session.query_valid_paths(true, false, [&added.path]).len(),
        1
    );
    assert_eq!(session.query_closure(false, [&added.path]).len(), 1);
    session.send(&Message::dump_store_path(&added.path));
    assert_eq!(session.read_exact(added.nar.len()), added.nar);
    let drv = RawDrv::read(&machine.on_disk(&drvs["base"]));
    let result = session.build(&drvs["base"], &drv, &RawLimits::default());
    assert!(result.is_success(), "{result:?}");
    let (status, error) = session.build_paths([&drvs["top"]], &RawLimits::default());
    assert_eq!(status, 0, "{error}");
    let outputs = ["base", "top"].map(|name| {
        let drv = RawDrv::read(&machine.on_disk(&drvs[name]));
        drv.output("out").to_owned()
    });
    assert_eq!(session.query_valid_paths(false, false, &outputs).len(), 2);
    assert_eq!(session.query_path_infos(&outputs).len(), 2);
}

/// Has a machine's `nix-store` be a real one whose greeting carries flags.
fn install_flagged(machine: &Machine, peer: &Peer, flags: u64) {
    let octets = (flags >> 16).to_le_bytes();
    let mut text = "#!/bin/sh\n".to_owned();
    for (name, value) in peer.environment() {
        text.push_str(&format!("export {name}='{value}'\n"));
    }
    // Ten bytes are the magic word and the lower half of the version.
    text.push_str(&format!(
        "{} \"$@\" | {{\n dd bs=1 count=10 2>/dev/null\n dd bs=1 count=2 of=/dev/null 2>/dev/null\n \
         printf '\\{:03o}\\{:03o}'\n exec cat\n}}\n",
        peer.program("nix-store").display(),
        octets[0],
        octets[1]
    ));
    machine.install_script("nix-store", &text);
}

fn greeting(command: Command) -> u64 {
    let mut session = ServeSession::spawn(command);
    let word = session.handshake(7);
    session.finish_ok();
    word
}

/// What a stock client does with a server all day.
fn a_days_work(peer: &Peer, here: &Machine, there: &Machine, drvs: &BTreeMap<String, String>) {
    let host = here.ssh_to(there);
    let top = RawDrv::read(&here.on_disk(&drvs["top"]))
        .output("out")
        .to_owned();
    // Over there and back.
    run_ok(here.command("nix-copy-closure", ["--to", &host, &drvs["top"]]));
    let builders = format!("ssh://{host} x86_64-linux - 1 1");
    let file = here.path("home/workshop/default.nix").display().to_string();
    let words = [
        "-A",
        "top",
        "--no-out-link",
        "-j0",
        "--builders",
        &builders,
        &file,
    ];
    assert_eq!(run_ok(here.command("nix-build", words)), [top.as_str()]);
    let third = Machine::with(peer);
    let host = third.ssh_to(there);
    run_ok(third.command("nix-copy-closure", ["--from", &host, &top]));
    assert_eq!(
        nar::of_path(&third.on_disk(&top)),
        nar::of_path(&here.on_disk(&top))
    );
    if peer.is_at_least(2, 4) {
        let address = format!("ssh://{host}");
        let fourth = Machine::with(peer);
        let host = fourth.ssh_to(there);
        run_ok(fourth.command(
            "nix",
            [
                "copy",
                "--no-check-sigs",
                "--from",
                &format!("ssh://{host}"),
                &top,
            ],
        ));
        run_ok(third.command("nix", ["path-info", "--store", &address, &top]));
    }
    verify_with(peer, there);
}

fn a_real_client_minds_no_flags(peer: &Peer) {
    for flags in FLAGS {
        let (here, drvs) = stocked(peer, SHAPES);
        let there = confined();
        install_flagged(&there, peer, flags);
        let shaken = greeting(there.command("nix-store", ["--serve", "--write"]));
        assert_eq!(shaken >> 16, flags >> 16, "the flags are announced");
        a_days_work(peer, &here, &there, &drvs);
    }
}

fn a_real_client_minds_no_flags_of_ours(peer: &Peer) {
    let (here, drvs) = stocked(peer, SHAPES);
    let there = confined();
    force(&there, &["serve".to_owned(), "--write".to_owned()]);
    let shaken = greeting(there.command("nix-serve", ["serve"]));
    assert_eq!(shaken >> 16, 1, "extensions are announced");
    a_days_work(peer, &here, &there, &drvs);
}

/// Our client announces flags, and then does with a real server what it does without.
fn our_client_works_with_a_real_server(peer: &Peer) {
    let (here, drvs) = stocked(peer, SHAPES);
    let there = confined();
    let record = there.path("record");
    there.install_recorded(peer, &record);
    let host = here.ssh_to(&there);
    let address = format!("ssh://{host}");
    run_ok(here.command(
        ours(),
        ["build", "--no-link", "--on", &address, &drvs["top"]],
    ));
    let sent = std::fs::read(&record).unwrap();
    assert_eq!(sent[..8], CLIENT_MAGIC.to_le_bytes());
    assert_eq!(sent[10..12], [1, 0], "extensions are announced");
    run_ok(here.command(ours(), ["copy", "--to", &address, &drvs["top"]]));
    let top = RawDrv::read(&here.on_disk(&drvs["top"]))
        .output("out")
        .to_owned();
    let third = Machine::new();
    let host = third.ssh_to(&there);
    run_ok(third.command(ours(), ["copy", "--from", &format!("ssh://{host}"), &top]));
    assert_eq!(
        nar::of_path(&third.on_disk(&top)),
        nar::of_path(&here.on_disk(&top))
    );
    verify_with(peer, &there);
}

with_each_release!(flags_to_real_servers: a_real_server_minds_no_flags);
with_each_release!(flags_to_real_clients: a_real_client_minds_no_flags);
with_each_release!(our_flags_to_real_clients: a_real_client_minds_no_flags_of_ours);
with_each_release!(our_flags_to_real_servers: our_client_works_with_a_real_server);
