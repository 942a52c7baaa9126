//! A real ssh: sshd on 127.0.0.1, a key of its own, a forced command.

use test_support::{Machine, Peer, Sshd, run_ok, with_each_release};

use crate::sides::{assert_copied, ours, ours_on, stock};

/// A listening sshd whose key runs our server on `there`, whatever is asked.
fn sshd_before_ours(there: &Machine) -> Option<Sshd> {
    Sshd::start(&format!(
        "{} {} serve --write",
        there.enter().display(),
        ours().display()
    ))
}

fn real_client_copies_to_ours(peer: &Peer) {
    let (here, corpus) = stock(peer, "sshd");
    let there = Machine::new();
    let Some(sshd) = sshd_before_ours(&there) else {
        return;
    };
    let mut copy = here.peer(
        peer,
        "nix-copy-closure",
        ["--to", "root@127.0.0.1", &corpus.top, &corpus.drv],
    );
    copy.env("NIX_SSHOPTS", sshd.options());
    run_ok(copy);
    assert_eq!(sshd.connections(), 1);
    let wanted = &corpus.closure | &corpus.drv_closure;
    assert_copied(peer, &here, &there, &wanted);
}

fn our_client_copies_to_ours(peer: &Peer) {
    let (here, corpus) = stock(peer, "sshd-ours");
    let there = Machine::new();
    let Some(sshd) = sshd_before_ours(&there) else {
        return;
    };
    let mut to = ours_on(&here, ["copy", "--to", "ssh://root@127.0.0.1", &corpus.top]);
    to.env("NIX_SSHOPTS", sshd.options());
    run_ok(to);
    assert_copied(peer, &here, &there, &corpus.closure);

    let empty = Machine::new();
    let mut from = ours_on(
        &empty,
        ["copy", "--from", "ssh://root@127.0.0.1", &corpus.top],
    );
    from.env("NIX_SSHOPTS", sshd.options());
    run_ok(from);
    assert_copied(peer, &there, &empty, &corpus.closure);
    assert_eq!(sshd.connections(), 2);
}

with_each_release!(real_client: real_client_copies_to_ours);
with_each_release!(our_client [nix_2_26 "2.26"]: our_client_copies_to_ours);
