use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::hook::test_hook::{TestHook, environment, lines_of};

fn run_script(script: &str) -> (Vec<String>, Result<(), HookError>) {
    let hook = TestHook::new(script);
    with_call(&hook.program(), |call| {
        lines_of(|cancel, log| run_post_build_hook(call, cancel, log))
    })
}

fn with_call<T>(program: &Path, run: impl FnOnce(&PostBuildHook<'_>) -> T) -> T {
    run(&PostBuildHook {
        program,
        environment: &environment(),
        drv_path: "/nix/store/x.drv",
        outputs: &["/nix/store/b-out".to_owned(), "/nix/store/a-dev".to_owned()],
        settings_text: "cores = 1\nmax-jobs = 2\n",
    })
}

#[test]
fn it_learns_what_was_built() {
    let (lines, result) = run_script(
        r#"echo "$DRV_PATH"; echo "$OUT_PATHS" >&2; printf %s "$NIX_CONFIG"; printf %s "$KEPT$USER""#,
    );
    result.unwrap();
    assert_eq!(
        lines,
        [
            "post-build-hook: /nix/store/x.drv",
            "post-build-hook: /nix/store/a-dev /nix/store/b-out",
            "post-build-hook: cores = 1",
            "post-build-hook: max-jobs = 2",
            "post-build-hook: yes",
        ]
    );
}

#[test]
fn its_failure_is_reported() {
    let (lines, result) = run_script("echo before; exit 3");
    assert_eq!(lines, ["post-build-hook: before"]);
    let message = result.unwrap_err().to_string();
    assert!(message.starts_with("program '/"), "{message}");
    assert!(
        message.ends_with("/hook' failed with exit code 3"),
        "{message}"
    );

    let (_, result) = run_script("kill -9 $$");
    let message = result.unwrap_err().to_string();
    assert!(message.ends_with("failed due to signal 9"), "{message}");
}

#[test]
fn a_missing_program_is_named() {
    let (_, result) = with_call(Path::new("/nonexistent/hook"), |call| {
        lines_of(|cancel, log| run_post_build_hook(call, cancel, log))
    });
    let error = result.unwrap_err();
    assert_eq!(error.to_string(), "executing '/nonexistent/hook'");
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn it_gets_three_descriptors_and_none_of_ours() {
    let secret = tempfile::NamedTempFile::with_prefix("inherited-").unwrap();
    // Not closed on exec, unlike all that the standard library opens.
    let inherited = rustix::io::dup(secret.as_file()).unwrap();
    let (lines, result) =
        run_script(r#"for fd in 0 1 2; do readlink "/proc/$$/fd/$fd"; done; ls -l "/proc/$$/fd""#);
    drop(inherited);
    result.unwrap();
    assert_eq!(lines[0], "post-build-hook: /dev/null");
    assert!(lines[1].starts_with("post-build-hook: pipe:"), "{lines:?}");
    assert_eq!(lines[1], lines[2]);
    assert!(lines[3..].iter().any(|line| line.contains("/dev/null")));
    assert!(!lines.concat().contains("inherited-"), "{lines:?}");
    assert!(!lines.concat().contains("socket:"), "{lines:?}");
}

#[test]
fn what_it_leaves_behind_is_not_waited_for() {
    let start = Instant::now();
    let (lines, result) = run_script("sleep 100 & echo $!");
    result.unwrap();
    assert!(start.elapsed() < Duration::from_secs(50));
    let pid = lines[0].rsplit(' ').next().unwrap().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn much_output_arrives_whole() {
    let (lines, result) = run_script("seq 1 200000");
    result.unwrap();
    assert_eq!(lines.len(), 200_000);
    assert_eq!(lines[199_999], "post-build-hook: 200000");
    let (lines, result) = run_script("head -c 200000 /dev/zero");
    result.unwrap();
    let bytes: usize = lines.iter().map(|line| line.len() - PREFIX.len()).sum();
    assert_eq!(bytes, 200_000, "a line without end comes in pieces");
}

#[test]
fn cancelling_ends_it_and_its_children() {
    let hook = TestHook::new(
        "trap 'echo cleaning up; exit 9' TERM; echo started; while :; do sleep 0.1; done",
    );
    let cancel = Cancel::new().unwrap();
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        let running = scope.spawn(|| {
            with_call(&hook.program(), |call| {
                run_post_build_hook(call, &cancel, &mut |line| {
                    sender.send(line.to_vec()).unwrap()
                })
            })
        });
        assert_eq!(receiver.recv().unwrap(), b"post-build-hook: started");
        cancel.cancel();
        let result = running.join().unwrap();
        assert!(
            matches!(result, Err(HookError::Cancelled { .. })),
            "{result:?}"
        );
    });
}
