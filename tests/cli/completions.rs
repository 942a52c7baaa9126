//! Completion scripts and manual pages.

use crate::program::{nix_serve, run};

#[test]
fn every_shell_gets_a_script_that_knows_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = run(nix_serve(["completions", shell]));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(ran.stdout.contains("path-info"), "{shell}");
    }
    let ran = run(nix_serve(["completions", "cobol"]));
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("cobol"), "{}", ran.stderr);
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let page = run(nix_serve(["man"]));
    assert!(page.stdout.contains(".TH nix-serve 1"), "{}", page.stdout);
    let directory = tempfile::tempdir().unwrap();
    run(nix_serve(["man".as_ref(), directory.path().as_os_str()])).lines();
    for name in ["nix-serve.1", "nix-serve-copy.1", "nix-serve-serve.1"] {
        let page = std::fs::read_to_string(directory.path().join(name)).unwrap();
        assert!(page.contains(".SH"), "{name}");
    }
    let ran = run(nix_serve(["man", "/nonexistent/dir"]));
    assert!(
        ran.refusal().contains("'/nonexistent/dir'"),
        "{}",
        ran.stderr
    );
}
