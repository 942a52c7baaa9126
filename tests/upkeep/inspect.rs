//! `why-depends` and `du`: what needs what, where that stands, and how much it takes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix_base::{NarHash, StorePath, UnkeyedValidPathInfo, ValidPathInfo};
use nix_store_core::{ImportBatch, LocalStore};
use serde_json::Value;
use test_support::{Peer, TempStore};

use super::fixture::{nix_serve, open, say};

/// `app` refers to `mid` and `lib`, `mid` and `other` to `lib`, and so does `waste`, which no
/// root leads to.
struct Site {
    store: TempStore,
    app: String,
    mid: String,
    lib: String,
    other: String,
    waste: String,
}

impl Site {
    fn new() -> Self {
        let store = TempStore::new();
        let local = open(&store);
        let lib = add(&local, '1', "lib", &[], |root| {
            fs::create_dir(root).unwrap();
            fs::write(root.join("data"), vec![7; 300_000]).unwrap();
        });
        let lib_name = print(&local, &lib);
        let mid = add(&local, '2', "mid", &[&lib], |root| {
            fs::create_dir_all(root.join("etc")).unwrap();
            let text = format!("\0\0load {lib_name}/data;\nagain {lib_name}\n");
            fs::write(root.join("etc/conf"), text).unwrap();
            fs::write(root.join("etc/more"), &lib_name).unwrap();
        });
        let mid_name = print(&local, &mid);
        let app = add(&local, '3', "app", &[&mid, &lib], |root| {
            fs::create_dir_all(root.join("bin")).unwrap();
            fs::write(root.join("bin/run"), format!("exec {mid_name}/x")).unwrap();
            symlink(format!("{lib_name}/data"), root.join("link")).unwrap();
        });
        let refers = |root: &Path| fs::write(root, &lib_name).unwrap();
        let other = add(&local, '4', "other", &[&lib], refers);
        let waste = add(&local, '5', "waste", &[&lib], refers);
        let site = Self {
            app: print(&local, &app),
            other: print(&local, &other),
            waste: print(&local, &waste),
            mid: mid_name,
            lib: lib_name,
            store,
        };
        let roots = local.layout().gc_roots_dir();
        symlink(&site.app, roots.join("the-app")).unwrap();
        symlink(&site.other, roots.join("the-other")).unwrap();
        site
    }
}

fn print(local: &LocalStore, path: &StorePath) -> String {
    local.store_dir().print(path)
}

fn add(
    local: &LocalStore,
    digit: char,
    name: &str,
    references: &[&StorePath],
    make: impl FnOnce(&Path),
) -> StorePath {
    let digits: String = std::iter::repeat_n(digit, 32).collect();
    let path = StorePath::from_base_name(&format!("{digits}-{name}")).unwrap();
    let source = tempfile::tempdir().unwrap();
    let root = source.path().join("x");
    make(&root);
    let mut nar = Vec::new();
    nix_nar::fs::dump::dump(&root, &mut nar).unwrap();
    let mut info = UnkeyedValidPathInfo::new(NarHash::of(&nar), nar.len() as u64);
    info.references = references.iter().map(|path| (*path).clone()).collect();
    let batch = ImportBatch::new(local);
    let known = ValidPathInfo {
        path: path.clone(),
        info,
    };
    batch.stage(known, &mut nar.as_slice()).unwrap();
    assert!(batch.commit().failure.is_none());
    path
}

#[test]
fn the_shortest_way_is_shown_with_the_place_of_each_reference() {
    let site = Site::new();
    let Site { app, mid, lib, .. } = &site;
    let said = say(nix_serve(&site.store, ["why-depends", app, lib]));
    let expected = format!("{app}\n└───link: symlink to {lib}/data\n    → {lib}\n");
    assert_eq!(said.stdout, expected, "{said:?}");
    let said = say(nix_serve(&site.store, ["why-depends", app, mid]));
    let expected = format!("{app}\n└───bin/run: …exec {mid}/x…\n    → {mid}\n");
    assert_eq!(said.stdout, expected, "{said:?}");
    let other = &site.other;
    let said = say(nix_serve(&site.store, ["why-depends", other, lib]));
    assert_eq!(said.stdout, format!("{other}\n└───…{lib}…\n    → {lib}\n"));
}

