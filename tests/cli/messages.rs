//! How messages look.

use std::process::Command;

use test_support::TempStore;

use crate::program::{add_file, nix_serve, on, run, served};

#[test]
fn quiet_leaves_problems_only_and_verbose_says_more() {
    let (here, there) = (TempStore::new(), TempStore::new());
    let path = add_file(&here, "file", "contents");
    let copy = ["copy", "--quiet", "--to", &served(&there), &path];
    let quiet = run(on(&here, copy));
    quiet.lines();
    assert_eq!(quiet.stderr, "");
    let plain = run(on(&here, ["verify", "--check-contents"]));
    let more = run(on(&here, ["verify", "--check-contents", "-v"]));
    assert!(!plain.stderr.contains(&path));
    assert!(
        more.stderr
            .contains(&format!("checking contents of '{path}'"))
    );
}

#[test]
fn machine_readable_messages_are_json_behind_a_word() {
    let store = TempStore::new();
    let address = format!("{}&unheard=1", store.address());
    let ran = run(nix_serve([
        "init",
        "--log-format",
        "internal-json",
        "--store",
        &address,
    ]));
    let line = ran.stderr.lines().next().unwrap();
    let json = line.strip_prefix("@nix ").unwrap();
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(json["action"], "msg");
    assert_eq!(json["level"], 1);
    assert_eq!(json["msg"], "unknown parameter 'unheard' of a local store");
}

#[test]
fn colours_and_bars_are_for_terminals() {
    let Some(terminal) = terminal() else {
        test_support::say(
            "skipped: colours_and_bars_are_for_terminals: there is no program 'script'",
        );
        return;
    };
    let store = TempStore::new();
    let unknown = "/nix/store/00000000000000000000000000000000-none";
    run(on(&store, ["init"])).lines();
    let shown = |variables: &[(&str, &str)]| {
        let line = format!(
            "{} path-info --store '{}' {unknown}",
            crate::program::NIX_SERVE,
            store.address()
        );
        let mut command = Command::new(&terminal);
        command.args(["-qec", &line, "/dev/null"]);
        command.env_remove("NO_COLOR").env("TERM", "xterm");
        command.envs(variables.iter().copied());
        run(command).stdout
    };
    assert!(
        shown(&[]).contains("\u{1b}[31;1merror:\u{1b}[0m "),
        "{}",
        shown(&[])
    );
    assert!(!shown(&[("NO_COLOR", "1")]).contains('\u{1b}'));
    assert!(!shown(&[("TERM", "dumb")]).contains('\u{1b}'));
}

fn terminal() -> Option<std::path::PathBuf> {
    ["/usr/bin/script", "/bin/script"]
        .map(std::path::PathBuf::from)
        .into_iter()
        .find(|path| path.symlink_metadata().is_ok())
}
