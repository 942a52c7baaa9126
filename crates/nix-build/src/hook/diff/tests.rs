use super::*;
use crate::hook::test_hook::{TestHook, environment, lines_of};

fn run_script(script: &str, user: Option<(u32, u32)>) -> Vec<String> {
    let hook = TestHook::new(script);
    run_program(&hook.program(), user)
}

fn run_program(program: &Path, user: Option<(u32, u32)>) -> Vec<String> {
    let call = DiffHook {
        program,
        environment: &environment(),
        old: Path::new("/nix/store/a-old"),
        new: Path::new("/nix/store/a-new"),
        drv_path: "/nix/store/x.drv",
        temp_dir: Path::new("/nonexistent/build"),
        user,
    };
    let (lines, _) = lines_of(|cancel, log| {
        run_diff_hook(&call, cancel, log);
        Ok(())
    });
    lines
}

#[test]
fn it_gets_both_paths_and_runs_at_the_root() {
    assert_eq!(
        run_script(r#"echo "$#"; printf '%s\n' "$@"; pwd >&2"#, None),
        [
            "4",
            "/nix/store/a-old",
            "/nix/store/a-new",
            "/nix/store/x.drv",
            "/nonexistent/build",
            "/"
        ]
    );
}

#[test]
fn its_failure_is_only_logged() {
    let lines = run_script("echo differs; exit 1", None);
    assert_eq!(lines[0], "differs");
    assert!(
        lines[1].starts_with("diff hook execution failed: program '/"),
        "{lines:?}"
    );
    assert!(lines[1].ends_with("' failed with exit code 1"), "{lines:?}");

    let lines = run_program(Path::new("/nonexistent/hook"), None);
    assert_eq!(
        lines,
        [
            "diff hook execution failed: executing '/nonexistent/hook': No such file or directory (os error 2)"
        ]
    );
}

#[test]
fn it_runs_as_the_build_user() {
    if !rustix::process::geteuid().is_root() {
        test_support::say_missing("NOT ROOT: THE USER OF THE DIFF HOOK ISN'T TESTED", false);
        return;
    }
    let lines = run_script(
        "grep -E '^(Uid|Gid|Groups):' /proc/self/status | tr '\\t' ' '",
        Some((54321, 65432)),
    );
    assert_eq!(
        lines,
        [
            "Uid: 54321 54321 54321 54321",
            "Gid: 65432 65432 65432 65432",
            "Groups:  "
        ]
    );
}