#[test]
fn all_ways_are_shown_and_all_files_if_that_is_asked_for() {
    let site = Site::new();
    let Site { app, mid, lib, .. } = &site;
    let all = say(nix_serve(&site.store, ["why-depends", "--all", app, lib]));
    let expected = format!(
        "{app}\n\
         ├───link: symlink to {lib}/data\n\
         │   → {lib}\n\
         └───bin/run: …exec {mid}/x…\n    \
             → {mid}\n    \
             └───etc/conf: …load {lib}/data;… (and 1 more)\n        \
                 → {lib}\n"
    );
    assert_eq!(all.stdout, expected, "{all:?}");
    let words = ["why-depends", "--all", "--precise", mid, lib];
    let precise = say(nix_serve(&site.store, words));
    let expected = format!(
        "{mid}\n\
         └───etc/conf: …load {lib}/data;… (and 1 more)\n    \
             etc/more: …{lib}…\n    \
             → {lib}\n"
    );
    assert_eq!(precise.stdout, expected, "{precise:?}");
    let words = ["why-depends", "--json", "--precise", mid, lib];
    let json = say(nix_serve(&site.store, words)).json();
    assert_eq!(json[0]["from"], **mid);
    assert_eq!(json[0]["references"][0]["path"], "etc/conf");
    assert_eq!(json[0]["references"][0]["offset"], 2 + 5 + 11);
    assert_eq!(json[0]["references"][1]["path"], "etc/more");
}

#[test]
fn what_does_not_depend_is_said_so() {
    let site = Site::new();
    let Site { app, lib, .. } = &site;
    let said = say(nix_serve(&site.store, ["why-depends", lib, app]));
    assert_eq!(said.code, Some(1));
    let expected = format!("'{lib}' does not depend on '{app}'");
    assert!(said.stderr.contains(&expected), "{said:?}");
    let absent = lib.replace("-lib", "-lob");
    let said = say(nix_serve(&site.store, ["why-depends", &absent, app]));
    assert!(said.stderr.contains("is not valid"), "{said:?}");
}

/// The store paths that a tree goes through.
fn chain(text: &str) -> Vec<&str> {
    let lines = text.lines().filter(|line| !line.contains('…'));
    let paths = lines.filter_map(|line| line.split_once("/nix/store/"));
    paths
        .map(|(_, path)| path.trim_end_matches("\x1b[0m"))
        .collect()
}

#[test]
fn the_way_is_that_of_real_nix() {
    let site = Site::new();
    let Some(peer) = Peer::find("newest") else {
        return;
    };
    for (from, to) in [
        (&site.app, &site.mid),
        (&site.other, &site.lib),
        (&site.mid, &site.lib),
    ] {
        let mut theirs = peer.command("nix");
        theirs.args(["--extra-experimental-features", "nix-command"]);
        theirs.args(["why-depends", "--store", &site.store.address(), from, to]);
        let theirs = say(theirs);
        let ours = say(nix_serve(&site.store, ["why-depends", from, to]));
        assert_eq!(chain(&ours.stdout), chain(&theirs.stdout), "{theirs:?}");
    }
}

/// Entries by name.
fn usage(site: &Site, words: &[&str]) -> (Value, BTreeMap<String, Value>) {
    let mut command = vec!["du", "--json"];
    command.extend(words);
    let json = say(nix_serve(&site.store, command)).json();
    let entries = json["paths"].as_array().unwrap().iter();
    let by_name = entries.map(|entry| (entry["path"].as_str().unwrap().to_owned(), entry.clone()));
    let by_name = by_name.collect();
    (json, by_name)
}

