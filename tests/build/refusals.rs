//! What can't be built as asked for, besides what `direct` has: the answer is real Nix's, other
//! builds go on, and nothing is left at a final path.

use std::collections::BTreeMap;

use test_support::{
    Machine, Peer, RawDrv, RawLimits, Workshop, run, with_each_release, without_colours,
};

use crate::site::{Builder, CONFINED, confined, ours, stocked};

/// A machine with these derivations, and the file of each read.
fn stock(
    maker: &Peer,
    attributes: &str,
) -> (Machine, BTreeMap<String, String>, BTreeMap<String, RawDrv>) {
    let (machine, paths) = stocked(maker, attributes);
    let drvs = paths
        .iter()
        .map(|(name, path)| (name.clone(), RawDrv::read(&machine.on_disk(path))))
        .collect();
    (machine, paths, drvs)
}

#[track_caller]
fn assert_nothing_left(machine: &Machine, drv: &RawDrv) {
    for output in &drv.outputs {
        let left = machine.on_disk(&output[1]).symlink_metadata();
        assert!(left.is_err(), "'{}' was left behind", output[1]);
    }
}

#[test]
fn attributes_that_are_no_json_are_refused() {
    // Later releases don't instantiate it.
    let Some(peer) = Peer::on_machines("2.8") else {
        return;
    };
    let shapes = r#"
        bad = make "bad" { __json = "{ this is no JSON"; } "echo > $out";
        good = make "good" { } "echo > $out";
    "#;
    let (machine, paths, drvs) = stock(peer, shapes);
    for builder in [Builder::Real(peer), Builder::Ours] {
        let mut session = builder.session(&machine);
        let result = session.build(&paths["bad"], &drvs["bad"], &RawLimits::default());
        let said = without_colours(&result.error);
        assert_eq!(result.status, 9, "{builder:?}: {said}");
        assert!(said.contains("__json"), "{builder:?}: {said}");
        assert_nothing_left(&machine, &drvs["bad"]);
        let good = session.build(&paths["good"], &drvs["good"], &RawLimits::default());
        assert!(good.is_success(), "{builder:?}: {good:?}");
        session.finish_ok();
    }
}

/// Inputs that a request names without their being valid are named in the answer.
fn an_invalid_source_is_named(builder: Builder<'_>) {
    let Some(peer) = crate::site::newest() else {
        return;
    };
    let (machine, paths, mut drvs) = stock(peer, r#"lone = make "lone" { } "echo > $out";"#);
    let absent = "/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-absent";
    let drv = drvs.get_mut("lone").unwrap();
    drv.input_srcs.push(absent.to_owned());
    let mut session = builder.session(&machine);
    let result = session.build(&paths["lone"], drv, &RawLimits::default());
    assert_eq!(result.status, 9, "{result:?}");
    assert!(result.error.contains(absent), "{result:?}");
    assert_nothing_left(&machine, drv);
    drv.input_srcs.pop();
    let result = session.build(&paths["lone"], drv, &RawLimits::default());
    assert_eq!(result.status, 0, "{result:?}");
    session.finish_ok();
}

#[test]
fn an_invalid_source_is_named_by_ours() {
    an_invalid_source_is_named(Builder::Ours);
}

fn invalid_source(peer: &Peer) {
    an_invalid_source_is_named(Builder::Real(peer));
}

with_each_release!(an_invalid_source_is_named_by_real_nix: invalid_source);

/// A `.drv` file that isn't what it was: cut off, or with outputs that don't follow from it.
#[test]
fn derivations_that_do_not_match_their_paths_are_refused() {
    let Some(peer) = crate::site::newest() else {
        return;
    };
    let shapes = r#"
        cut = make "cut" { } "echo > $out";
        empty = make "empty" { } "echo > $out";
        swapped = make "swapped" { } "echo > $out";
        good = make "good" { } "echo > $out";
    "#;
    let (machine, paths, drvs) = stock(peer, shapes);
    let change = |name: &str, change: &dyn Fn(&str) -> String| {
        let file = machine.on_disk(&paths[name]);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, change(&text)).unwrap();
    };
    change("cut", &|text| text[..text.len() / 2].to_owned());
    change("empty", &|_| String::new());
    let honest = drvs["swapped"].output("out");
    let other = "/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-swapped";
    change("swapped", &|text| text.replace(honest, other));
    for builder in [Builder::Real(peer), Builder::Ours] {
        let copy = machine.copy();
        copy.configure(CONFINED);
        let mut session = builder.session(&copy);
        for (name, words) in [
            ("cut", "error parsing derivation"),
            ("empty", "error parsing derivation"),
            // Real Nix looks for the output that is registered for it.
            ("swapped", ""),
        ] {
            let (code, said) = session.build_paths([&paths[name]], &RawLimits::default());
            let said = without_colours(&said);
            assert_eq!(code, 1, "{builder:?}: {name}: {said}");
            assert!(said.contains(words), "{builder:?}: {said}");
            assert!(said.contains(&paths[name]), "{builder:?}: {said}");
            assert_nothing_left(&copy, &drvs[name]);
        }
        assert!(
            copy.on_disk(other).symlink_metadata().is_err(),
            "{builder:?}"
        );
        let (code, said) = session.build_paths([&paths["good"]], &RawLimits::default());
        assert_eq!(code, 0, "{said}");
        session.finish_ok();
    }
}

