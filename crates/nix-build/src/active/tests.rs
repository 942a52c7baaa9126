//! Clients that share builds. Locks belong to descriptions, so threads with an [`Active`]
//! each are to one another what processes are.

mod processes;
mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use nix_base::BuildStatus;

use super::*;
use support::{Log, Place, built, client, request, run_as, wait_for_cancel};

#[test]
fn two_clients_build_once_and_both_get_log_and_result() {
    let place = Place::new();
    let (joined, wait) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let (started, is_started) = mpsc::channel();
        let builds = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&builds);
        let owner = scope.spawn({
            let place = &place;
            move || {
                let log = Log::new();
                let outcome = run_as(&place.active(), &log, "a", move |build| {
                    counted.fetch_add(1, Ordering::SeqCst);
                    build.append_log(b"one\ntw").unwrap();
                    started.send(()).unwrap();
                    wait.recv().unwrap();
                    build.append_log(b"o\nthree").unwrap();
                    built()
                });
                (outcome, log.text())
            }
        });
        is_started.recv().unwrap();
        let follower = scope.spawn(|| {
            let log = Log::new();
            let outcome = run_as(&place.active(), &log, "a", |_| panic!("built twice"));
            (outcome, log.text())
        });
        place.wait_for_watcher("a");
        joined.send(()).unwrap();
        for client in [owner, follower] {
            let (outcome, log) = client.join().unwrap();
            assert_eq!(outcome, built());
            assert_eq!(log, "one\ntwo\nthree\n");
        }
        assert_eq!(builds.load(Ordering::SeqCst), 1);
    });
    assert_eq!(place.leftovers(), 0);
}

#[test]
fn other_derivations_are_other_builds() {
    let place = Place::new();
    let dir = &place.store_dir;
    let key = |request: &BuildRequest| request_file::key(dir, request).unwrap();
    let one = request("a");
    let mut keys = std::collections::BTreeSet::from([key(&one)]);
    let mut other = one.clone();
    other.limits.timeout = 7;
    other.keep_failed = true;
    assert!(!keys.insert(key(&other)), "what belongs to the client");
    let mut mode = one.clone();
    mode.mode = crate::request::BuildMode::Check;
    let mut env = one.clone();
    env.drv.env.insert("x".into(), "y".into());
    let mut hash = one.clone();
    hash.realisation_hash = Some(nix_base::Hash::of(nix_base::HashAlgo::Sha256, b""));
    for other in [mode, env, hash, request("b")] {
        assert!(keys.insert(key(&other)));
    }
}

#[test]
fn a_request_comes_back_from_its_file() {
    let place = Place::new();
    let mut asked = request("a");
    asked.realisation_hash = Some(nix_base::Hash::of(nix_base::HashAlgo::Sha256, b""));
    asked.mode = crate::request::BuildMode::Check;
    asked.keep_failed = true;
    let mut file = tempfile::tempfile().unwrap();
    request_file::store(&place.store_dir, &asked, &file).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let back = request_file::load(&place.store_dir, &file).unwrap();
    assert_eq!(back.drv, asked.drv);
    assert_eq!(back.drv_path, asked.drv_path);
    assert_eq!(back.realisation_hash, asked.realisation_hash);
    assert_eq!((back.mode, back.keep_failed), (asked.mode, true));
}

#[test]
fn the_build_ends_with_its_last_client() {
    let place = Place::new();
    let cancel = Cancel::new().unwrap();
    let (ended, has_ended) = mpsc::channel();
    let gone = cancel.clone();
    let own: Own = Box::new(move |build| {
        gone.cancel();
        wait_for_cancel(build.cancel());
        ended.send(()).unwrap();
        BuildFailure::misc("killed").into()
    });
    let mut ignore = |_| {};
    let mut client = client(&cancel, None, &mut ignore);
    let outcome = place.active().run(&mut client, &request("a"), own);
    has_ended
        .try_recv()
        .expect("the build has ended before the answer");
    assert_eq!(outcome.result.error_msg, "interrupted by the user");
    assert_eq!(place.leftovers(), 0);
}

#[test]
fn the_build_goes_on_for_others_when_the_owner_s_client_leaves() {
    let place = Place::new();
    let owner = place.active();
    let cancel = Cancel::new().unwrap();
    let (finish, may_finish) = mpsc::channel::<()>();
    let (started, is_started) = mpsc::channel();
    std::thread::scope(|scope| {
        let place = &place;
        let follower = scope.spawn(move || {
            is_started.recv().unwrap();
            let log = Log::new();
            let outcome = run_as(&place.active(), &log, "a", |_| panic!("built twice"));
            (outcome, log.text())
        });
        let own: Own = Box::new(move |build| {
            started.send(()).unwrap();
            may_finish.recv().unwrap();
            assert!(!build.cancel().is_cancelled());
            build.append_log(b"still there\n").unwrap();
            built()
        });
        let gone = cancel.clone();
        scope.spawn(move || {
            place.wait_for_watcher("a");
            gone.cancel();
        });
        let mut ignore = |_| {};
        let outcome = owner.run(&mut client(&cancel, None, &mut ignore), &request("a"), own);
        assert_eq!(outcome.result.error_msg, "interrupted by the user");
        assert!(!follower.is_finished(), "the build hasn't ended");
        finish.send(()).unwrap();
        let (outcome, log) = follower.join().unwrap();
        assert_eq!(outcome, built());
        assert_eq!(log, "still there\n");
        owner.wait_background();
    });
    assert_eq!(place.leftovers(), 0);
}

