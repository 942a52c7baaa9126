//! The names that the program is called by.

use test_support::{PathToAdd, ServeSession, TempStore};

use crate::program::{Faces, add_file, nix_serve, on, run};

#[test]
fn all_spellings_of_a_writing_server_serve() {
    let faces = Faces::new();
    let store = TempStore::new();
    let address = store.address();
    let spellings: [(&str, Vec<&str>); 6] = [
        ("nix-store", vec!["--serve", "--write", "--store", &address]),
        ("nix-store", vec!["--store", &address, "--write", "--serve"]),
        (
            "nix-store",
            vec!["--builders", "", "--serve", "--write", "--store", &address],
        ),
        (
            "nix-store",
            vec![
                "-v", "--serve", "--option", "cores", "2", "--store", &address, "--write",
            ],
        ),
        ("nix-serve", vec!["--serve", "--write", "--store", &address]),
        ("nix-serve", vec!["serve", "--write", "--store", &address]),
    ];
    for (number, (name, words)) in spellings.into_iter().enumerate() {
        let command = match name {
            "nix-serve" => nix_serve(words),
            name => faces.command(name, words),
        };
        let mut session = ServeSession::open(command, 7);
        let path = PathToAdd::numbered("a", number, b"contents");
        session.add(&path);
        assert_eq!(
            session.query_valid_paths(false, false, [&path.path]).len(),
            1
        );
        session.finish_ok();
    }
    assert_eq!(
        store.names().len(),
        7,
        "six paths and .links: {:?}",
        store.names()
    );
}

#[test]
fn nix_store_refuses_what_it_does_not_know_in_one_line() {
    let faces = Faces::new();
    let refused = |words: &[&str]| {
        let ran = run(faces.command("nix-store", words));
        ran.refusal().to_owned()
    };
    assert_eq!(refused(&["--serve", "--wr"]), "error: unknown flag '--wr'");
    assert_eq!(
        refused(&["--serve", "word"]),
        "error: no arguments expected"
    );
    assert_eq!(refused(&[]), "error: no operation specified");
    assert_eq!(
        refused(&["--gc", "--bogus"]),
        "error: bad sub-operation '--bogus' in GC"
    );
    let ran = run(faces.command("nix-store", ["--serve", "--wr"]));
    assert!(
        ran.stderr
            .ends_with("Try 'nix-store --help' for more information.\n")
    );
}

#[test]
fn each_face_tells_its_version_and_has_help() {
    let faces = Faces::new();
    for name in ["nix-store", "nix-copy-closure", "nix-collect-garbage"] {
        let version = run(faces.command(name, ["--version"]));
        assert!(version.line().starts_with(&format!("{name} (nix-serve) ")));
        let help = run(faces.command(name, ["--help"]));
        assert!(
            help.stdout.starts_with(&format!("Usage: {name} ")),
            "{}",
            help.stdout
        );
        assert!(help.stdout.contains("Examples:"));
    }
    assert!(
        run(nix_serve(["--version"]))
            .line()
            .starts_with("nix-serve ")
    );
}

#[test]
fn the_help_of_each_command_has_examples() {
    let main = run(nix_serve(["--help"]));
    assert!(main.stdout.contains("nix-copy-closure"), "{}", main.stdout);
    for command in [
        "serve",
        "build",
        "log",
        "doctor",
        "copy",
        "add",
        "dump",
        "restore",
        "path-info",
        "init",
        "verify",
        "load-db",
        "dump-db",
        "completions",
        "man",
    ] {
        let help = run(nix_serve([command, "--help"]));
        assert_eq!(help.code, Some(0));
        assert!(
            help.stdout.contains("Examples:"),
            "{command}: {}",
            help.stdout
        );
        assert!(main.stdout.contains(&format!("  {command} ")), "{command}");
    }
}

#[test]
fn a_misspelt_command_is_refused_with_a_suggestion() {
    let ran = run(nix_serve(["verfy"]));
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("'verify'"), "{}", ran.stderr);
}

#[test]
fn nix_copy_closure_copies_with_its_own_options() {
    let faces = Faces::new();
    let (here, there) = (TempStore::new(), TempStore::new());
    let path = add_file(&here, "file", "contents");
    let address = crate::program::served(&there);
    let here_address = here.address();
    let words = ["--store", here_address.as_str(), "--to", &address];

    let dry = run(faces.command(
        "nix-copy-closure",
        words.iter().chain(&["--dry-run", &path]),
    ));
    assert!(dry.lines().is_empty());
    assert!(
        dry.stderr.contains(&format!("would copy path '{path}'")),
        "{}",
        dry.stderr
    );
    assert!(there.on_disk(&path).symlink_metadata().is_err());

    let wet = run(faces.command(
        "nix-copy-closure",
        words.iter().chain(&["-s", "--xz", &path]),
    ));
    assert!(wet.lines().is_empty());
    assert!(
        wet.stderr
            .contains("'--xz' is not implemented, falling back to gzip")
    );
    assert!(there.on_disk(&path).symlink_metadata().is_ok());

    let back = run(faces.command("nix-copy-closure", ["--from"]));
    assert_eq!(back.refusal(), "error: no host name specified");
    run(on(&there, ["verify", "--check-contents"])).lines();
}

#[test]
fn host_names_that_ssh_would_take_for_options_are_refused() {
    let faces = Faces::new();
    let here = TempStore::new();
    let path = add_file(&here, "file", "contents");
    let here_address = here.address();
    for host in ["ssh://-oProxyCommand=x", "ssh://a@-x", "ssh://"] {
        let words = ["--store", &here_address, "--to", host, &path];
        let ran = run(faces.command("nix-copy-closure", words));
        assert!(
            ran.refusal().contains("invalid SSH"),
            "{host}: {}",
            ran.stderr
        );
    }
}

#[test]
fn the_self_check_finds_the_user_and_this_host() {
    let ran = run(nix_serve(["--self-check"]));
    assert_eq!(ran.lines(), ["user: ok", "dns: ok"]);
}
