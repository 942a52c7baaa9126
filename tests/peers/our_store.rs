//! Stores that only `nix-serve` wrote, in the eyes of real Nix, and the other
//! way round.

use std::os::unix::ffi::OsStrExt;

use test_support::{Machine, Peer, run, run_ok, verify_with, with_each_release};

use crate::sides::{ours_on, stock};

fn fresh_store_is_opened_by_real_nix(peer: &Peer) {
    let machine = Machine::new();
    run_ok(ours_on(&machine, ["init"]));
    verify_with(peer, &machine);
    assert_eq!(
        run_ok(machine.nix_store(peer, ["--gc"])).len(),
        1,
        "it says what it deleted"
    );
    run_ok(ours_on(&machine, ["verify", "--check-contents"]));
}

fn same_file_gets_the_same_path(peer: &Peer) {
    let (theirs, corpus) = stock(peer, "our-add");
    let machine = Machine::new();
    let tree = theirs.path(format!("home/corpus-our-add-{}/tree", peer.label()));
    let file = theirs.path("home/a file");
    std::fs::write(&file, corpus.top.as_bytes()).unwrap();
    let renamed = theirs.path("home/a-file");
    std::fs::rename(&file, &renamed).unwrap();
    for source in [&tree, &renamed] {
        let added = |command| run_ok(command);
        let text = source.to_str().unwrap();
        let wanted = added(theirs.nix_store(peer, ["--add", text]));
        assert_eq!(
            added(ours_on(&machine, ["add", text])),
            wanted,
            "path of '{text}'"
        );
        let dump = |from: &Machine| {
            let mut command = peer.command("nix-store");
            command.arg("--dump").arg(from.on_disk(&wanted[0]));
            run(command).stdout
        };
        assert!(dump(&machine) == dump(&theirs), "archive of '{text}'");
    }
    verify_with(peer, &machine);
}

fn closure_is_the_same_in_both_programs(peer: &Peer) {
    let (machine, corpus) = stock(peer, "our-query");
    for start in [&corpus.top, &corpus.drv] {
        let mut wanted = run_ok(machine.nix_store(peer, ["-qR", start]));
        let mut got: Vec<String> = run_ok(ours_on(&machine, ["path-info", "-r", start]))
            .into_iter()
            .map(|line| {
                line.split_whitespace()
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect();
        wanted.sort();
        got.sort();
        assert_eq!(got, wanted);
    }
    run_ok(ours_on(&machine, ["verify", "--check-contents"]));
}

fn both_find_the_same_damage(peer: &Peer) {
    let (machine, corpus) = stock(peer, "our-damage");
    let place = machine.on_disk(&corpus.text);
    std::fs::write(&place, b"something else").unwrap();
    assert!(
        !test_support::verify_command(machine.nix_store(peer, ["--verify", "--check-contents"]))
            .problems
            .is_empty()
    );
    let output = run(ours_on(&machine, ["verify", "--check-contents"]));
    assert!(!output.status.success(), "ours fails as well");
    let said = [output.stdout, output.stderr].concat();
    let named = said
        .windows(corpus.text.len())
        .any(|window| window == corpus.text.as_bytes());
    assert!(named, "{}", String::from_utf8_lossy(&said));
    assert!(
        place.as_os_str().as_bytes().starts_with(b"/"),
        "the path on disk is absolute"
    );
}

with_each_release!(fresh_store: fresh_store_is_opened_by_real_nix);
with_each_release!(adding: same_file_gets_the_same_path);
with_each_release!(closures: closure_is_the_same_in_both_programs);
with_each_release!(damage: both_find_the_same_damage);