#[test]
fn a_limit_is_that_of_one_client() {
    let place = Place::new();
    let owner = place.active();
    let (finish, may_finish) = mpsc::channel::<()>();
    let (started, is_started) = mpsc::channel();
    std::thread::scope(|scope| {
        let place = &place;
        let follower = scope.spawn(move || {
            is_started.recv().unwrap();
            run_as(&place.active(), &Log::new(), "a", |_| panic!("built twice"))
        });
        let (write, may_write) = mpsc::channel::<()>();
        scope.spawn(move || {
            place.wait_for_watcher("a");
            write.send(()).unwrap();
        });
        let own: Own = Box::new(move |build| {
            build.set_phase(Phase::Running);
            started.send(()).unwrap();
            may_write.recv().unwrap();
            build.append_log(b"more than ten bytes\n").unwrap();
            may_finish.recv().unwrap();
            built()
        });
        let (cancel, mut ignore) = (Cancel::new().unwrap(), |_| {});
        let mut limited = client(&cancel, None, &mut ignore);
        limited.limits.max_log_size = 10;
        let outcome = owner.run(&mut limited, &request("a"), own);
        assert_eq!(outcome.result.status, BuildStatus::LogLimitExceeded);
        let drv = place.store_dir.print(&request("a").drv_path);
        assert_eq!(
            outcome.result.error_msg,
            format!("building of '{drv}' killed after writing more than 10 bytes of log output")
        );
        finish.send(()).unwrap();
        assert_eq!(follower.join().unwrap(), built());
        owner.wait_background();
    });
}

#[test]
fn silence_of_the_builder_ends_the_build_of_its_only_client() {
    let place = Place::new();
    let (cancel, mut ignore) = (Cancel::new().unwrap(), |_| {});
    let mut limited = client(&cancel, None, &mut ignore);
    limited.limits.max_silent_time = 1;
    let own: Own = Box::new(|build| {
        build.set_phase(Phase::Running);
        wait_for_cancel(build.cancel());
        BuildFailure::misc("killed").into()
    });
    let outcome = place.active().run(&mut limited, &request("a"), own);
    assert_eq!(outcome.result.status, BuildStatus::TimedOut);
    assert!(
        outcome
            .result
            .error_msg
            .ends_with("timed out after 1 seconds of silence")
    );
    assert_eq!(outcome.exit_code, 101);
    let result = &outcome.result;
    assert!(result.stop_time > result.start_time && result.start_time > 0);
    assert_eq!(result.times_built, 0, "not to its end");
}

#[test]
fn who_leaves_is_told_how_long_it_ran() {
    let place = Place::new();
    let cancel = Cancel::new().unwrap();
    let gone = cancel.clone();
    let own: Own = Box::new(move |build| {
        build.set_phase(Phase::Running);
        // So long that the client, too, has seen that it runs.
        std::thread::sleep(POLL * 60);
        gone.cancel();
        wait_for_cancel(build.cancel());
        BuildFailure::misc("killed").into()
    });
    let mut ignore = |_| {};
    let outcome = place
        .active()
        .run(&mut client(&cancel, None, &mut ignore), &request("a"), own);
    let result = &outcome.result;
    assert_eq!(result.error_msg, "interrupted by the user");
    assert!(result.stop_time > result.start_time);
}

#[test]
fn everybody_is_told_the_place_in_the_queue() {
    let place = Place::new();
    let (started, is_started) = mpsc::channel();
    let (tell_owner, owner_told) = mpsc::channel();
    let (tell_other, other_told) = mpsc::channel();
    std::thread::scope(|scope| {
        let place = &place;
        scope.spawn(move || {
            is_started.recv().unwrap();
            let (cancel, mut tell) = (Cancel::new().unwrap(), |n| tell_other.send(n).unwrap());
            let mut client = client(&cancel, None, &mut tell);
            let own: Own = Box::new(|_| panic!("built twice"));
            place.active().run(&mut client, &request("a"), own)
        });
        let own: Own = Box::new(move |build| {
            build.set_place(4);
            started.send(()).unwrap();
            for place in [4, 2] {
                build.set_place(place);
                assert_eq!(owner_told.recv().unwrap(), place);
                assert_eq!(other_told.recv().unwrap(), place);
            }
            built()
        });
        let (cancel, mut tell) = (Cancel::new().unwrap(), |n| tell_owner.send(n).unwrap());
        let mut client = client(&cancel, None, &mut tell);
        let outcome = place.active().run(&mut client, &request("a"), own);
        assert_eq!(outcome, built());
    });
}

#[test]
fn a_panic_of_the_builder_is_a_failure_for_all() {
    let place = Place::new();
    let outcome = run_as(&place.active(), &Log::new(), "a", |_| panic!("on purpose"));
    assert_eq!(outcome.result.status, BuildStatus::MiscFailure);
    assert_eq!(place.leftovers(), 0);
}

#[test]
fn a_failed_build_is_tried_again_by_the_next_client() {
    let place = Place::new();
    let failed = run_as(&place.active(), &Log::new(), "a", |_| {
        BuildFailure::new(BuildStatus::PermanentFailure, "exit 1").into()
    });
    assert_eq!(failed.exit_code, 100);
    let again = run_as(&place.active(), &Log::new(), "a", |_| built());
    assert_eq!(again, built());
}

#[test]
fn a_client_that_reads_nothing_gets_its_result() {
    let place = Place::new();
    let (_unread, write) = rustix::pipe::pipe().unwrap();
    let target = Arc::new(LogTarget::new(write));
    let (cancel, mut ignore) = (Cancel::new().unwrap(), |_| {});
    let own: Own = Box::new(|build| {
        let block = b"fifteen letters\n".repeat(4096);
        for _ in 0..100 * 16 {
            build.append_log(&block).unwrap();
        }
        built()
    });
    let mut client = client(&cancel, Some(target), &mut ignore);
    let outcome = place.active().run(&mut client, &request("a"), own);
    assert_eq!(outcome, built());
}