/// A request that differs from the derivation at its path: the newest expects the outputs of
/// the file, older ones and ours those of the request.
#[test]
fn a_request_that_differs_from_its_derivation() {
    let Some(peer) = crate::site::newest() else {
        return;
    };
    let shapes = r#"
        one = make "one" { more = "y"; } "echo $more > $out";
        other = make "one" { more = "x"; } "echo $more > $out";
    "#;
    let (machine, _, _) = stock(peer, shapes);
    let mut files: Vec<String> = machine.names();
    files.retain(|name| name.ends_with("-one.drv"));
    let paths: Vec<String> = files
        .iter()
        .map(|name| format!("/nix/store/{name}"))
        .collect();
    let drv = RawDrv::read(&machine.on_disk(&paths[1]));
    let more = drv.env.iter().find(|(name, _)| name == "more").unwrap();
    let contents = format!("{}\n", more.1);
    let old = Peer::on_machines("2.8").into_iter().map(Builder::Real);
    for builder in old.chain([Builder::Ours]) {
        let copy = machine.copy();
        copy.configure(CONFINED);
        let mut session = builder.session(&copy);
        let result = session.build(&paths[0], &drv, &RawLimits::default());
        assert_eq!(result.status, 0, "{builder:?}: {result:?}");
        let output = copy.on_disk(drv.output("out"));
        assert_eq!(
            std::fs::read(output).unwrap(),
            contents.as_bytes(),
            "{builder:?}"
        );
        session.finish_ok();
    }
    let mut session = Builder::Real(peer).session(&machine);
    let result = session.build(&paths[0], &drv, &RawLimits::default());
    let wanted = if peer.is_at_least(2, 34) { 5 } else { 0 };
    assert_eq!(result.status, wanted, "{result:?}");
    session.finish_ok();
}

