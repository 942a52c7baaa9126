//! What a key gets to know of what others have: nothing.

use std::collections::BTreeSet;

use nix_base::store_path::make::{References, make_content_addressed_path};
use nix_base::{ContentAddress, ContentAddressMethod, Hash, HashAlgo, StoreDir};
use nix_drv::proof::text_hash;
use test_support::{Machine, Message, PathToAdd, Peer, RawLimits, nar, verify_with};

use crate::closure::{Merged, Size, attributes};
use crate::forgeries::bring_sources;
use crate::imports::{paths_of, write_policy};
use crate::proofs::{Client, Request, requests, sources};
use crate::site::{confined, newest, stocked};

/// The command that asks which texts of proofs are missing.
const QUERY_PROOF_TEXTS: u64 = 0x100;

/// Where one key has built everything and another one nothing.
struct Site {
    peer: &'static Peer,
    here: Machine,
    there: Machine,
    requests: Vec<Request>,
}

impl Site {
    fn new(shapes: &str) -> Option<Self> {
        let peer = newest()?;
        let (here, drvs) = stocked(peer, shapes);
        let there = confined();
        let requests = requests(&here, &drvs["top"]);
        let mut alice = Client::new(&there, "alice");
        bring_sources(&mut alice, &here, &requests);
        let files: BTreeSet<String> = requests.iter().map(|one| one.drv_path.clone()).collect();
        let mut files = paths_of(&here, &files);
        files.sort_by_key(|file| requests.iter().position(|one| one.drv_path == file.path));
        for file in files {
            alice.add(&file.request()).unwrap();
        }
        for request in &requests {
            alice.build(&request.with_proof()).unwrap();
        }
        // What a server knows of a key it writes at the latest when the key goes away.
        alice.leave();
        Some(Self {
            peer,
            here,
            there,
            requests,
        })
    }

    fn top(&self) -> &Request {
        self.requests.last().unwrap()
    }
}

/// A path that nobody has, of the same length as one that somebody has.
fn absent(path: &str) -> String {
    format!("/nix/store/{}{}", "0".repeat(32), &path[43..])
}

/// All that a stranger can ask or try of a path, and what comes of each.
fn probe(client: &mut Client<'_>, path: &str, request: &Request) -> Vec<(&'static str, String)> {
    let mut seen = Vec::new();
    let session = client.session();
    let valid = session.query_valid_paths(true, false, [path]);
    seen.push(("valid", format!("{valid:?}")));
    let valid = session.query_valid_paths(false, true, [path]);
    seen.push(("substitutable", format!("{valid:?}")));
    seen.push(("infos", format!("{:?}", session.query_path_infos([path]))));
    for (what, message) in [
        ("closure", Message::query_closure(true, [path])),
        ("dump", Message::dump_store_path(path)),
        ("export", Message::new().u64(5).u64(0).strings([path])),
    ] {
        client.session().send(&message);
        seen.push((what, client.outcome()));
    }
    let added = client.add(&referring_to(path).request());
    seen.push(("a reference", format!("{added:?}")));
    let mut with_input = request.clone();
    with_input.drv.input_srcs = vec![path.to_owned()];
    with_input.proof.sources = vec![path.to_owned()];
    with_input.proof.inputs.clear();
    let built = client.build(&with_input.with_proof());
    seen.push(("an input", format!("{built:?}")));
    let built = client.build_paths(path, &RawLimits::default());
    seen.push(("building it", format!("{built:?}")));
    seen
}

/// A text that names a path, at the path that follows from both.
fn referring_to(path: &str) -> PathToAdd {
    let dir = StoreDir::default();
    let text = path.as_bytes();
    let ca = ContentAddress {
        method: ContentAddressMethod::Text,
        hash: Hash::of(HashAlgo::Sha256, text),
    };
    let references = References {
        others: [dir.parse(path.as_bytes()).unwrap()].into(),
        ..References::default()
    };
    let own = make_content_addressed_path(&dir, &ca, &references, &"note".parse().unwrap());
    let mut note = PathToAdd::from_nar(dir.print(&own.unwrap()), nar::regular(text));
    note.ca = ca.to_string();
    note.referring_to([path])
}

#[test]
fn what_others_have_looks_like_what_nobody_has() {
    let Some(site) = Site::new(&attributes(Size::SMALL, Merged::Yes)) else {
        return;
    };
    let mut bob = Client::new(&site.there, "bob");
    let source = sources(&site.requests).pop_first().unwrap();
    let (top, file) = (
        site.top().outputs().pop_first().unwrap(),
        &site.top().drv_path,
    );
    for path in [&source, &top, file] {
        let absent = absent(path);
        let hidden = probe(&mut bob, path, &site.requests[0]);
        let nothing = probe(&mut bob, &absent, &site.requests[0]);
        for ((what, hidden), (_, nothing)) in hidden.iter().zip(&nothing) {
            // The note that refers to it has another path of its own.
            let plain = |text: &str, path: &str| without_hashes(&text.replace(path, "IT"));
            assert_eq!(
                plain(hidden, path),
                plain(nothing, &absent),
                "{what} of '{path}'"
            );
        }
    }
    let mut alice = Client::new(&site.there, "alice");
    let seen = probe(&mut alice, &source, &site.requests[0]);
    assert!(seen[0].1.contains(&source), "its owner sees it: {seen:?}");
}

