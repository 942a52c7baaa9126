//! `copy`, as a user sees it.

use test_support::TempStore;

use crate::program::{NIX_SERVE, add_file, nix_serve, on, run, served};

#[test]
fn a_closure_goes_and_comes_back() {
    let (here, there, third) = (TempStore::new(), TempStore::new(), TempStore::new());
    let path = add_file(&here, "file", "contents");
    let to = run(on(&here, ["copy", "--to", &served(&there), &path]));
    assert!(to.lines().is_empty(), "stdout is for data");
    assert!(to.stderr.contains("copying 1 paths..."), "{}", to.stderr);
    assert!(
        to.stderr
            .contains(&format!("copying path '{path}' to 'exec:"))
    );
    let from = run(on(&third, ["copy", "--from", &served(&there), &path]));
    assert!(
        from.stderr
            .contains(&format!("copying path '{path}' from 'exec:"))
    );
    assert_eq!(run(on(&third, ["path-info", &path])).line(), path);
    run(on(&third, ["verify", "--check-contents"])).lines();
    let again = run(on(&here, ["copy", "--to", &served(&there), &path]));
    again.lines();
    assert!(!again.stderr.contains("copying"), "{}", again.stderr);
}

#[test]
fn a_summary_can_be_had_as_json() {
    let (here, there) = (TempStore::new(), TempStore::new());
    let path = add_file(&here, "file", "contents");
    let summary = |more: &[&str]| -> serde_json::Value {
        let mut command = on(&here, ["copy", "--json", "--to", &served(&there), &path]);
        command.args(more);
        let ran = run(command);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap()
    };
    let dry = summary(&["--dry-run"]);
    assert_eq!(dry["dryRun"], true);
    assert_eq!(dry["paths"][0]["path"], path.as_str());
    assert!(there.on_disk(&path).symlink_metadata().is_err());
    let wet = summary(&[]);
    assert_eq!(wet["paths"], dry["paths"]);
    assert_eq!(wet["narSize"], 120);
    assert_eq!(summary(&[])["paths"], serde_json::json!([]));
}

#[test]
fn nothing_is_copied_without_its_references_unless_they_are_there() {
    let (here, there) = (TempStore::new(), TempStore::new());
    let (low, high) = chain_of_two(&here);
    let ran = run(on(
        &here,
        ["copy", "--no-recursive", "--to", &served(&there), &high],
    ));
    assert!(ran.refusal().contains(&low), "{}", ran.stderr);
    assert!(there.on_disk(&high).symlink_metadata().is_err());
    run(on(
        &here,
        ["copy", "--no-recursive", "--to", &served(&there), &low],
    ))
    .lines();
    run(on(
        &here,
        ["copy", "--no-recursive", "--to", &served(&there), &high],
    ))
    .lines();
    run(on(&there, ["verify", "--check-contents"])).lines();
}

fn chain_of_two(store: &TempStore) -> (String, String) {
    use test_support::{PathToAdd, ServeSession};
    let address = store.address();
    let words = ["serve", "--write", "--store", &address];
    let mut session = ServeSession::open(nix_serve(words), 7);
    let low = PathToAdd::numbered("a", 1, b"low");
    let high = PathToAdd::numbered("a", 2, b"high").referring_to([&low.path]);
    session.add(&low);
    session.add(&high);
    session.finish_ok();
    (low.path, high.path)
}

#[test]
fn signatures_are_demanded_when_the_configuration_says_so() {
    let (here, there) = (TempStore::new(), TempStore::new());
    let (low, _) = chain_of_two(&there);
    let strict = [
        "copy",
        "--from",
        &served(&there),
        &low,
        "--option",
        "require-sigs",
        "true",
    ];
    let ran = run(on(&here, strict));
    assert!(
        ran.refusal().contains("lacks a signature by a trusted key"),
        "{}",
        ran.stderr
    );
    let addressed = add_file(&there, "file", "contents");
    let strict = [
        "copy",
        "--from",
        &served(&there),
        &addressed,
        "--option",
        "require-sigs",
        "true",
    ];
    run(on(&here, strict)).lines();
}

#[test]
fn what_the_other_side_says_is_shown_with_its_name() {
    let here = TempStore::new();
    let path = add_file(&here, "file", "contents");
    let ran = run(on(
        &here,
        ["copy", "--to", "exec:echo a problem >&2; exit 3", &path],
    ));
    let error = ran.refusal();
    assert!(error.contains("a problem"), "{error}");
}

#[test]
fn a_path_that_is_not_valid_here_is_not_offered() {
    let (here, there) = (TempStore::new(), TempStore::new());
    run(on(&here, ["init"])).lines();
    let unknown = "/nix/store/00000000000000000000000000000000-none";
    let ran = run(on(&here, ["copy", "--to", &served(&there), unknown]));
    assert_eq!(
        ran.refusal(),
        format!("error: path '{unknown}' is not valid")
    );
    let ran = run(on(&here, ["copy", "--from", &served(&there), unknown]));
    assert!(ran.refusal().contains(unknown), "{}", ran.stderr);
}

#[test]
fn a_server_without_write_access_refuses_and_both_sides_say_so() {
    let (here, there) = (TempStore::new(), TempStore::new());
    let path = add_file(&here, "file", "contents");
    run(on(&there, ["init"])).lines();
    let read_only = format!("exec:{NIX_SERVE} serve --store '{}'", there.address());
    let ran = run(on(&here, ["copy", "--to", &read_only, &path]));
    let error = ran.refusal();
    assert!(
        error.contains("--write") && error.contains(&path),
        "{error}"
    );
    assert_eq!(there.names(), [".links"]);
}

#[test]
fn a_local_store_is_no_other_end() {
    let here = TempStore::new();
    let path = add_file(&here, "file", "contents");
    let ran = run(on(&here, ["copy", "--to", "/tmp/elsewhere", &path]));
    assert!(
        ran.refusal().contains("use ssh://HOST or exec:COMMAND"),
        "{}",
        ran.stderr
    );
}
