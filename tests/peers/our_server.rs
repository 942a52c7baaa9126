//! Real Nix as the client, `nix-serve` as the remote program.
//!
//! Every step is first run against the same release's own server. What fails
//! there is listed, and then nothing is asked of ours; what works there has
//! to work with ours and print the same.

use std::collections::BTreeSet;

use test_support::{Corpus, Machine, Peer, TempStore, nar, run, say, with_each_release};

use crate::sides::{Server, assert_copied, outcome, stock};

/// A step's surroundings: `here` is the client, `there` the server.
struct Sides {
    here: Machine,
    there: Machine,
    host: String,
    address: String,
}

/// Where the corpus is before the step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stock {
    Here,
    There,
}

impl Sides {
    fn new(client: &Peer, server: Server<'_>, stocked: &Machine, where_: Stock) -> Self {
        let (here, there) = match where_ {
            Stock::Here => (stocked.copy(), Machine::new()),
            Stock::There => (Machine::new(), stocked.copy()),
        };
        here.install(client);
        server.install(&there);
        let host = here.ssh_to(&there);
        let address = format!("ssh://{host}{}", server.address_suffix());
        Self {
            here,
            there,
            host,
            address,
        }
    }

    fn client(&self, program: &str, arguments: &[&str]) -> Result<Vec<String>, String> {
        outcome(&run(self.here.command(program, arguments)))
    }
}

/// What one client command does.
struct Step {
    name: &'static str,
    stock: Stock,
    /// Runs the command, and gives what it printed.
    act: fn(&Sides, &Corpus) -> Result<Vec<String>, String>,
    /// What has to have been copied to the other side afterwards.
    copied: fn(&Corpus) -> BTreeSet<String>,
    /// Whether each release can do it with its own server, so that a failure
    /// there is one of this test.
    always_works: bool,
}

/// Runs a step with the release's own server, then with ours.
fn try_step(client: &Peer, step: &Step) {
    let salt = step
        .name
        .replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    let (stocked, corpus) = stock(client, &salt);
    let real = run_step(client, Server::Real(client), &stocked, &corpus, step);
    let ours = run_step(client, Server::Ours, &stocked, &corpus, step);
    match (real, ours) {
        (Ok(expected), ours) => {
            let got = ours.unwrap_or_else(|why| panic!("'{}' with nix-serve: {why}", step.name));
            assert_eq!(got, expected, "what '{}' prints", step.name);
        }
        (Err(why), ours) => {
            assert!(
                !step.always_works,
                "'{}' with a real server: {why}",
                step.name
            );
            say(&format!(
                "NIX {} CAN'T '{}' WITH ITS OWN SERVER ({}); with nix-serve: {}",
                client.version(),
                step.name,
                why.lines().last().unwrap_or_default(),
                ours.map_or_else(
                    |why| why.lines().last().unwrap_or_default().to_owned(),
                    |_| "it works".to_owned()
                )
            ));
        }
    }
}

fn run_step(
    client: &Peer,
    server: Server<'_>,
    stocked: &Machine,
    corpus: &Corpus,
    step: &Step,
) -> Result<Vec<String>, String> {
    let sides = Sides::new(client, server, stocked, step.stock);
    let printed = (step.act)(&sides, corpus)?;
    let (from, to) = match step.stock {
        Stock::Here => (&sides.here, &sides.there),
        Stock::There => (&sides.there, &sides.here),
    };
    assert!(
        sides.here.ssh_log().contains("--serve --write"),
        "the client went through ssh: {}",
        sides.here.ssh_log()
    );
    let copied = (step.copied)(corpus);
    if !copied.is_empty() {
        assert_copied(client, from, to, &copied);
    }
    Ok(printed)
}

fn outputs_and_text(corpus: &Corpus) -> BTreeSet<String> {
    let mut paths = corpus.closure.clone();
    paths.insert(corpus.text.clone());
    paths
}

fn nothing(_: &Corpus) -> BTreeSet<String> {
    BTreeSet::new()
}

fn copy_closure_to(client: &Peer) {
    try_step(
        client,
        &Step {
            name: "nix-copy-closure --to",
            stock: Stock::Here,
            act: |sides, corpus| {
                let paths = [corpus.top.as_str(), &corpus.drv, &corpus.text];
                sides.client(
                    "nix-copy-closure",
                    &[&["--to", &sides.host], &paths[..]].concat(),
                )
            },
            copied: Corpus::all,
            always_works: true,
        },
    );
}

fn copy_closure_from(client: &Peer) {
    try_step(
        client,
        &Step {
            name: "nix-copy-closure --from",
            stock: Stock::There,
            act: |sides, corpus| {
                let paths = [corpus.top.as_str(), &corpus.drv, &corpus.text];
                sides.client(
                    "nix-copy-closure",
                    &[&["--from", &sides.host], &paths[..]].concat(),
                )
            },
            copied: Corpus::all,
            always_works: true,
        },
    );
}

fn nix_copy_to(client: &Peer) {
    try_step(
        client,
        &Step {
            name: "nix copy --to ssh://",
            stock: Stock::Here,
            act: |sides, corpus| {
                sides.client(
                    "nix",
                    &["copy", "--to", &sides.address, &corpus.top, &corpus.text],
                )
            },
            copied: outputs_and_text,
            always_works: true,
        },
    );
}

