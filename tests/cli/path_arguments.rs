//! What may be given where a store path is wanted.

use std::os::unix::fs::symlink;

use test_support::TempStore;

use crate::program::{Faces, add, nix_serve, on, run};

#[test]
fn links_and_parts_mean_the_store_object() {
    let store = TempStore::new();
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("tree");
    std::fs::create_dir_all(tree.join("bin")).unwrap();
    std::fs::write(tree.join("bin/x"), "x").unwrap();
    let path = add(&store, &tree);
    let result = directory.path().join("result");
    symlink(&path, &result).unwrap();
    for argument in [
        path.clone(),
        format!("{path}/bin/x"),
        result.display().to_string(),
        format!("{}/bin", result.display()),
        store.on_disk(&path).display().to_string(),
    ] {
        let ran = run(on(&store, ["path-info", &argument]));
        assert_eq!(ran.line(), path, "{argument}");
    }
}

#[test]
fn a_path_that_is_not_there_or_elsewhere_is_refused_by_name() {
    let store = TempStore::new();
    run(on(&store, ["init"])).lines();
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("none").display().to_string();
    let ran = run(on(&store, ["path-info", &missing]));
    assert!(
        ran.refusal()
            .starts_with(&format!("error: cannot resolve '{missing}': "))
    );
    let ran = run(on(&store, ["path-info", "/etc/hostname"]));
    let start = "error: path '/etc/hostname' is not in the Nix store '/nix/store'";
    assert!(ran.refusal().starts_with(start), "{}", ran.stderr);
    let unknown = "/nix/store/00000000000000000000000000000000-none";
    let ran = run(on(&store, ["path-info", unknown]));
    assert_eq!(
        ran.refusal(),
        format!("error: path '{unknown}' is not valid")
    );
}

#[test]
fn control_characters_of_arguments_stay_visible() {
    let store = TempStore::new();
    run(on(&store, ["init"])).lines();
    let ran = run(on(
        &store,
        ["path-info", "/tmp/\u{1b}]0;title\u{7}\nerror: x"],
    ));
    assert!(
        ran.refusal().contains("\\u{1b}]0;title\\u{7}\\nerror: x"),
        "{}",
        ran.stderr
    );
}

#[test]
fn the_store_path_of_a_link_can_be_asked_for() {
    let faces = Faces::new();
    let directory = tempfile::tempdir().unwrap();
    let path = "/nix/store/00000000000000000000000000000000-none";
    symlink(path, directory.path().join("result")).unwrap();
    let mut command = faces.command("nix-store", ["-q", "--resolve", "result"]);
    command.current_dir(directory.path());
    assert_eq!(run(command).line(), path);
}

#[test]
fn a_remote_store_is_asked_as_well() {
    let store = TempStore::new();
    let path = crate::program::add_file(&store, "file", "contents");
    let address = crate::program::served(&store);
    let ran = run(nix_serve(["path-info", "-rsS", "--store", &address, &path]));
    assert_eq!(ran.line(), format!("{path}\t120\t120"));
    let unknown = "/nix/store/00000000000000000000000000000000-none";
    let ran = run(nix_serve(["path-info", "--store", &address, unknown]));
    assert_eq!(
        ran.refusal(),
        format!("error: path '{unknown}' is not valid")
    );
}
