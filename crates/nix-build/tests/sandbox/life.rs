//! How builders begin and end.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::thread;

use nix_build::helper::{Event, ExitStatus};
use nix_build::sandbox::plan::Confinement;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::world::{World, helper, is_root, pipe, skip};

#[test]
fn builder_waits_for_the_word() {
    let world = World::new();
    let helper = helper();
    let (mut log, write) = pipe();
    let mut build = world.start(&helper, world.script("echo ran"), write);
    assert_eq!(build.read_event(), Event::Waiting);
    build.kill();
    assert_eq!(build.read_event(), Event::Exited(ExitStatus::Signal(9)));
    let mut text = String::new();
    log.read_to_string(&mut text).expect("the end of the log");
    assert_eq!(text, "");
}

#[test]
fn exit_code_is_told() {
    let world = World::new();
    let outcome = world.run(&helper(), world.script("exit 7"));
    assert_eq!(
        outcome.events.last(),
        Some(&Event::Exited(ExitStatus::Code(7)))
    );
}

#[test]
fn failure_before_the_word_is_told_after_it() {
    let mut world = World::new();
    let missing = world.path("missing");
    world.inputs.push((missing, "/nix/store/x".into()));
    let helper = helper();
    let (mut log, write) = pipe();
    let mut build = world.start(&helper, world.script("true"), write);
    assert_eq!(build.read_event(), Event::Waiting);
    let mut text = String::new();
    // Its process is gone when nobody holds the log.
    log.read_to_string(&mut text).expect("the end of the log");
    build.go().expect("no error");
    assert!(matches!(build.read_event(), Event::SetupFailed { .. }));
    assert_eq!(build.read_event(), Event::HelperGone);
}

/// The processes that the helper has started and not reaped.
fn children(helper: &nix_build::helper::Helper) -> Vec<u32> {
    let pid = helper.pid();
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let text = text.expect("the children of the helper");
    text.split_whitespace()
        .map(|pid| pid.parse().expect("a number"))
        .collect()
}

/// Whether a process has ended, reaped or not.
fn is_dead(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |stat| stat.contains(") Z "))
}

/// Runs a builder of the usual kind to its end, and gives its process id.
fn run_one(world: &World, helper: &nix_build::helper::Helper) -> u32 {
    let (_log, write) = pipe();
    let mut build = world.start(helper, world.script("true"), write);
    assert_eq!(build.read_event(), Event::Waiting);
    let pid = build.pid().expect("it is known by now");
    build.go().expect("no error");
    assert_eq!(build.read_event(), Event::Started);
    assert_eq!(build.read_event(), Event::Exited(ExitStatus::Code(0)));
    pid
}

#[test]
fn next_builder_gets_the_process_that_waits_for_it() {
    let world = World::new();
    let helper = helper();
    run_one(&world, &helper);
    let waiting = children(&helper);
    // After a second nobody waits any more: a slow machine sees that.
    if let [spare] = waiting[..] {
        let next = run_one(&world, &helper);
        assert!(
            next == spare || children(&helper).len() <= 1,
            "{spare} {next}"
        );
    }
    // It may have died of anything.
    for number in children(&helper) {
        let pid = Pid::from_raw(number.cast_signed()).expect("not zero");
        kill_process(pid, Signal::KILL).expect("it is ours");
        while !is_dead(number) {
            thread::yield_now();
        }
    }
    run_one(&world, &helper);
}

/// Starts a builder that leaves a process behind, and goes on for an hour.
const LONG: &str = "/nix/store/8*/busybox sleep 3600 & echo ready; wait";

#[test]
fn killed_build_takes_everything_with_it() {
    let world = World::new();
    let helper = helper();
    let (mut log, write) = pipe();
    let mut build = world.start(&helper, world.script(LONG), write);
    assert_eq!(build.read_event(), Event::Waiting);
    build.go().expect("a helper");
    assert_eq!(build.read_event(), Event::Started);
    let mut ready = [0; 6];
    log.read_exact(&mut ready).expect("a line");
    build.kill();
    assert_eq!(build.read_event(), Event::Exited(ExitStatus::Signal(9)));
    // Nobody holds the log any more.
    assert_eq!(log.read(&mut ready).expect("the end"), 0);
}

#[test]
fn background_processes_end_with_the_builder() {
    let world = World::new();
    let helper = helper();
    let (mut log, write) = pipe();
    let script = "/nix/store/8*/busybox sleep 3600 & echo ready";
    let mut build = world.start(&helper, world.script(script), write);
    assert_eq!(build.read_event(), Event::Waiting);
    build.go().expect("a helper");
    assert_eq!(build.read_event(), Event::Started);
    assert_eq!(build.read_event(), Event::Exited(ExitStatus::Code(0)));
    let mut text = String::new();
    log.read_to_string(&mut text).expect("the end of the log");
    assert_eq!(text, "ready\n");
}

