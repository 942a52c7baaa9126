//! Logs and connections: clients that don't read, clients that die, clients that come back.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use test_support::{Peer, RawLimits, ServeSession, poll_until, run_ok, with_each_release};

use crate::place::{Place, Who};
use crate::processes::{wait_for, wait_until_gone, with_words};
use crate::site::{Builder, ours};

/// How long what a build started may outlive its client.
const AT_MOST: Duration = Duration::from_secs(5);

/// A derivation of its own for each test: `slow` says that it began, then waits for the file
/// `go`.
fn waiting(words: &str) -> String {
    format!(
        r#"slow = make "slow" {{ }} ''
            echo begun; m={words}
            $b sh -c ": $m-ready; while ! [ -e /shared/go ]; do $b usleep 10000; done"
            echo ended; echo it > $out
        '';"#
    )
}

fn request(place: &Place, name: &str) -> test_support::Message {
    place
        .drv(name)
        .request(&place.paths[name], &RawLimits::default(), 7)
}

/// A line of 128 bytes, 2^20 / 128 times a mebibyte.
fn loud(mebibytes: u32) -> String {
    let line = "x".repeat(127);
    let lines = mebibytes * 8192;
    format!(r#"loud = make "loud" {{ }} "$b yes {line} | $b head -n {lines}; echo it > $out";"#)
}

/// 100 MiB of log to a client that never reads its stderr.
#[test]
fn a_client_that_never_reads_the_log_gets_its_result() {
    let Some(place) = Place::new(Who::Root, &loud(100)) else {
        return;
    };
    let (mut session, unread) = ServeSession::spawn_unheard(place.server(&[]));
    session.handshake(7);
    session.set_deadline(Duration::from_secs(120));
    session.send(&request(&place, "loud"));
    let result = session.read_build_result();
    assert_eq!(result.status, 0, "{result:?}");
    assert!(place.is_valid(place.drv("loud").output("out")));
    drop(unread);
}

/// A client that closed its stderr before the builder writes.
#[test]
fn a_client_without_stderr_gets_its_result() {
    let Some(place) = Place::new(Who::Root, &loud(1)) else {
        return;
    };
    let (mut session, unread) = ServeSession::spawn_unheard(place.server(&[]));
    drop(unread);
    session.handshake(7);
    session.send(&request(&place, "loud"));
    let result = session.read_build_result();
    assert_eq!(result.status, 0, "{result:?}");
    session.finish_ok();
}

/// The same where the server has more to say than the builder: that others are first.
#[test]
fn a_client_without_stderr_waits_for_its_slot() {
    let words = format!("before-{}", std::process::id());
    let shapes = format!("{}\n{}", waiting(&words), loud(1));
    let Some(place) = Place::with_settings(Who::Root, &shapes, "max-jobs = 1\n") else {
        return;
    };
    let mut first = place.session();
    first.send(&request(&place, "slow"));
    wait_for(&format!("{words}-ready"));
    let mut waiting: Vec<ServeSession> = (0..3)
        .map(|_| {
            let (mut session, unread) = ServeSession::spawn_unheard(place.server(&[]));
            drop(unread);
            session.handshake(7);
            session.send(&request(&place, "loud"));
            session
        })
        .collect();
    for session in &waiting {
        let tasks = format!("/proc/{}/task", session.pid());
        poll_until("the thread that watches a client", || {
            let entries = std::fs::read_dir(&tasks).ok()?;
            let mut names = entries
                .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("comm")).ok());
            names.any(|name| name.trim() == "hang-up").then_some(())
        });
    }
    std::fs::write(place.shared("go"), "").unwrap();
    assert_eq!(first.read_build_result().status, 0);
    for session in &mut waiting {
        let result = session.read_build_result();
        assert!(result.is_success(), "{result:?}");
    }
}

/// The kept log is whole.
#[test]
fn the_log_is_kept_as_real_nix_keeps_it() {
    let Some(peer) = crate::site::newest() else {
        return;
    };
    let Some(place) = Place::new(Who::Root, &loud(3)) else {
        return;
    };
    let built = place.build_ok("loud");
    assert_eq!(built.log.len(), 3 << 20);
    let drv = &place.paths["loud"];
    for path in [drv.as_str(), place.drv("loud").output("out")] {
        let lines = run_ok(place.machine.nix_store(peer, ["--read-log", path]));
        assert_eq!(lines.len(), 3 * 8192);
        assert!(lines.iter().all(|line| line.len() == 127));
    }
    let kept = run_ok(place.machine.command(ours(), ["log", drv.as_str()]));
    assert_eq!(kept.len(), 3 * 8192);
}

