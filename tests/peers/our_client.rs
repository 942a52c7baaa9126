//! `nix-serve copy` as the client, real Nix as the server.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use test_support::{
    Corpus, DistantServer, Machine, PathToAdd, Peer, run, run_ok, with_each_release,
};

use crate::sides::{Server, assert_copied, ours, ours_on, outcome, stock};

/// Two machines, the first of them with a corpus; real Nix serves on the second.
struct Sides {
    here: Machine,
    there: Machine,
    host: String,
    corpus: Corpus,
}

fn stocked_here(peer: &Peer, salt: &str) -> Sides {
    let (here, corpus) = stock(peer, salt);
    let there = Machine::with(peer);
    let host = here.ssh_to(&there);
    Sides {
        here,
        there,
        host,
        corpus,
    }
}

fn stocked_there(peer: &Peer, salt: &str) -> Sides {
    let (there, corpus) = stock(peer, salt);
    there.install(peer);
    let here = Machine::new();
    let host = here.ssh_to(&there);
    Sides {
        here,
        there,
        host,
        corpus,
    }
}

impl Sides {
    fn address(&self) -> String {
        format!("ssh://{}", self.host)
    }

    /// The server without an ssh between: a command on a pipe.
    fn exec_address(&self) -> String {
        format!(
            "exec:{} nix-store --serve --write",
            self.there.enter().display()
        )
    }

    /// `nix-serve copy` of everything in the corpus.
    fn copy(&self, direction: &str, address: &str) {
        let corpus = &self.corpus;
        let paths = [corpus.top.as_str(), &corpus.drv, &corpus.text];
        run_ok(ours_on(
            &self.here,
            [&["copy", direction, address], &paths[..]].concat(),
        ));
    }
}

fn copy_to(peer: &Peer) {
    let sides = stocked_here(peer, "our-copy-to");
    sides.copy("--to", &sides.address());
    assert_copied(peer, &sides.here, &sides.there, &sides.corpus.all());
    assert!(
        sides.here.ssh_log().contains("nix-store --serve --write"),
        "ssh was used"
    );
}

fn copy_from(peer: &Peer) {
    let sides = stocked_there(peer, "our-copy-from");
    sides.copy("--from", &sides.address());
    assert_copied(peer, &sides.there, &sides.here, &sides.corpus.all());
}

fn copy_through_a_command(peer: &Peer) {
    let sides = stocked_here(peer, "our-exec-to");
    sides.copy("--to", &sides.exec_address());
    assert_copied(peer, &sides.here, &sides.there, &sides.corpus.all());
    let sides = stocked_there(peer, "our-exec-from");
    sides.copy("--from", &sides.exec_address());
    assert_copied(peer, &sides.there, &sides.here, &sides.corpus.all());
}

fn copy_closure_symlink(peer: &Peer) {
    let sides = stocked_here(peer, "our-copy-closure");
    sides.here.link("nix-copy-closure", ours());
    let corpus = &sides.corpus;
    let arguments = ["--to", &sides.host, &corpus.top, &corpus.drv, &corpus.text];
    run_ok(sides.here.command("nix-copy-closure", arguments));
    assert_copied(peer, &sides.here, &sides.there, &corpus.all());
    // And back, to a machine that has nothing.
    let empty = Machine::new();
    let host = empty.ssh_to(&sides.there);
    empty.link("nix-copy-closure", ours());
    run_ok(empty.command("nix-copy-closure", ["--from", &host, &corpus.top]));
    assert_copied(peer, &sides.there, &empty, &corpus.closure);
}

fn server_substitutes(peer: &Peer) {
    let sides = stocked_here(peer, "our-substitute");
    let (here, there, corpus) = (&sides.here, &sides.there, &sides.corpus);
    let cache = format!("file://{}", here.path("cache").display());
    run_ok(here.peer(peer, "nix", ["copy", "--to", &cache, &corpus.top]));
    there.configure(&format!("substituters = {cache}\nextra-substituters =\n"));
    let record = there.path("record");
    there.install_recorded(peer, &record);
    let copy = [
        "copy",
        "--to",
        &sides.address(),
        "-s",
        &corpus.top,
        &corpus.text,
    ];
    run_ok(ours_on(here, copy));
    let wanted = &corpus.closure | &BTreeSet::from([corpus.text.clone()]);
    assert_copied(peer, here, there, &wanted);
    // Only the file that is in no cache went through the pipe.
    let sent = std::fs::read(&record).unwrap();
    assert_eq!(count(&sent, b"nix-archive-1"), 1, "archives sent");
}

