//! The harness itself, with real Nix on both sides.

use std::collections::BTreeSet;

use test_support::{
    Corpus, Machine, Message, PathToAdd, Peer, ServeSession, TempStore, assert_same_contents, nar,
    run_ok, verify_with,
};

fn peers(labels: [&str; 2]) -> Option<[&'static Peer; 2]> {
    if !Machine::available() {
        return None;
    }
    Some([Peer::find(labels[0])?, Peer::find(labels[1])?])
}

#[test]
fn closures_move_between_machines() {
    for labels in [
        ["2.8", "newest"],
        ["newest", "2.8"],
        ["2.3", "2.26"],
        ["2.26", "2.3"],
    ] {
        let Some([client, server]) = peers(labels) else {
            continue;
        };
        let (here, there) = (Machine::with(client), Machine::with(server));
        let host = here.ssh_to(&there);
        let corpus = Corpus::build(&here, client, "to");
        run_ok(here.command(
            "nix-copy-closure",
            ["--to", &host, &corpus.top, &corpus.drv],
        ));
        let wanted = &corpus.closure | &corpus.drv_closure;
        assert_same_contents(&here, &there, &wanted);
        verify_with(server, &there);
        assert!(
            here.ssh_log().contains("nix-store --serve --write"),
            "{}",
            here.ssh_log()
        );

        let back = Corpus::build(&there, server, "from");
        run_ok(here.command("nix-copy-closure", ["--from", &host, &back.top]));
        assert_same_contents(&there, &here, &back.closure);
        verify_with(client, &here);
    }
}

#[test]
fn a_machine_substitutes_over_ssh() {
    for labels in [["2.8", "newest"], ["newest", "2.8"]] {
        let Some([client, server]) = peers(labels) else {
            continue;
        };
        let (here, there) = (Machine::with(client), Machine::with(server));
        let host = here.ssh_to(&there);
        let corpus = Corpus::build(&there, server, "substituted");
        let address = format!("ssh://{host}");
        let option = [
            "--realise",
            &corpus.top,
            "--option",
            "substituters",
            &address,
        ];
        run_ok(here.nix_store(client, option));
        assert_same_contents(&there, &here, &corpus.closure);
        verify_with(client, &here);
    }
}

#[test]
fn archives_are_those_of_real_nix() {
    for peer in Peer::all().iter().filter(|_| Machine::available()) {
        let machine = Machine::with(peer);
        let corpus = Corpus::build(&machine, peer, "archives");
        for path in corpus.all() {
            let place = machine.on_disk(&path);
            let mut dump = peer.command("nix-store");
            dump.arg("--dump").arg(&place);
            let theirs = dump.output().expect("real Nix starts").stdout;
            assert!(
                theirs == nar::of_path(&place),
                "archive of '{path}' of {}",
                peer.version()
            );
        }
    }
}

#[test]
fn a_session_adds_to_a_chroot_store_of_real_nix() {
    for peer in Peer::all() {
        let store = TempStore::new();
        let mut command = peer.command("nix-store");
        command.args(["--store", &store.address(), "--serve", "--write"]);
        let mut session = ServeSession::open(command, 7);
        let file = PathToAdd::added_file("hello.txt", b"hello\n");
        let user = PathToAdd::numbered("aaaa", 1, b"uses it").referring_to([&file.path]);
        session.add(&file);
        session.add(&user);
        let both = BTreeSet::from([file.path.clone(), user.path.clone()]);
        assert_eq!(session.query_valid_paths(true, false, &both), both);
        assert_eq!(session.query_closure(false, [&user.path]), both);
        let infos = session.query_path_infos([&file.path]);
        assert_eq!(infos[0].ca, file.ca);
        session.send(&Message::dump_store_path(&user.path));
        session.expect(&Message::new().raw_owned(&user.nar));
        session.finish_ok();
        store.verify_with(peer);
        // The path that real Nix gives the same file.
        let source = store.root().join("hello.txt");
        std::fs::write(&source, "hello\n").expect("a file");
        let mut add = peer.command("nix-store");
        add.args(["--store", &store.address(), "--add"])
            .arg(&source);
        assert_eq!(run_ok(add), [file.path]);
    }
}

#[test]
fn sends_more_than_a_pipe_holds_without_reading() {
    let mut session = ServeSession::spawn(std::process::Command::new("cat"));
    let large = vec![7_u8; 3 << 20];
    session.send_bytes(&large);
    assert!(session.read_exact(large.len()) == large);
    session.finish_ok();
}
