//! The same derivations built by real Nix and by ours: the same trees, the same rows.

use std::collections::BTreeSet;

use test_support::{Machine, Peer, RawDrv, Workshop, nar, run, say, verify_with};

use crate::generate;
use crate::site::{Builder, CONFINED, confined, is_soak};
use crate::store_rows::rows;

/// How many derivations are made up.
const COUNT: usize = 200;

/// A copy of a machine on which all these derivations were built by one process.
fn built(machine: &Machine, drvs: &[String], builder: Builder<'_>) -> Machine {
    let copy = machine.copy();
    copy.configure(&format!("{CONFINED}max-jobs = 2\ncores = 1\n"));
    let mut words = vec!["-r", "--keep-going"];
    words.extend(drvs.iter().map(String::as_str));
    let output = run(builder.nix_store(&copy, &words));
    let said = String::from_utf8_lossy(&output.stderr);
    let end = said.len().saturating_sub(4000);
    let end = (end..said.len()).find(|at| said.is_char_boundary(*at));
    assert!(
        output.status.success(),
        "{builder:?}: {}\n{}",
        output.status,
        &said[end.unwrap_or(0)..]
    );
    copy
}

/// Which derivation and output became which path, where that had to be found out.
fn realisations(machine: &Machine) -> BTreeSet<(String, String, String)> {
    let database = rusqlite::Connection::open(machine.path("nix/var/nix/db/db.sqlite")).unwrap();
    let mut query = database
        .prepare(
            "select r.drvPath, r.outputName, v.path from Realisations r
             join ValidPaths v on v.id = r.outputPath",
        )
        .unwrap();
    query
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

/// All that differs between two stores, in words.
fn differences(theirs: &Machine, ours: &Machine) -> Vec<String> {
    let (real, own) = (rows(theirs), rows(ours));
    let mut found = Vec::new();
    for (path, row) in &real {
        match own.get(path) {
            None => found.push(format!("'{path}' is only in the store of real Nix")),
            Some(other) if other != row => {
                found.push(format!("'{path}': {other:?} instead of {row:?}"));
            }
            Some(_) => {
                if nar::of_path(&theirs.on_disk(path)) != nar::of_path(&ours.on_disk(path)) {
                    found.push(format!("the trees at '{path}' differ"));
                }
            }
        }
    }
    let more = own.keys().filter(|path| !real.contains_key(*path));
    found.extend(more.map(|path| format!("'{path}' is only in our store")));
    found
}

#[test]
fn two_hundred_derivations_come_out_as_with_the_newest() {
    let Some(peer) = crate::site::newest() else {
        return;
    };
    let seeds = if is_soak() { 4..24 } else { 4..5 };
    for seed in seeds {
        come_out_as_with(peer, seed);
    }
}

fn come_out_as_with(peer: &Peer, seed: u64) {
    let machine = confined();
    let shapes = generate::derivations(COUNT, seed);
    let drvs = Workshop::new(&machine, peer).instantiate(&shapes);
    assert_eq!(drvs.len(), COUNT);
    let drvs: Vec<String> = drvs.into_values().collect();
    let theirs = built(&machine, &drvs, Builder::Real(peer));
    let ours = built(&machine, &drvs, Builder::Ours);
    let found = differences(&theirs, &ours);
    assert!(
        found.is_empty(),
        "{} differ:\n{}",
        found.len(),
        found.join("\n")
    );
    assert_eq!(realisations(&ours), realisations(&theirs));
    verify_with(peer, &ours);
    let known = rows(&ours).len() - rows(&machine).len();
    say(&format!(
        "{COUNT} derivations, {known} outputs equal to those of Nix {}",
        peer.version()
    ));
}

/// Contents that name their own path, which is computed from them.
const SELF_REFERENCES: &str = r#"
make-self = name: script: make name {
  __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256";
} script;
self-file = make-self "self-file" "echo $out > $out";
self-twice = make-self "self-twice" "$b mkdir $out; echo $out $out > $out/two; echo $out > $out/one";
self-link = make-self "self-link" "$b mkdir $out; $b ln -s $out/x $out/link";
self-binary = make-self "self-binary" "$b printf 'a\\000%s\\377b' $out > $out";
self-outputs = make "self-outputs" {
  __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256";
  outputs = [ "out" "dev" ];
} "echo $out > $out; echo $out $dev > $dev";
"#;

/// Releases 2.17 to 2.34 leave the places of self references out of the hash; ours has them
/// as 2.8 has, and as the releases after 2.34.
#[test]
fn paths_of_contents_that_name_themselves_are_those_of_2_8() {
    let Some(peer) = Peer::on_machines("2.8") else {
        return;
    };
    let machine = confined();
    let mut drvs = Workshop::new(&machine, peer).instantiate(&self_references());
    drvs.retain(|name, _| name.starts_with("self-"));
    assert_eq!(drvs.len(), 5);
    let drvs: Vec<String> = drvs.into_values().collect();
    let theirs = built(&machine, &drvs, Builder::Real(peer));
    let ours = built(&machine, &drvs, Builder::Ours);
    let found = differences(&theirs, &ours);
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert_eq!(realisations(&ours), realisations(&theirs));
    if let Some(newest) = crate::site::newest() {
        list_differences(newest, &machine, &drvs, &ours);
    }
}

/// The function that makes them is no derivation itself.
fn self_references() -> String {
    let (function, rest) = SELF_REFERENCES.split_at(SELF_REFERENCES.find("self-file").unwrap());
    let function = function.trim().trim_start_matches("make-self = ");
    let function = function.trim_end_matches(';');
    rest.replace("make-self", &format!("({function})"))
}

fn list_differences(newest: &Peer, machine: &Machine, drvs: &[String], ours: &Machine) {
    let theirs = built(machine, drvs, Builder::Real(newest));
    let found = differences(&theirs, ours);
    say(&format!(
        "{} derivations with self references: Nix {} differs in {} places",
        drvs.len(),
        newest.version(),
        found.len()
    ));
    for drv in drvs {
        // What 2.34 makes of them has other names, and nothing else is there.
        assert!(RawDrv::read(&machine.on_disk(drv)).output("out").is_empty());
    }
}