/// A name that doesn't end in `.drv` ends the connection.
fn a_path_that_is_no_derivation(builder: Builder<'_>) {
    let Some(peer) = crate::site::newest() else {
        return;
    };
    let (machine, paths, drvs) = stock(peer, r#"lone = make "lone" { } "echo > $out";"#);
    let mut session = builder.session(&machine);
    let other = paths["lone"].replace(".drv", "");
    session.send(&drvs["lone"].request(&other, &RawLimits::default(), 7));
    assert!(session.at_end(), "{builder:?} answers");
    let ended = session.finish();
    assert!(!ended.status.success(), "{builder:?}");
    assert_nothing_left(&machine, &drvs["lone"]);
}

#[test]
fn a_path_that_is_no_derivation_ends_the_connection() {
    if let Some(peer) = crate::site::newest() {
        a_path_that_is_no_derivation(Builder::Real(peer));
        a_path_that_is_no_derivation(Builder::Ours);
    }
}

/// Building without `--write` is refused before anything is read.
#[test]
fn a_server_that_only_reads_does_not_build() {
    let Some(peer) = crate::site::newest() else {
        return;
    };
    let (machine, paths, drvs) = stock(peer, r#"lone = make "lone" { } "echo > $out";"#);
    let limits = RawLimits::default();
    for request in [
        drvs["lone"].request(&paths["lone"], &limits, 7),
        limits.build_paths([&paths["lone"]], 7),
    ] {
        for command in [
            machine.nix_store(peer, ["--serve"]),
            machine.command(ours(), ["serve"]),
        ] {
            let mut session = test_support::ServeSession::open(command, 7);
            // It may be gone before all is sent.
            let _ = session.try_send(request.as_bytes());
            let ended = session.finish();
            assert!(!ended.status.success());
            let said = &ended.stderr;
            assert!(said.contains("building paths is not allowed"), "{said}");
        }
    }
    assert_nothing_left(&machine, &drvs["lone"]);
}

/// On a full disk the answer is that another try may succeed.
fn a_full_disk_is_transient(builder: Builder<'_>) {
    let Some(peer) = crate::site::newest() else {
        return;
    };
    let shapes = r#"
        fills = make "fills" { } "$b dd if=/dev/zero of=file bs=1M count=64; echo > $out";
        good = make "good" { } "echo > $out";
    "#;
    let (machine, paths, drvs) = stock(peer, shapes);
    let small = machine.path("small");
    std::fs::create_dir(&small).unwrap();
    machine.configure(&format!("{CONFINED}build-dir = {}\n", small.display()));
    let server = builder.server(&machine);
    // The mount is gone with the namespace that it is in.
    let mut words: Vec<std::ffi::OsString> = vec![
        "-c".into(),
        "mount -t tmpfs -o size=12m,mode=755 tmpfs \"$0\" && TMPDIR=\"$0\" exec \"$@\"".into(),
        small.into(),
        server.get_program().to_owned(),
    ];
    words.extend(server.get_args().map(ToOwned::to_owned));
    let mut confined = std::process::Command::new("unshare");
    confined.args(["--mount", "--propagation", "private", "sh"]);
    confined.args(words).env_clear();
    for (name, value) in server.get_envs() {
        confined.env(name, value.unwrap_or_default());
    }
    let mut session = test_support::ServeSession::open(confined, 7);
    let result = session.build(&paths["fills"], &drvs["fills"], &RawLimits::default());
    assert_eq!(result.status, 6, "{builder:?}: {result:?}");
    let note = "note: build failure may have been caused by lack of free disk space";
    assert!(result.error.contains(note), "{builder:?}: {result:?}");
    assert_nothing_left(&machine, &drvs["fills"]);
    let result = session.build(&paths["good"], &drvs["good"], &RawLimits::default());
    assert_eq!(result.status, 0, "{builder:?}: {result:?}");
    session.finish_ok();
}

#[test]
fn a_full_disk_is_transient_with_ours() {
    a_full_disk_is_transient(Builder::Ours);
}

fn full_disk(peer: &Peer) {
    a_full_disk_is_transient(Builder::Real(peer));
}

with_each_release!(a_full_disk_is_transient_with_real_nix since 2.8: full_disk);

/// Automatic user ids that are all taken, or a range that doesn't hold one: the build waits or
/// fails with words, and never runs as root.
#[test]
fn without_user_ids_nothing_runs() {
    let Some(peer) = crate::site::newest() else {
        return;
    };
    let (machine, paths, drvs) = stock(peer, r#"lone = make "lone" { } "echo > $out";"#);
    machine.configure(&format!(
        "{CONFINED}auto-allocate-uids = true\nstart-id = 872415232\nid-count = 0\n"
    ));
    let mut session = Builder::Ours.session(&machine);
    let result = session.build(&paths["lone"], &drvs["lone"], &RawLimits::default());
    assert!(!result.is_success(), "{result:?}");
    assert!(result.error.contains("id"), "{result:?}");
    assert_nothing_left(&machine, &drvs["lone"]);
    session.finish_ok();
}

/// A group without members gives nobody to build as.
#[test]
fn a_users_group_that_is_not_there_is_named() {
    let Some(peer) = crate::site::newest() else {
        return;
    };
    let (machine, paths, drvs) = stock(peer, r#"lone = make "lone" { } "echo > $out";"#);
    let text = std::fs::read_to_string(machine.path("conf/nix.conf")).unwrap();
    let text = text.replace(
        "build-users-group =",
        "build-users-group = nobody-has-this-group",
    );
    std::fs::write(machine.path("conf/nix.conf"), text).unwrap();
    for builder in [Builder::Real(peer), Builder::Ours] {
        let mut session = builder.session(&machine);
        let result = session.build(&paths["lone"], &drvs["lone"], &RawLimits::default());
        let said = without_colours(&result.error);
        assert_eq!(result.status, 9, "{builder:?}: {said}");
        let words =
            "the group 'nobody-has-this-group' specified in 'build-users-group' does not exist";
        assert!(said.contains(words), "{builder:?}: {said}");
        assert_nothing_left(&machine, &drvs["lone"]);
        session.finish_ok();
    }
}

/// A cycle between `.drv` files can't be made honestly; one of files that lie is found.
#[test]
fn a_failing_input_is_reported_once_with_what_depended_on_it() {
    let Some(peer) = crate::site::newest() else {
        return;
    };
    let shapes = r#"
        broken = make "broken" { } "echo cause; exit 7";
        left = make "left" { inherit broken; } "echo > $out";
        right = make "right" { inherit broken; } "echo > $out";
        top = make "top" { inherit left right; } "echo > $out";
        other = make "other" { } "echo > $out";
    "#;
    let machine = confined();
    let drvs = Workshop::new(&machine, peer).instantiate(shapes);
    for builder in [Builder::Real(peer), Builder::Ours] {
        let copy = machine.copy();
        copy.configure(CONFINED);
        let words = ["-r", "--keep-going", &drvs["top"], &drvs["other"]];
        let output = run(builder.nix_store(&copy, &words));
        let said = without_colours(&String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(100), "{builder:?}: {said}");
        assert_eq!(
            said.matches("exit code 7").count(),
            1,
            "{builder:?}: {said}"
        );
        for name in ["left", "right", "top"] {
            let drv = RawDrv::read(&copy.on_disk(&drvs[name]));
            assert_nothing_left(&copy, &drv);
        }
        let other = RawDrv::read(&copy.on_disk(&drvs["other"]));
        assert!(
            copy.on_disk(other.output("out")).symlink_metadata().is_ok(),
            "{builder:?}: the other build was hurt: {said}"
        );
    }
}
