//! Ways around the rules that need no forgery: what honest output paths say nothing about.

use test_support::{Machine, Message, PathToAdd, command, verify_with};

use crate::imports::paths_of;
use crate::proofs::{Client, Request, requests, sources};
use crate::site::{confined, newest, stocked};

/// A derivation of these shapes as a request, with its sources there for a key.
fn ready(client: &mut Client<'_>, here: &Machine, drv: &str) -> Request {
    let request = requests(here, drv).pop().unwrap();
    for source in paths_of(here, &sources(std::slice::from_ref(&request))) {
        client.add(&source.request()).unwrap();
    }
    request
}

const PLAIN: &str = r#"
top = make "top" { } "echo words of the builder; echo it > $out";
"#;

/// Only the name in a derivation's path takes part in the output paths.
#[test]
fn a_made_up_derivation_is_neither_deriver_nor_name_of_a_log() {
    let Some(peer) = newest() else { return };
    let (here, drvs) = stocked(peer, PLAIN);
    let there = confined();
    let mut client = Client::new(&there, "bob");
    let mut request = ready(&mut client, &here, &drvs["top"]);
    let made_up = format!("/nix/store/{}-top.drv", "0".repeat(32));
    request.drv_path.clone_from(&made_up);
    client.build(&request.with_proof()).unwrap();
    let output = request.outputs().pop_first().unwrap();
    client.leave();
    let database = rusqlite::Connection::open(there.path("nix/var/nix/db/db.sqlite")).unwrap();
    let deriver: Option<String> = database
        .query_row(
            "select deriver from ValidPaths where path = ?",
            [&output],
            |row| row.get(0),
        )
        .unwrap();
    assert_ne!(deriver, Some(made_up));
    let log = there
        .path("nix/var/log/nix/drvs/00")
        .join("000000000000000000000000000000-top.drv.bz2");
    assert!(log.symlink_metadata().is_err(), "a log by a made-up name");
    verify_with(peer, &there);
}

/// A builder may have the closures of its inputs written down, and of nothing else.
#[test]
fn references_of_what_others_have_are_not_exported() {
    let Some(peer) = newest() else { return };
    let there = confined();
    let owned = PathToAdd::added_file("owned", b"alice's");
    let mut alice = Client::new(&there, "alice");
    alice.add(&owned.request()).unwrap();
    alice.leave();
    let absent = format!("/nix/store/{}-owned", "0".repeat(32));
    let outcomes = [&owned.path, &absent].map(|path| {
        let shape = format!(
            "top = make \"top\" {{ graph = [ \"g\" \"{path}\" ]; exportReferencesGraph = \
             [ \"graph\" \"{path}\" ]; }} \"$b cat graph > $out\";"
        );
        let (here, drvs) = stocked(peer, &shape);
        let mut bob = Client::new(&there, "bob");
        let request = ready(&mut bob, &here, &drvs["top"]);
        let said = bob.build(&request.plain()).expect_err("no input of it");
        said.replace(path.as_str(), "IT")
    });
    let plain = |text: &str| text.replace(|letter: char| letter.is_ascii_digit(), "0");
    let [owned, absent] = outcomes.map(|text| {
        let words = text
            .split_whitespace()
            .filter(|word| !word.contains("/nix/store/"));
        plain(&words.collect::<Vec<_>>().join(" "))
    });
    assert_eq!(owned, absent);
}

const LOOSENED: &str = r#"
structured = make "structured" { __structuredAttrs = true; __noChroot = true; } "exit 0";
features = make "features" {
  __structuredAttrs = true; requiredSystemFeatures = [ "kvm" ];
} "exit 0";
host = make "host" { __impureHostDeps = [ "/etc/passwd" ]; } "echo > $out";
recursive = make "recursive" { requiredSystemFeatures = [ "recursive-nix" ]; } "echo > $out";
uids = make "uids" { requiredSystemFeatures = [ "uid-range" ]; } "echo > $out";
"#;

#[test]
fn no_attribute_loosens_the_sandbox() {
    let Some(peer) = newest() else { return };
    let (here, drvs) = stocked(peer, LOOSENED);
    let there = confined();
    let lax = [
        "--option",
        "sandbox",
        "relaxed",
        "--option",
        "system-features",
        "kvm recursive-nix uid-range",
    ];
    let mut client = Client::new(&there, "bob").told(&lax);
    for (name, drv) in &drvs {
        let request = ready(&mut client, &here, drv);
        let said = client.build(&request.plain());
        let said = said.expect_err(&format!("'{name}' was built"));
        // What the server hasn't got for this client is said in Nix's words.
        let is_refusal = said.contains("SEC-32") || said.contains("is required to build");
        assert!(is_refusal, "'{name}': {said}");
    }
    verify_with(peer, &there);
}

#[test]
fn export_streams_are_refused_unread() {
    if newest().is_none() {
        return;
    }
    let there = confined();
    let mut client = Client::new(&there, "bob");
    client
        .session()
        .send(&Message::new().u64(command::IMPORT_PATHS));
    let said = client.outcome();
    assert!(said.contains("SEC-21"), "{said}");
}

const FLOATING: &str = r#"
top = make "top" {
  __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256";
} "echo honest > $out";
"#;

/// What a content-addressed derivation was found to make is only said of the one that was built.
#[test]
fn no_realisation_is_recorded_for_another_derivation() {
    let Some(peer) = newest() else { return };
    let (here, drvs) = stocked(peer, FLOATING);
    let there = confined();
    let features = [
        "--option",
        "experimental-features",
        "nix-command ca-derivations",
    ];
    let mut client = Client::new(&there, "bob").told(&features);
    let honest = ready(&mut client, &here, &drvs["top"]);
    let mut forged = honest.clone();
    let script = forged.drv.args.last_mut().unwrap();
    *script = script.replace("honest", "forged");
    client.build(&forged.plain()).unwrap();
    let [one, other] = [&forged, &honest].map(|request| {
        let built = client.build(&request.plain()).unwrap().built_outputs;
        assert_eq!(built.len(), 1, "{built:?}");
        let (key, json) = built.into_iter().next().unwrap();
        (key, json)
    });
    assert_ne!(
        one.0, other.0,
        "the derivation is what counts, not its path"
    );
    assert_ne!(one.1, other.1);
    client.leave();
    let database = rusqlite::Connection::open(there.path("nix/var/nix/db/db.sqlite")).unwrap();
    let recorded: i64 = database
        .query_row(
            "select count(distinct drvPath) from Realisations",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(recorded, 2);
    verify_with(peer, &there);
}
