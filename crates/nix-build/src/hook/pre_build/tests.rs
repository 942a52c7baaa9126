use super::*;
use crate::hook::test_hook::{TestHook, environment, lines_of};

fn run_script(
    script: &str,
    chroot: Option<&str>,
) -> (Vec<String>, Result<Vec<SandboxPath>, HookError>) {
    let hook = TestHook::new(script);
    let call = PreBuildHook {
        program: &hook.program(),
        environment: &environment(),
        drv_path: "/nix/store/x.drv",
        chroot_dir: chroot.map(Path::new),
    };
    lines_of(|cancel, log| run_pre_build_hook(&call, cancel, log))
}

fn path(target: &str, source: &str) -> SandboxPath {
    SandboxPath {
        target: target.into(),
        source: source.into(),
        optional: false,
    }
}

#[test]
fn lists_of_paths_are_added() {
    let (lines, result) = run_script(
        r"printf 'extra-sandbox-paths\n/a\n/b=/c\n/d?\n\nextra-chroot-dirs\n/e=/f=g'",
        Some("/root"),
    );
    assert_eq!(lines, [""; 0]);
    assert_eq!(
        result.unwrap(),
        [
            path("/a", "/a"),
            path("/b", "/c"),
            path("/d?", "/d?"),
            path("/e", "/f=g")
        ]
    );
}

#[test]
fn it_is_told_the_derivation_and_the_root() {
    let (lines, result) = run_script(r#"echo "$#: $*" >&2"#, Some("/root"));
    assert_eq!(lines, ["2: /nix/store/x.drv /root"]);
    assert_eq!(result.unwrap(), []);
    let (lines, _) = run_script(r#"echo "$#: $*" >&2"#, None);
    assert_eq!(lines, ["1: /nix/store/x.drv"]);
}

#[test]
fn refuses_commands_that_it_does_not_know() {
    let (_, result) = run_script("echo bogus command", None);
    assert_eq!(
        result.unwrap_err().to_string(),
        "unknown pre-build hook command 'bogus command'"
    );
    let (_, result) = run_script("echo; echo extra-sandbox-paths", None);
    assert_eq!(
        result.unwrap_err().to_string(),
        "unknown pre-build hook command ''"
    );
    let (_, result) = run_script(r"printf 'extra-sandbox-paths\n=/x\n'", None);
    assert!(matches!(result, Err(HookError::EmptyPath(line)) if line == "=/x"));
}

#[test]
fn its_failure_is_one_whatever_it_said() {
    let (lines, result) = run_script("echo extra-sandbox-paths; echo why >&2; exit 4", None);
    assert_eq!(lines, ["why"]);
    let message = result.unwrap_err().to_string();
    assert!(message.ends_with("' failed with exit code 4"), "{message}");
}

#[test]
fn an_endless_answer_ends_it() {
    let (_, result) = run_script("yes extra-sandbox-paths", None);
    assert!(
        matches!(result, Err(HookError::TooMuch { .. })),
        "{result:?}"
    );
}
