//! The list of differences as users read it, in `docs/nix-store-face.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::explained::Explained;

#[test]
fn the_documentation_has_the_list_of_differences() {
    let text = fs::read_to_string(DOCUMENT).unwrap();
    let (head, rest) = text.split_once(BEGIN).unwrap();
    let (_, tail) = rest.split_once(END).unwrap();
    let list = rendered(&Explained::read());
    let expected = format!("{head}{BEGIN}\n\n{list}\n{END}{tail}");
    if std::env::var("INSTA_UPDATE").is_ok_and(|how| how == "always") {
        fs::write(DOCUMENT, &expected).unwrap();
    } else {
        assert!(
            text == expected,
            "run 'cargo xtask bless' to write '{DOCUMENT}' anew"
        );
    }
}

/// A table for each set of releases, with the reasons in the order of the list.
fn rendered(explained: &Explained) -> String {
    let mut tables: BTreeMap<usize, Vec<Row>> = BTreeMap::new();
    for entry in &explained.entries {
        let releases: BTreeSet<usize> = entry
            .releases
            .iter()
            .map(|label| {
                RELEASES
                    .iter()
                    .position(|(known, _)| known == label)
                    .unwrap()
            })
            .collect();
        let table = match releases.len() {
            4 => 0,
            _ if releases.contains(&NEWEST) => 1,
            _ => 2,
        };
        let rows = tables.entry(table).or_default();
        let row = match rows.iter_mut().find(|row| row.why == entry.why) {
            Some(row) => row,
            None => {
                rows.push(Row {
                    why: entry.why.clone(),
                    ..Row::default()
                });
                rows.last_mut().unwrap()
            }
        };
        row.releases.extend(releases);
        let families = entry.cases.iter().map(|pattern| operation(pattern));
        row.operations.extend(families);
    }
    let tables = tables.into_iter().map(|(table, rows)| {
        let rows: String = rows.iter().map(Row::rendered).collect();
        format!(
            "{}\n\n| What | Releases | How |\n|---|---|---|\n{rows}",
            TITLES[table]
        )
    });
    tables.collect::<Vec<_>>().join("\n")
}

#[derive(Default)]
struct Row {
    operations: BTreeSet<&'static str>,
    releases: BTreeSet<usize>,
    why: String,
}

impl Row {
    fn rendered(&self) -> String {
        let releases: Vec<&str> = match self.releases.len() {
            4 => vec!["all"],
            _ => self.releases.iter().map(|at| RELEASES[*at].1).collect(),
        };
        let operations: Vec<&str> = self.operations.iter().copied().collect();
        let (operations, releases) = (operations.join(", "), releases.join(", "));
        format!("| {operations} | {releases} | {} |\n", self.why)
    }
}

/// What users call the cases of a pattern.
fn operation(pattern: &str) -> &'static str {
    let family = pattern.split('/').next().unwrap();
    let found = OPERATIONS.iter().find(|(known, _)| *known == family);
    found
        .unwrap_or_else(|| panic!("the family '{family}' has no name for users"))
        .1
}

const OPERATIONS: [(&str, &str); 22] = [
    ("usage", "command lines"),
    ("query", "`--query`"),
    ("add", "`--add`"),
    ("add-fixed", "`--add-fixed`"),
    ("dump", "`--dump`"),
    ("export", "`--export`"),
    ("print-env", "`--print-env`"),
    ("print-fixed-path", "`--print-fixed-path`"),
    ("import", "`--import`"),
    ("restore", "`--restore`"),
    ("load-db", "`--load-db`"),
    ("register-validity", "`--register-validity`"),
    ("realise", "`--realise`"),
    ("gc", "`--gc`"),
    ("delete", "`--delete`"),
    ("collect-garbage", "`nix-collect-garbage`"),
    ("verify", "`--verify`"),
    ("verify-path", "`--verify-path`"),
    ("repair-path", "`--repair-path`"),
    ("keys", "`--generate-binary-cache-key`"),
    ("optimise", "`--optimise`"),
    ("copy-closure", "`nix-copy-closure`"),
];

/// Labels of releases and what users call them.
const RELEASES: [(&str, &str); 4] = [
    ("2.3", "2.3"),
    ("2.8", "2.8"),
    ("2.26", "2.26"),
    ("newest", "2.34"),
];
const NEWEST: usize = 3;

const TITLES: [&str; 3] = [
    "### Other than in all releases",
    "### Other than in the newest release",
    "### Other than in older releases",
];

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/nix-store-face.md");
const BEGIN: &str = "<!-- differences: written by `cargo xtask bless` -->";
const END: &str = "<!-- end of differences -->";