/// What has to be true soon after a client is gone.
#[track_caller]
fn assert_all_is_over(place: &Place, words: &str, name: &str) {
    let took = wait_until_gone(words);
    assert!(took < AT_MOST, "processes were there for {took:?}");
    let start = Instant::now();
    poll_until("the end of the build directory", || {
        place.build_dirs().is_empty().then_some(())
    });
    assert!(start.elapsed() < AT_MOST);
    // The locks are free: the next one builds at once.
    std::fs::write(place.shared("go"), "").unwrap();
    let start = Instant::now();
    let built = place.build_ok(name);
    assert!(start.elapsed() < AT_MOST, "{built:?}");
    poll_until("an orderly store", || {
        place.oddities().is_empty().then_some(())
    });
}

fn a_vanished_client_ends_its_build(who: Who) {
    let words = format!("vanish-{}-{who:?}", std::process::id());
    let Some(place) = Place::new(who, &waiting(&words)) else {
        return;
    };
    let (mut session, unread) = ServeSession::spawn_unheard(place.server(&[]));
    session.handshake(7);
    session.send(&request(&place, "slow"));
    wait_for(&format!("{words}-ready"));
    session.abandon();
    drop(unread);
    assert_all_is_over(&place, &words, "slow");
    poll_until("the server's end", || session.try_ended());
}

#[test]
fn a_vanished_client_ends_its_build_as_root() {
    a_vanished_client_ends_its_build(Who::Root);
}

#[test]
fn a_vanished_client_ends_its_build_as_nobody() {
    a_vanished_client_ends_its_build(Who::Nobody);
}

/// BuildPaths alike.
#[test]
fn a_vanished_client_ends_a_graph_of_builds() {
    let words = format!("graph-{}", std::process::id());
    let Some(place) = Place::new(Who::Root, &waiting(&words)) else {
        return;
    };
    let (mut session, unread) = ServeSession::spawn_unheard(place.server(&[]));
    session.handshake(7);
    session.send(&RawLimits::default().build_paths([&place.paths["slow"]], 7));
    wait_for(&format!("{words}-ready"));
    session.abandon();
    drop(unread);
    assert_all_is_over(&place, &words, "slow");
}

/// Our own client, killed with a signal that it can't see.
#[test]
fn a_killed_client_ends_its_build() {
    let words = format!("killed-{}", std::process::id());
    let Some(place) = Place::new(Who::Root, &waiting(&words)) else {
        return;
    };
    Builder::Ours.install(&place.machine);
    let address = format!(
        "exec:{} nix-store --serve --write",
        place.machine.enter().display()
    );
    // The client has a store of its own, a copy.
    let here = place.machine.copy();
    let mut client = here.command(ours(), ["build", "--on", &address, &place.paths["slow"]]);
    client
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut client = client.spawn().unwrap();
    wait_for(&format!("{words}-ready"));
    // `unshare` and the shell in between became the client by exec.
    client.kill().unwrap();
    client.wait().unwrap();
    assert_all_is_over(&place, &words, "slow");
}

/// A server killed with SIGKILL takes its builds with it.
#[test]
fn a_killed_server_leaves_no_processes() {
    let words = format!("server-{}", std::process::id());
    let Some(place) = Place::new(Who::Root, &waiting(&words)) else {
        return;
    };
    let mut session = place.session();
    session.send(&request(&place, "slow"));
    wait_for(&format!("{words}-ready"));
    session.kill();
    let took = wait_until_gone(&words);
    assert!(took < AT_MOST, "processes were there for {took:?}");
    std::fs::write(place.shared("go"), "").unwrap();
    place.build_ok("slow");
}

/// With `--linger` a cut connection costs no rebuild, and the log comes again from its start.
#[test]
fn a_build_that_lingers_is_found_again() {
    let words = format!("linger-{}", std::process::id());
    let Some(place) = Place::new(Who::Root, &waiting(&words)) else {
        return;
    };
    let options = ["--linger", "60"];
    let (mut session, unread) = ServeSession::spawn_unheard(place.server(&options));
    session.handshake(7);
    session.send(&request(&place, "slow"));
    let builder = wait_for(&format!("{words}-ready"));
    session.abandon();
    drop(unread);
    poll_until("the end of the first connection", || session.try_ended());
    let ready = format!("{words}-ready");
    assert!(with_words(&ready).contains(&builder), "it goes on");

    let mut again = ServeSession::open(place.server(&options), 7);
    again.send(&request(&place, "slow"));
    assert!(with_words(&ready).contains(&builder), "it is the same");
    std::fs::write(place.shared("go"), "").unwrap();
    let result = again.read_build_result();
    let ended = again.finish_ok();
    assert!(matches!(result.status, 0 | 2), "{result:?}");
    assert_eq!(ended.stderr.matches("begun").count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("ended"), "{}", ended.stderr);
    wait_until_gone(&words);
}