#[test]
fn dropped_build_ends() {
    for confinement in [Confinement::Full, Confinement::None] {
        let mut world = World::new();
        world.confinement = confinement;
        let helper = helper();
        let (mut log, write) = pipe();
        let script = match confinement {
            Confinement::Full => LONG.to_owned(),
            Confinement::None => {
                format!("{} sleep 3600 & echo ready; wait", shell_outside(&world))
            }
        };
        let mut build = world.start(&helper, world.script(&script), write);
        assert_eq!(build.read_event(), Event::Waiting);
        build.go().expect("a helper");
        assert_eq!(build.read_event(), Event::Started);
        let mut ready = [0; 6];
        log.read_exact(&mut ready).expect("a line");
        drop(build);
        let mut rest = String::new();
        log.read_to_string(&mut rest).expect("the end of the log");
        assert_eq!(rest, "");
    }
}

fn shell_outside(world: &World) -> String {
    world.path("busybox/busybox").display().to_string()
}

#[test]
fn builds_end_with_the_helper() {
    let world = World::new();
    let helper = helper();
    let (mut log, write) = pipe();
    let mut build = world.start(&helper, world.script(LONG), write);
    assert_eq!(build.read_event(), Event::Waiting);
    build.go().expect("a helper");
    assert_eq!(build.read_event(), Event::Started);
    let mut ready = [0; 6];
    log.read_exact(&mut ready).expect("a line");
    let pid = i32::try_from(helper.pid()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process"), Signal::KILL).expect("permission");
    assert_eq!(build.read_event(), Event::HelperGone);
    assert_eq!(log.read(&mut ready).expect("the end"), 0);
    assert!(helper.kill_uid(1).is_err());
}

/// Builds with its own output as the log, in a process that is killed meanwhile.
#[test]
fn builds_end_with_a_killed_server() {
    const NAME: &str = "life::builds_end_with_a_killed_server";
    const INNER: &str = "NIX_BUILD_TEST_SERVER";
    #[expect(
        clippy::disallowed_methods,
        reason = "which of the two processes this is"
    )]
    let is_inner = std::env::var_os(INNER).is_some();
    if is_inner {
        let world = World::new();
        let helper = helper();
        let log = rustix::io::dup(std::io::stdout()).expect("a descriptor");
        let mut build = world.start(&helper, world.script(LONG), log);
        assert_eq!(build.read_event(), Event::Waiting);
        build.go().expect("a helper");
        while let Event::Waiting | Event::Started = build.read_event() {}
        return;
    }
    let mut server = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", NAME, "--nocapture"])
        .env(INNER, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("a server");
    let mut log = BufReader::new(server.stdout.take().expect("its output"));
    let mut line = String::new();
    while !line.ends_with("ready\n") {
        assert_ne!(log.read_line(&mut line).expect("its output"), 0, "{line}");
    }
    server.kill().expect("permission");
    server.wait().expect("an end");
    let mut rest = String::new();
    log.read_to_string(&mut rest).expect("the end of the log");
    assert_eq!(rest, "");
}

#[test]
fn dropped_helper_waits_for_its_builds() {
    let world = World::new();
    let helper = helper();
    let (_log, write) = pipe();
    let mut build = world.start(&helper, world.script(LONG), write);
    assert_eq!(build.read_event(), Event::Waiting);
    let pid = build
        .pid()
        .and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
    drop(helper);
    assert!(test_kill_process(pid.expect("a process")).is_err());
}

#[test]
fn builds_of_several_threads_run_at_once() {
    let helper = helper();
    thread::scope(|scope| {
        for number in 0..8 {
            let helper = &helper;
            scope.spawn(move || {
                let world = World::new();
                let outcome = world.run(helper, world.script(&format!("echo {number}")));
                assert_eq!(outcome.log, format!("{number}\n"));
            });
        }
    });
}

#[test]
fn all_processes_of_a_user_are_killed() {
    if !is_root() {
        return skip("killing other users takes root");
    }
    let mut world = World::new();
    world.confinement = Confinement::None;
    let helper = helper();
    let (mut log, write) = pipe();
    let script = format!(
        "{0} setsid {0} sleep 3600 & echo ready",
        shell_outside(&world)
    );
    let mut build = world.start(&helper, world.script(&script), write);
    assert_eq!(build.read_event(), Event::Waiting);
    build.go().expect("a helper");
    assert_eq!(build.read_event(), Event::Started);
    assert_eq!(build.read_event(), Event::Exited(ExitStatus::Code(0)));
    helper.kill_uid(world.identity.uid).expect("an end");
    let mut text = String::new();
    log.read_to_string(&mut text).expect("the end of the log");
    assert_eq!(text, "ready\n");
    assert!(helper.kill_uid(0).is_err());
}