fn dry_run_changes_nothing(peer: &Peer) {
    let sides = stocked_here(peer, "our-dry-run");
    run_ok(sides.there.nix_store(peer, ["--init"]));
    let before = sides.there.names();
    let copy = [
        "copy",
        "--to",
        &sides.address(),
        "--dry-run",
        &sides.corpus.top,
    ];
    run_ok(ours_on(&sides.here, copy));
    assert_eq!(sides.there.names(), before);
    let valid = Server::Real(peer).session(&sides.there).query_valid_paths(
        false,
        false,
        &sides.corpus.closure,
    );
    assert_eq!(valid, BTreeSet::new());
}

fn outputs_come_along(peer: &Peer) {
    let sides = stocked_here(peer, "our-outputs");
    let copy = [
        "copy",
        "--to",
        &sides.address(),
        "--include-outputs",
        &sides.corpus.drv,
    ];
    run_ok(ours_on(&sides.here, copy));
    let wanted = &sides.corpus.closure | &sides.corpus.drv_closure;
    assert_copied(peer, &sides.here, &sides.there, &wanted);
}

fn without_the_closure_a_missing_reference_is_refused(peer: &Peer) {
    let sides = stocked_here(peer, "our-no-recursive");
    let copy = [
        "copy",
        "--to",
        &sides.address(),
        "--no-recursive",
        &sides.corpus.top,
    ];
    let why = outcome(&run(ours_on(&sides.here, copy))).expect_err("its references are missing");
    assert!(!why.is_empty(), "something is said");
    let valid = Server::Real(peer).session(&sides.there).query_valid_paths(
        false,
        false,
        [&sides.corpus.top],
    );
    assert_eq!(valid, BTreeSet::new());
}

fn invalid_path_is_named(peer: &Peer) {
    let sides = stocked_there(peer, "our-invalid");
    let absent = "/nix/store/00000000000000000000000000000000-absent";
    let copy = ["copy", "--from", &sides.address(), absent];
    let why = outcome(&run(ours_on(&sides.here, copy))).expect_err("it is not valid there");
    assert!(why.contains(absent), "{why}");
    assert!(why.starts_with("exit status: 1"), "{why}");
}

/// A hundred paths and a round trip for each would take ten seconds more over
/// the slow link than over the fast one.
fn round_trips_do_not_grow_with_the_paths(peer: &Peer) {
    let here = Machine::new();
    let paths: Vec<PathToAdd> = (0..100)
        .map(|number| PathToAdd::numbered("sra", number, b"far away"))
        .collect();
    let mut filler = Server::Ours.session(&here);
    paths.iter().for_each(|path| filler.add(path));
    filler.finish_ok();
    let round_trip = Duration::from_millis(100);
    let [near, far] = [Duration::ZERO, round_trip].map(|round_trip| {
        let there = Machine::new();
        let server = DistantServer::start(Server::Real(peer).command(&there), round_trip);
        let address = format!("exec:{}", server.command());
        let mut arguments = vec!["copy", "--to", &address];
        arguments.extend(paths.iter().map(|path| path.path.as_str()));
        let start = Instant::now();
        run_ok(ours_on(&here, arguments));
        let took = start.elapsed();
        server.finish();
        let names = paths.iter().map(|path| path.path.clone()).collect();
        assert_copied(peer, &here, &there, &names);
        took
    });
    assert!(far < near + 50 * round_trip, "near {near:?}, far {far:?}");
    assert!(far >= round_trip, "the link is slow: {far:?}");
}

fn count(haystack: &[u8], needle: &[u8]) -> usize {
    haystack
        .windows(needle.len())
        .filter(|window| *window == needle)
        .count()
}

with_each_release!(copies_to_a_real_server: copy_to);
with_each_release!(copies_from_a_real_server: copy_from);
with_each_release!(copies_through_a_command: copy_through_a_command);
with_each_release!(copy_closure_by_its_old_name: copy_closure_symlink);
with_each_release!(lets_the_server_substitute: server_substitutes);
with_each_release!(dry_run: dry_run_changes_nothing);
with_each_release!(include_outputs: outputs_come_along);
with_each_release!(no_recursive: without_the_closure_a_missing_reference_is_refused);
with_each_release!(says_what_is_not_valid: invalid_path_is_named);
with_each_release!(over_a_slow_link: round_trips_do_not_grow_with_the_paths);
