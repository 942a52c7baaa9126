//! `nix-store --query` and what belongs to it.

use test_support::{PathToAdd, ServeSession, TempStore};

use crate::program::{Faces, nix_serve, on, run};

/// A store with `c` → `b` → `a`, and their paths in this order of letters.
fn chain() -> (TempStore, [String; 3]) {
    let store = TempStore::new();
    let address = store.address();
    let words = ["serve", "--write", "--store", &address];
    let mut session = ServeSession::open(nix_serve(words), 7);
    let a = PathToAdd::numbered("c", 1, b"a");
    let b = PathToAdd::numbered("b", 2, b"b").referring_to([&a.path]);
    let c = PathToAdd::numbered("a", 3, b"c").referring_to([&b.path]);
    for path in [&a, &b, &c] {
        session.add(path);
    }
    session.finish_ok();
    (store, [a.path, b.path, c.path])
}

#[test]
fn answers_come_with_dependencies_first() {
    let faces = Faces::new();
    let (store, [a, b, c]) = chain();
    let query = |words: &[&str]| {
        let mut command = faces.command("nix-store", words);
        command.args(["--store", &store.address()]);
        run(command)
            .lines()
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(query(&["-qR", &c]), [a.as_str(), &b, &c]);
    assert_eq!(query(&["-q", "--references", &c]), [b.as_str()]);
    assert_eq!(query(&["-q", "--referrers", &a]), [b.as_str()]);
    assert_eq!(
        query(&["-q", "--referrers-closure", &a]),
        [a.as_str(), &b, &c]
    );
    assert_eq!(query(&["-q", "--size", &a, &b]), ["120", "120"]);
    assert_eq!(query(&["-q", "--deriver", &a]), ["unknown-deriver"]);
    assert_eq!(
        query(&["-q", &a]),
        [a.as_str()],
        "a path that is no derivation"
    );
    let hash = query(&["-q", "--hash", &a]);
    assert!(
        hash[0].starts_with("sha256:") && hash[0].len() == 7 + 52,
        "{hash:?}"
    );
    let unknown = "/nix/store/00000000000000000000000000000000-none";
    assert_eq!(
        query(&["--check-validity", "--print-invalid", &a, unknown]),
        [unknown]
    );
    assert!(query(&["--check-validity", &a]).is_empty());
}

#[test]
fn an_invalid_path_fails_a_validity_check_with_nixs_words() {
    let faces = Faces::new();
    let (store, _) = chain();
    let unknown = "/nix/store/00000000000000000000000000000000-none";
    let mut command = faces.command("nix-store", ["--check-validity", unknown]);
    command.args(["--store", &store.address()]);
    assert_eq!(
        run(command).refusal(),
        format!("error: path '{unknown}' is not valid")
    );
}

#[test]
fn path_info_shows_sizes_of_archives_and_closures() {
    let (store, [a, b, c]) = chain();
    let ran = run(on(&store, ["path-info", "-rsS", &c]));
    let expected = [
        format!("{a}\t120\t120"),
        format!("{b}\t120\t240"),
        format!("{c}\t120\t360"),
    ];
    assert_eq!(ran.lines(), expected);
}

#[test]
fn path_info_speaks_json() {
    let (store, [_, b, c]) = chain();
    let ran = run(on(&store, ["path-info", "--json", "-S", &c]));
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let info = &json[&c];
    assert_eq!(info["narSize"], 120);
    assert_eq!(info["closureSize"], 360);
    assert_eq!(info["references"], serde_json::json!([b]));
    assert!(info["narHash"].as_str().unwrap().starts_with("sha256-"));
    assert_eq!(json.as_object().unwrap().len(), 1);
}