/// Nobody comes back: when the time is over the build ends.
#[test]
fn a_build_lingers_no_longer_than_it_may() {
    let words = format!("overdue-{}", std::process::id());
    let Some(place) = Place::new(Who::Root, &waiting(&words)) else {
        return;
    };
    let (mut session, unread) = ServeSession::spawn_unheard(place.server(&["--linger", "1"]));
    session.handshake(7);
    session.send(&request(&place, "slow"));
    wait_for(&format!("{words}-ready"));
    session.abandon();
    drop(unread);
    let took = wait_until_gone(&words);
    assert!(took < AT_MOST + Duration::from_secs(1), "{took:?}");
}

/// Two clients ask for the same: one build, both have the whole log and the result.
#[test]
fn two_clients_of_one_build_both_get_log_and_result() {
    let words = format!("joined-{}", std::process::id());
    let Some(place) = Place::new(Who::Root, &waiting(&words)) else {
        return;
    };
    let mut first = place.session();
    first.send(&request(&place, "slow"));
    wait_for(&format!("{words}-ready"));
    let mut second = place.session();
    second.send(&request(&place, "slow"));
    std::fs::write(place.shared("go"), "").unwrap();
    for mut session in [first, second] {
        let result = session.read_build_result();
        assert!(matches!(result.status, 0 | 2), "{result:?}");
        let ended = session.finish_ok();
        if result.status == 0 {
            assert_eq!(ended.stderr.matches("begun").count(), 1, "{}", ended.stderr);
            assert_eq!(ended.stderr.matches("ended").count(), 1, "{}", ended.stderr);
        }
    }
}

/// The first of two leaves; the second still gets all.
#[test]
fn the_one_that_stays_keeps_the_build() {
    let words = format!("stays-{}", std::process::id());
    let Some(place) = Place::new(Who::Root, &waiting(&words)) else {
        return;
    };
    let (mut first, unread) = ServeSession::spawn_unheard(place.server(&[]));
    first.handshake(7);
    first.send(&request(&place, "slow"));
    wait_for(&format!("{words}-ready"));
    let mut second = place.session();
    second.send(&request(&place, "slow"));
    first.abandon();
    drop(unread);
    std::fs::write(place.shared("go"), "").unwrap();
    let result = second.read_build_result();
    assert!(result.is_success(), "{result:?}");
    second.finish_ok();
    poll_until("the first server's end", || first.try_ended());
}

/// Limits end a build with all that it started, and the answer names the limit.
#[test]
fn limits_end_everything_that_a_build_started() {
    let words = format!("limits-{}", std::process::id());
    let shapes = format!(
        r#"forks = make "forks" {{ }} ''
            m={words}
            $b setsid $b sh -c ": $m; trap true 1 2 15; while true; do $b sleep 1; done" &
            $b sh -c ": $m; $b sleep 1000; :"
        '';"#
    );
    let Some(place) = Place::new(Who::Root, &shapes) else {
        return;
    };
    let limits = RawLimits {
        timeout: 1,
        ..RawLimits::default()
    };
    let built = place.build_limited("forks", &limits);
    assert_eq!(built.result.status, 8, "{built:?}");
    assert!(
        built.result.error.contains("timed out after 1 seconds"),
        "{built:?}"
    );
    assert_eq!(with_words(&words), Vec::<u32>::new());
}

/// The release's own server, for comparison: it ends its builds as well.
fn real_servers_end_builds(peer: &Peer) {
    let words = format!("real-{}-{}", peer.label(), std::process::id());
    let Some(place) = Place::new(Who::Root, &waiting(&words)) else {
        return;
    };
    let server: Command = Builder::Real(peer).server(&place.machine);
    let (mut session, unread) = ServeSession::spawn_unheard(server);
    session.handshake(7);
    session.send(&request(&place, "slow"));
    wait_for(&format!("{words}-ready"));
    session.abandon();
    drop(unread);
    assert!(wait_until_gone(&words) < AT_MOST);
}

with_each_release!(real_servers_end_builds_of_vanished_clients since 2.8: real_servers_end_builds);
