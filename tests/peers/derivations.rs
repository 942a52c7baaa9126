//! Derivations of real Nix on their way into our store: the right ones are taken with the
//! same outputs, the others refused like there.

use std::collections::BTreeSet;
use std::process::Output;

use nix_base::{ContentAddress, ContentAddressMethod, Hash, HashAlgo, StoreDir};
use nix_drv::{Derivation, DerivationOutput, Strictness};
use test_support::{Corpus, Machine, PathToAdd, Peer, nar, run, run_ok, with_each_release};

use crate::sides::{Server, ours, ours_on, stock};

/// A row of the table `DerivationOutputs`: derivation, output, path.
type Row = (String, String, String);

fn rows(machine: &Machine) -> BTreeSet<Row> {
    let database = rusqlite::Connection::open(machine.path("nix/var/nix/db/db.sqlite")).unwrap();
    let mut query = database
        .prepare(
            "select v.path, o.id, o.path from DerivationOutputs o
             join ValidPaths v on v.id = o.drv",
        )
        .unwrap();
    query
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

/// Runs our `nix-store` on `input`.
fn run_with_input(machine: &Machine, operation: &str, input: &[u8]) {
    machine.link("nix-store", ours());
    let file = machine.path("home/input");
    std::fs::write(&file, input).unwrap();
    let words = [
        "-c".as_ref(),
        r#"exec nix-store "$0" <"$1""#.as_ref(),
        operation.as_ref(),
        file.as_os_str(),
    ];
    run_ok(machine.command("sh", words));
}

/// What a release's command printed.
fn printed(machine: &Machine, peer: &Peer, words: &[&str]) -> Vec<u8> {
    let Output { status, stdout, .. } = run(machine.nix_store(peer, words));
    assert!(status.success(), "{words:?}");
    stdout
}

fn right_ones_are_taken(peer: &Peer) {
    let (theirs, corpus) = stock(peer, "right-derivations");
    theirs.install(peer);
    let expected = rows(&theirs);
    assert!(expected.len() >= 3, "{expected:?}");

    let copied = Machine::new();
    let address = format!(
        "exec:{} nix-store --serve --write",
        theirs.enter().display()
    );
    run_ok(ours_on(&copied, ["copy", "--from", &address, &corpus.drv]));
    assert_eq!(rows(&copied), expected, "copied");

    let sent = Machine::new();
    let address = format!("exec:{} nix-serve --serve --write", sent.enter().display());
    sent.link("nix-serve", ours());
    run_ok(ours_on(&theirs, ["copy", "--to", &address, &corpus.drv]));
    assert_eq!(rows(&sent), expected, "sent");

    let imported = Machine::new();
    let list = run_ok(theirs.nix_store(peer, ["-qR", corpus.drv.as_str()]));
    let words: Vec<&str> = std::iter::once("--export")
        .chain(list.iter().map(String::as_str))
        .collect();
    run_with_input(&imported, "--import", &printed(&theirs, peer, &words));
    assert_eq!(rows(&imported), expected, "imported");

    let loaded = theirs.copy();
    std::fs::remove_dir_all(loaded.path("nix/var/nix/db")).unwrap();
    run_ok(ours_on(&loaded, ["init"]));
    run_with_input(
        &loaded,
        "--load-db",
        &printed(&theirs, peer, &["--dump-db"]),
    );
    assert_eq!(rows(&loaded), expected, "loaded");
}

/// The derivation of the corpus with another path for its output, as an honest object:
/// its own path and content address are right.
fn with_wrong_output(machine: &Machine, corpus: &Corpus) -> (PathToAdd, String) {
    let store = StoreDir::default();
    let path = store.parse(&corpus.drv).unwrap();
    let text = std::fs::read(machine.on_disk(&corpus.drv)).unwrap();
    let mut drv = Derivation::parse_file(&text, &store, &path, Strictness::Strict).unwrap();
    let wrong = "/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-made-up";
    for (name, output) in &mut drv.basic.outputs {
        *output = DerivationOutput::InputAddressed(store.parse(wrong).unwrap());
        drv.basic.env.insert(name.as_str().into(), wrong.into());
    }
    let text = drv.to_aterm(&store).unwrap();
    let path = store.print(&drv.store_path(&store).unwrap());
    let references = drv.references();
    let mut object = PathToAdd::from_nar(path, nar::regular(&text))
        .referring_to(references.iter().map(|path| store.print(path)));
    let hash = Hash::of(HashAlgo::Sha256, &text);
    let method = ContentAddressMethod::Text;
    object.ca = ContentAddress { method, hash }.to_string();
    (object, wrong.to_owned())
}

fn wrong_ones_are_refused(peer: &Peer) {
    let (stocked, corpus) = stock(peer, "wrong-derivation");
    let (object, wrong) = with_wrong_output(&stocked, &corpus);
    for server in [Server::Real(peer), Server::Ours] {
        let there = stocked.copy();
        let before = rows(&there);
        let mut session = server.session(&there);
        session.send(&object.request());
        assert!(session.at_end(), "{server:?} acknowledged it");
        let ended = session.finish();
        assert!(!ended.status.success(), "{server:?}");
        let said = format!("has incorrect output '{wrong}', should be '{}'", corpus.top);
        assert!(ended.stderr.contains(&said), "{server:?}: {}", ended.stderr);
        assert_eq!(rows(&there), before, "{server:?}");
        let mut session = server.session(&there);
        let valid = session.query_valid_paths(false, false, [&object.path]);
        assert!(valid.is_empty(), "{server:?}");
        session.finish_ok();
    }
}

with_each_release!(right_derivations: right_ones_are_taken);
with_each_release!(wrong_derivations: wrong_ones_are_refused);
