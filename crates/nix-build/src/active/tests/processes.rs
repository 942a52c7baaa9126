//! Real processes: owners that are killed, supervisors.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix_base::BuildStatus;
use rustix::fs::{CWD, FileType, Mode};

use super::super::*;
use super::support::{Log, Place, built, client, request, run_as, wait_for_cancel, wait_until};

/// This program again, in a role.
fn again(role: &str, place: &std::path::Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "active::tests::processes::another_process",
            "--nocapture",
        ])
        .env("ACTIVE_ROLE", role)
        .env("ACTIVE_STATE", place);
    command
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn who_watches_takes_over_from_an_owner_that_is_killed() {
    let place = Place::new();
    let mut owner = Killed(
        again("owner", place.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let out = BufReader::new(owner.0.stdout.take().unwrap());
    let is_building = |line: std::io::Result<String>| line.unwrap().contains("building");
    assert!(out.lines().any(is_building));
    std::thread::scope(|scope| {
        let follower = scope.spawn(|| {
            let log = Log::new();
            let outcome = run_as(&place.active(), &log, "a", |build| {
                build.append_log(b"anew\n").unwrap();
                built()
            });
            (outcome, log.text())
        });
        place.wait_for_watcher("a");
        owner.0.kill().unwrap();
        let (outcome, log) = follower.join().unwrap();
        assert_eq!(outcome, built());
        assert!(log.ends_with("anew\n"), "{log}");
    });
    assert_eq!(place.leftovers(), 0);
}

/// Asks for the build `a` with a supervisor, like a client that lingers.
fn ask(place: &Place, cancel: &Cancel, log: &Log, own: Own) -> BuildOutcome {
    let state_dir = place.dir.path();
    let spawn = |dir: &Path, stdin: OwnedFd| {
        again("supervisor", state_dir)
            .env("ACTIVE_BUILD", dir)
            .stdin(stdin)
            .stdout(Stdio::null())
            .spawn()
    };
    let mut ignore = |_| {};
    let mut client = client(cancel, Some(log.target()), &mut ignore);
    client.supervisor = Some(&spawn);
    place.active().run(&mut client, &request("a"), own)
}

fn never() -> Own {
    Box::new(|_| panic!("a supervisor builds"))
}

#[test]
fn a_build_with_a_supervisor_survives_its_client_and_is_replayed() {
    let place = Place::new();
    let fifo = place.dir.path().join("fifo");
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let cancel = Cancel::new().unwrap();
    let begun = place.dir.path().join("begun");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            wait_until(|| begun.is_file());
            cancel.cancel();
        });
        let left = ask(&place, &cancel, &Log::new(), never());
        assert_eq!(left.result.error_msg, "interrupted by the user");
    });
    // It waits for this, without any client.
    std::fs::write(&fifo, "go on\n").unwrap();
    for _ in 0..2 {
        let log = Log::new();
        let outcome = ask(&place, &Cancel::new().unwrap(), &log, never());
        assert_eq!(outcome, built());
        assert_eq!(log.text(), "begun\ngo on\n");
    }
    assert_eq!(std::fs::read_to_string(&begun).unwrap(), "once\n");
    assert_eq!(place.leftovers(), 1, "the result is kept");
}

#[test]
fn a_supervisor_ends_the_build_once_it_has_lingered() {
    let place = Place::new();
    let cancel = Cancel::new().unwrap();
    let begun = place.dir.path().join("begun");
    let spawn = |dir: &Path, stdin: OwnedFd| {
        again("impatient", place.dir.path())
            .env("ACTIVE_BUILD", dir)
            .stdin(stdin)
            .stdout(Stdio::null())
            .spawn()
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            wait_until(|| begun.is_file());
            cancel.cancel();
        });
        let mut ignore = |_| {};
        let mut client = client(&cancel, None, &mut ignore);
        client.supervisor = Some(&spawn);
        place.active().run(&mut client, &request("a"), never())
    });
    wait_until(|| std::fs::read_to_string(&begun).unwrap() == "once\ncancelled\n");
    assert_eq!(place.leftovers(), 0);
}