#[test]
fn sizes_are_of_what_would_go_with_a_path() {
    let site = Site::new();
    let (all, by_name) = usage(&site, &[]);
    let size = |path: &str, what: &str| by_name[path][what].as_u64().unwrap();
    let own = |path: &str| size(path, "ownSize");
    assert_eq!(by_name.len(), 5);
    assert_eq!(
        size(&site.app, "exclusiveSize"),
        own(&site.app) + own(&site.mid)
    );
    assert_eq!(
        size(&site.app, "closureSize"),
        own(&site.app) + own(&site.mid) + own(&site.lib)
    );
    // Two roots need it, so it goes with neither.
    assert_eq!(by_name[&site.lib]["below"], Value::Null);
    assert_eq!(by_name[&site.mid]["below"], *site.app);
    assert_eq!(size(&site.other, "exclusiveSize"), own(&site.other));
    assert_eq!(by_name[&site.waste]["reached"], false);
    assert_eq!(all["unreachedSize"], own(&site.waste));
    let reached = [&site.app, &site.mid, &site.lib, &site.other];
    let reached: u64 = reached.into_iter().map(|path| own(path)).sum();
    assert_eq!(all["reachedSize"], reached);
    let root = by_name[&site.app]["roots"][0].as_str().unwrap();
    assert!(root.ends_with("/gcroots/the-app"), "{root}");
}

#[test]
fn of_paths_that_are_named_only_their_closures_count() {
    let site = Site::new();
    let (_, by_name) = usage(&site, &[&site.mid]);
    assert_eq!(by_name.len(), 2);
    // Nothing else is looked at, so this alone needs it.
    assert_eq!(by_name[&site.lib]["below"], *site.mid);
    let said = say(nix_serve(&site.store, ["du", &site.mid]));
    let lines: Vec<_> = said.stdout.lines().collect();
    assert!(lines[0].contains("exclusive"), "{said:?}");
    assert!(lines[1].ends_with(&site.mid), "{said:?}");
    assert!(
        lines[2].ends_with(&format!(" └───{}", site.lib)),
        "{said:?}"
    );
    let short = say(nix_serve(&site.store, ["du", "--depth", "1", &site.mid]));
    assert!(!short.stdout.contains("-lib"), "{short:?}");
}

#[test]
fn the_tree_of_a_store_has_its_roots_and_the_rest() {
    let site = Site::new();
    let said = say(nix_serve(&site.store, ["du", "--width", "2"]));
    let line = |what: &str| said.stdout.lines().find(|line| line.contains(what));
    assert!(line(&site.lib).unwrap().contains("(needed by several)"));
    assert!(line(&site.app).unwrap().contains("<- "), "{said:?}");
    assert!(line("… 1 more").is_some(), "{said:?}");
    assert!(line("1 paths that no root leads to").is_some(), "{said:?}");
    assert!(line("5 paths in all").is_some(), "{said:?}");
}

#[test]
fn the_page_has_all_sizes_and_needs_nothing_else() {
    let site = Site::new();
    let page = site.store.root().join("page.html");
    let words = ["du", "--html", page.to_str().unwrap()];
    let said = say(nix_serve(&site.store, words));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.stdout, "");
    let page = fs::read_to_string(page).unwrap();
    let (_, data) = page.split_once("id=\"data\">").unwrap();
    let (data, _) = data.split_once("</script>").unwrap();
    let entries: Vec<Value> = serde_json::from_str(data).unwrap();
    let sum: u64 = entries.iter().map(|entry| entry[2].as_u64().unwrap()).sum();
    let (all, _) = usage(&site, &[]);
    let sizes = ["reachedSize", "unreachedSize"].map(|size| all[size].as_u64().unwrap());
    assert_eq!(sum, sizes.iter().sum::<u64>());
    // Every entry but the first stands in one before it.
    for (number, entry) in entries.iter().enumerate().skip(1) {
        let outer = usize::try_from(entry[1].as_u64().unwrap()).unwrap();
        assert!(outer < number, "{entry}");
    }
}
