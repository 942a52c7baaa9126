//! `why-depends`: the chain of references from one path to another, and where each of them
//! stands.

mod chain;

use std::process::ExitCode;

use anyhow::bail;
use bstr::ByteSlice;
use nix_nar::fs::find::{Extent, Place, PlaceKind};
use nix_store_core::db::StoreGraph;
use nix_store_core::{Error, LocalStore};
use serde_json::{Value, json};

use crate::cli::context::{Context, Purpose};
use crate::cli::inspect_args::WhyDependsArgs;
use crate::cli::output::Output;
use crate::cli::path_arg::store_path;
use crate::cli::report::visible;
use chain::Ways;

/// Prints why.
pub(crate) fn run(args: &WhyDependsArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let store = context.open_store("why-depends", Purpose::Read)?;
    let path = store_path(&args.path, store.layout())?;
    let dependency = store_path(&args.dependency, store.layout())?;
    let dir = store.store_dir();
    let graph = store.db().load_graph()?;
    let Some(from) = graph.find(&path) else {
        return Err(Error::not_valid(dir, &path).into());
    };
    let ways = graph
        .find(&dependency)
        .and_then(|to| Ways::find(&graph, from, to, args.all));
    let Some(ways) = ways else {
        let (path, dependency) = (dir.print(&path), dir.print(&dependency));
        bail!("'{path}' does not depend on '{dependency}'");
    };
    let mut output = Output::of_process()?;
    let report = Report {
        store: &store,
        graph: &graph,
        ways: &ways,
        extent: match args.precise {
            true => Extent::All,
            false => Extent::First,
        },
    };
    match args.json {
        true => output.line(&report.as_json()?.to_string())?,
        false => report.print(from, &mut output)?,
    }
    Ok(ExitCode::SUCCESS)
}

struct Report<'a> {
    store: &'a LocalStore,
    graph: &'a StoreGraph,
    ways: &'a Ways,
    extent: Extent,
}

/// A path of the tree whose references are being printed.
struct Level {
    next: std::vec::IntoIter<(u32, Vec<Place>)>,
    padding: String,
}

impl Report<'_> {
    /// Draws the ways as a tree in which each path is opened once.
    fn print(&self, from: u32, output: &mut Output) -> anyhow::Result<()> {
        output.line(&self.name(from))?;
        let mut opened = vec![false; self.graph.len()];
        let mut levels = vec![self.open(from, String::new(), &mut opened)?];
        while let Some(level) = levels.last_mut() {
            let Some((place, references)) = level.next.next() else {
                levels.pop();
                continue;
            };
            let (branch, below) = match level.next.len() {
                0 => ("└───", "    "),
                _ => ("├───", "│   "),
            };
            let padding = format!("{}{below}", level.padding);
            let mut head = format!("{}{branch}", level.padding);
            for reference in &references {
                output.line(&format!("{head}{}", described(reference)))?;
                head.clone_from(&padding);
            }
            let again = opened[place as usize] && !self.ways.after(place).is_empty();
            let end = if again { " [...]" } else { "" };
            output.line(&format!("{head}→ {}{end}", self.name(place)))?;
            if !opened[place as usize] {
                levels.push(self.open(place, padding, &mut opened)?);
            }
        }
        Ok(())
    }

    fn open(&self, place: u32, padding: String, opened: &mut [bool]) -> anyhow::Result<Level> {
        opened[place as usize] = true;
        let next = self.references(place)?.into_iter();
        Ok(Level { next, padding })
    }

    /// Where the path at `place` goes on to, and where it says so.
    fn references(&self, place: u32) -> anyhow::Result<Vec<(u32, Vec<Place>)>> {
        let next = self.ways.after(place);
        if next.is_empty() {
            return Ok(Vec::new());
        }
        let hashes = next.iter().map(|&to| *self.graph.path(to).hash());
        let found = self
            .store
            .find_hashes(self.graph.path(place), hashes, self.extent)?;
        let of = |to: u32| -> Vec<Place> {
            let hash = self.graph.path(to).hash();
            let of = found.iter().filter(|reference| reference.hash == *hash);
            of.cloned().collect()
        };
        Ok(next.iter().map(|&to| (to, of(to))).collect())
    }

    fn name(&self, place: u32) -> String {
        self.store.store_dir().print(self.graph.path(place))
    }

    fn as_json(&self) -> anyhow::Result<Value> {
        let mut edges = Vec::new();
        for &from in self.ways.places() {
            for (to, references) in self.references(from)? {
                edges.push(json!({
                    "from": self.name(from),
                    "to": self.name(to),
                    "references": references.iter().map(place_as_json).collect::<Vec<_>>(),
                }));
            }
        }
        Ok(Value::from(edges))
    }
}

/// A reference in the form of real Nix.
fn described(reference: &Place) -> String {
    let path = match reference.path.is_empty() {
        true => String::new(),
        // Whoever uploaded the path chose the names of its files.
        false => format!("{}: ", visible(&reference.path.to_str_lossy())),
    };
    let more = match reference.count {
        1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    let excerpt = reference.excerpt.to_str_lossy();
    match reference.kind {
        PlaceKind::File => format!("{path}…{excerpt}…{more}"),
        PlaceKind::Symlink => format!("{path}symlink to {excerpt}"),
    }
}

fn place_as_json(reference: &Place) -> Value {
    json!({
        "path": reference.path.to_str_lossy(),
        "type": match reference.kind {
            PlaceKind::File => "regular",
            PlaceKind::Symlink => "symlink",
        },
        "offset": reference.offset,
        "count": reference.count,
        "excerpt": reference.excerpt.to_str_lossy(),
    })
}

#[cfg(test)]
mod tests {
    use bstr::BString;
    use nix_base::StorePathHash;

    use super::*;

    #[test]
    fn names_of_files_stay_in_their_line() {
        let reference = Place {
            hash: StorePathHash::from_digest([0; 20]),
            path: BString::from("evil\x1b]0;title\x07\nname"),
            kind: PlaceKind::File,
            offset: 0,
            count: 2,
            excerpt: BString::from("x"),
        };
        insta::assert_snapshot!(described(&reference), @r"evil\u{1b}]0;title\u{7}\nname: …x… (and 1 more)");
    }
}