#[test]
fn what_a_killed_owner_left_is_removed_by_the_next_client() {
    let place = Place::new();
    let mut owner = Killed(
        again("owner", place.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let out = BufReader::new(owner.0.stdout.take().unwrap());
    let is_building = |line: std::io::Result<String>| line.unwrap().contains("building");
    assert!(out.lines().any(is_building));
    assert_eq!(place.leftovers(), 1);
    owner.0.kill().unwrap();
    owner.0.wait().unwrap();
    assert_eq!(
        run_as(&place.active(), &Log::new(), "other", |_| built()),
        built()
    );
    assert_eq!(place.leftovers(), 0);
}

#[test]
fn a_kept_result_that_isn_t_accepted_is_built_again() {
    let place = Place::new();
    std::fs::write(place.dir.path().join("fifo"), "").unwrap();
    assert_eq!(
        ask(&place, &Cancel::new().unwrap(), &Log::new(), never()),
        built()
    );
    let (cancel, mut ignore) = (Cancel::new().unwrap(), |_| {});
    let mut choosy = client(&cancel, None, &mut ignore);
    choosy.accept = &|_| false;
    let failed = BuildFailure::new(BuildStatus::OutputRejected, "own");
    let own: Own = Box::new(move |_| failed.into());
    let outcome = place.active().run(&mut choosy, &request("a"), own);
    assert_eq!(outcome.result.error_msg, "own");
}

#[test]
fn a_supervisor_that_can_t_start_is_done_without() {
    let place = Place::new();
    let spawn = |_: &Path, _: OwnedFd| Err(std::io::ErrorKind::NotFound.into());
    let (cancel, mut ignore) = (Cancel::new().unwrap(), |_| {});
    let mut client = client(&cancel, None, &mut ignore);
    client.supervisor = Some(&spawn);
    let own: Own = Box::new(|_| built());
    assert_eq!(place.active().run(&mut client, &request("a"), own), built());
    assert_eq!(place.leftovers(), 0);
}

#[test]
fn a_supervisor_that_dies_is_replaced_by_the_client() {
    let place = Place::new();
    let spawn = |_: &Path, stdin: OwnedFd| {
        Command::new("/bin/sh")
            .args(["-c", "exit 1"])
            .stdin(stdin)
            .spawn()
    };
    let (cancel, mut ignore) = (Cancel::new().unwrap(), |_| {});
    let mut client = client(&cancel, None, &mut ignore);
    client.supervisor = Some(&spawn);
    let own: Own = Box::new(|_| built());
    assert_eq!(place.active().run(&mut client, &request("a"), own), built());
    assert_eq!(place.leftovers(), 0);
}

/// Not a test by itself: what the processes of other tests run.
#[test]
#[expect(clippy::disallowed_methods, reason = "the parent test says what to do")]
fn another_process() {
    let Ok(role) = std::env::var("ACTIVE_ROLE") else {
        return;
    };
    let state_dir = PathBuf::from(std::env::var_os("ACTIVE_STATE").unwrap());
    let active = Active::new(&state_dir, &StoreDir::new("/nix/store").unwrap()).unwrap();
    if role == "owner" {
        run_as(&active, &Log::new(), "a", |build| {
            build.append_log(b"of the dead\n").unwrap();
            let mut out = std::io::stdout();
            writeln!(out, "building").unwrap();
            out.flush().unwrap();
            std::io::stdin().read_line(&mut String::new()).unwrap();
            built()
        });
        return;
    }
    let dir = PathBuf::from(std::env::var_os("ACTIVE_BUILD").unwrap());
    let is_patient = role == "supervisor";
    let linger = Duration::from_secs(if is_patient { 600 } else { 0 });
    let supervised = active.supervise(&dir, linger, |asked, build| {
        assert_eq!(asked.drv, request("a").drv);
        build.append_log(b"begun\n").unwrap();
        let mut begun = std::fs::OpenOptions::new();
        let begun = begun
            .append(true)
            .create(true)
            .open(state_dir.join("begun"));
        let mut begun = begun.unwrap();
        begun.write_all(b"once\n").unwrap();
        if !is_patient {
            wait_for_cancel(build.cancel());
            begun.write_all(b"cancelled\n").unwrap();
            return BuildFailure::misc("killed").into();
        }
        let text = std::fs::read(state_dir.join("fifo")).unwrap();
        build.append_log(&text).unwrap();
        built()
    });
    supervised.unwrap();
}