/// A text with hash parts of store paths, sizes of processes and the like taken out.
fn without_hashes(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("/nix/store/") {
        plain.push_str(&rest[..at]);
        plain.push_str("/nix/store/HASH");
        rest = rest.get(at + 43..).unwrap_or_default();
    }
    plain + rest
}

#[test]
fn texts_that_others_showed_are_missing() {
    let Some(site) = Site::new(&attributes(Size::SMALL, Merged::Yes)) else {
        return;
    };
    let inputs = site.requests.iter().flat_map(|one| &one.proof.inputs);
    let hashes: BTreeSet<[u8; 32]> = inputs.map(|input| text_hash(&input.text)).collect();
    for (key, missing) in [("alice", 0), ("bob", hashes.len() as u64)] {
        let mut client = Client::new(&site.there, key);
        let session = client.session();
        let mut message = Message::new()
            .u64(QUERY_PROOF_TEXTS)
            .u64(hashes.len() as u64);
        for hash in &hashes {
            message.raw(hash);
        }
        session.send(&message);
        assert_eq!(session.read_u64(), missing, "texts that {key} has to send");
    }
}

const CHANCE: &str = r#"
top = make "top" { } "echo words of the builder; $b cat /proc/sys/kernel/random/uuid > $out";
"#;

#[test]
fn a_build_of_another_key_is_done_again_and_changes_nothing() {
    let Some(site) = Site::new(CHANCE) else {
        return;
    };
    let top = site.top();
    let output = top.outputs().pop_first().unwrap();
    let before = nar::of_path(&site.there.on_disk(&output));
    let mut bob = Client::new(&site.there, "bob");
    bring_sources(&mut bob, &site.here, &site.requests);
    let built = bob.build(&top.with_proof()).unwrap();
    assert_eq!((built.status, built.times_built), (0, 1), "{built:?}");
    let again = bob.build(&top.with_proof()).unwrap();
    assert_eq!(again.status, 2, "now it is there: {again:?}");
    bob.leave_and_hear(|said| {
        assert_eq!(said.matches("words of the builder").count(), 1, "{said}")
    });
    assert_eq!(nar::of_path(&site.there.on_disk(&output)), before);
    verify_with(site.peer, &site.there);
}

#[test]
fn what_is_there_already_is_taken_in_whole_or_not_at_all() {
    let Some(peer) = newest() else { return };
    let there = confined();
    let own = PathToAdd::added_file("own", b"what alice brought");
    let mut alice = Client::new(&there, "alice");
    alice.add(&own.request()).unwrap();
    alice.leave();
    let mut bob = Client::new(&there, "bob");
    let mut other = own.clone();
    other.nar = nar::regular(b"what bob w0uld like");
    other.nar_size = other.nar.len() as u64;
    assert!(
        bob.add(&other.request()).is_err(),
        "only its name was known"
    );
    let mut other = own.clone();
    *other.nar.iter_mut().rev().nth(40).unwrap() ^= 1;
    assert!(bob.add(&other.request()).is_err(), "a byte was not");
    let valid = bob.session().query_valid_paths(false, false, [&own.path]);
    assert_eq!(valid, BTreeSet::new());
    bob.add(&own.request()).unwrap();
    let valid = bob.session().query_valid_paths(false, false, [&own.path]);
    assert_eq!(valid.len(), 1);
    bob.leave();
    assert_eq!(nar::of_path(&there.on_disk(&own.path)), own.nar);
    verify_with(peer, &there);
}

#[test]
fn an_exposed_closure_is_seen_and_nothing_else() {
    let Some(site) = Site::new(&attributes(Size::SMALL, Merged::Yes)) else {
        return;
    };
    let shown = site
        .requests
        .iter()
        .find(|one| one.drv_path.ends_with("-c2.drv"));
    let shown = shown.unwrap().outputs().pop_first().unwrap();
    write_policy(
        &site.there,
        &format!("[key.carol]\nallow = [\"query\", \"dump\"]\nexpose = [\"{shown}\"]\n"),
    );
    let mut carol = Client::new(&site.there, "carol");
    let session = carol.session();
    let closure = session.query_closure(true, [&shown]);
    let all: BTreeSet<String> = site.requests.iter().flat_map(Request::outputs).collect();
    let all = &(&all | &sources(&site.requests)) | &closure;
    assert_eq!(session.query_valid_paths(false, false, &all), closure);
    // c2 names c1, which names c0; the builder of all three is in no output.
    assert_eq!(closure.len(), 3, "{closure:?}");
}