fn nix_copy_from(client: &Peer) {
    try_step(
        client,
        &Step {
            name: "nix copy --from ssh://",
            stock: Stock::There,
            act: |sides, corpus| {
                sides.client(
                    "nix",
                    &["copy", "--from", &sides.address, &corpus.top, &corpus.text],
                )
            },
            copied: outputs_and_text,
            always_works: true,
        },
    );
}

fn path_info_of_closure(client: &Peer) {
    try_step(
        client,
        &Step {
            name: "nix path-info -r --store ssh://",
            stock: Stock::There,
            act: |sides, corpus| {
                let options = ["path-info", "-r", "-s", "--store", &sides.address];
                sides.client("nix", &[&options[..], &[&corpus.top]].concat())
            },
            copied: nothing,
            always_works: true,
        },
    );
}

fn requisites(client: &Peer) {
    try_step(
        client,
        &Step {
            name: "nix-store -qR --store ssh://",
            stock: Stock::There,
            act: |sides, corpus| {
                sides.client(
                    "nix-store",
                    &["-qR", "--store", &sides.address, &corpus.top],
                )
            },
            copied: nothing,
            always_works: false,
        },
    );
}

fn substituter(client: &Peer) {
    try_step(
        client,
        &Step {
            name: "nix-store -r with an ssh:// substituter",
            stock: Stock::There,
            act: |sides, corpus| {
                let option = ["--option", "substituters", &sides.address];
                sides.client(
                    "nix-store",
                    &[&["-r", corpus.top.as_str()], &option[..]].concat(),
                )
            },
            copied: |corpus| corpus.closure.clone(),
            always_works: true,
        },
    );
}

fn second_copy_sends_nothing(client: &Peer) {
    let (stocked, corpus) = stock(client, "second-copy");
    let sides = Sides::new(client, Server::Ours, &stocked, Stock::Here);
    let copy = ["--to", &sides.host, &corpus.top];
    sides
        .client("nix-copy-closure", &copy)
        .expect("the first copy");
    let before = crate::sides::infos(client, &sides.there, &corpus.closure);
    sides
        .client("nix-copy-closure", &copy)
        .expect("the second copy");
    assert_eq!(
        crate::sides::infos(client, &sides.there, &corpus.closure),
        before
    );
    assert_copied(client, &sides.here, &sides.there, &corpus.closure);
}

/// The old name of `nix store verify` is the one that all releases know.
fn remote_verify(client: &Peer) {
    try_step(
        client,
        &Step {
            name: "nix verify -r --store ssh://",
            stock: Stock::There,
            act: |sides, corpus| {
                let options = ["verify", "-r", "--no-trust", "--store", &sides.address];
                sides.client("nix", &[&options[..], &[&corpus.top]].concat())
            },
            copied: nothing,
            always_works: false,
        },
    );
}

/// The old name of `nix store dump-path` is the one that all releases know.
fn remote_dump(client: &Peer) {
    try_step(
        client,
        &Step {
            name: "nix dump-path --store ssh://",
            stock: Stock::There,
            act: |sides, corpus| {
                sides.client(
                    "nix",
                    &["dump-path", "--store", &sides.address, &corpus.top],
                )
            },
            copied: nothing,
            always_works: false,
        },
    );
}

/// The address names a store on the server's side: a chroot store there.
fn remote_store(client: &Peer) {
    let (stocked, corpus) = stock(client, "remote-store");
    let sides = Sides::new(client, Server::Ours, &stocked, Stock::Here);
    let store = TempStore::new();
    let address = format!(
        "ssh://{}?remote-program=nix-serve&remote-store=local%3Froot%3D{}",
        sides.host,
        store.root().display()
    );
    sides
        .client("nix", &["copy", "--to", &address, &corpus.top])
        .unwrap();
    for path in &corpus.closure {
        let [wanted, got] =
            [sides.here.on_disk(path), store.on_disk(path)].map(|at| nar::of_path(&at));
        assert!(wanted == got, "archive of '{path}'");
    }
    assert_eq!(
        sides.there.names(),
        Vec::<String>::new(),
        "the default store"
    );
    store.verify_with(client);
}

/// Many clients bring the same closure at once to a store that isn't there
/// yet. Real servers fail at that now and then; ours may not.
fn clients_at_once(client: &Peer) {
    let (stocked, corpus) = stock(client, "at-once");
    let sides = Sides::new(client, Server::Ours, &stocked, Stock::Here);
    let copy = ["--to", &sides.host, &corpus.top, &corpus.drv];
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| sides.client("nix-copy-closure", &copy)))
            .collect();
        for client in clients {
            client.join().unwrap().unwrap();
        }
    });
    let wanted = &corpus.closure | &corpus.drv_closure;
    assert_copied(client, &sides.here, &sides.there, &wanted);
}

with_each_release!(nix_copy_closure_to: copy_closure_to);
with_each_release!(nix_copy_closure_from: copy_closure_from);
with_each_release!(nix_copy_to_ssh: nix_copy_to);
with_each_release!(nix_copy_from_ssh: nix_copy_from);
with_each_release!(nix_path_info_of_closure: path_info_of_closure);
with_each_release!(nix_store_requisites: requisites);
with_each_release!(ssh_substituter: substituter);
with_each_release!(copying_again: second_copy_sends_nothing);
with_each_release!(nix_verify: remote_verify);
with_each_release!(nix_dump_path: remote_dump);
with_each_release!(remote_store_parameter: remote_store);
with_each_release!(many_clients_on_a_fresh_store: clients_at_once);
