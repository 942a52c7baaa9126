//! `--tree`: a closure drawn as a tree, in which each path is opened once.

use std::io::Write;

use nix_base::{StoreDir, StorePath};
use nix_store_core::Error;

use super::closure::{Seen, references_first};
use super::lookup::{Edges, Fault, Lookup};

/// Draws the closure of each of `roots`.
pub(super) fn draw(
    lookup: &mut dyn Lookup,
    dir: &StoreDir,
    roots: &[StorePath],
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let mut seen = Seen::default();
    for root in roots {
        let Some(place) = lookup.find(root)? else {
            line(out, "", dir, root, "\n");
            return Err(Error::not_valid(dir, root).into());
        };
        draw_one(lookup, dir, place, &mut seen, out)?;
    }
    Ok(())
}

/// Paths that are still to be drawn below one that is.
struct Level {
    children: std::vec::IntoIter<u32>,
    /// In front of everything below.
    padding: String,
}

fn draw_one(
    lookup: &mut dyn Lookup,
    dir: &StoreDir,
    root: u32,
    seen: &mut Seen,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let mut levels: Vec<Level> = Vec::new();
    let mut next = Some((root, String::new(), String::new()));
    loop {
        if let Some((place, first, padding)) = next.take() {
            if seen.insert(place) {
                line(out, &first, dir, lookup.path(place), "\n");
                let mut children = Vec::new();
                lookup.follow(Edges::References, place, &mut children)?;
                let children = references_first(lookup, children)?.into_iter();
                levels.push(Level { children, padding });
            } else {
                line(out, &first, dir, lookup.path(place), " [...]\n");
            }
        }
        let Some(level) = levels.last_mut() else {
            return Ok(());
        };
        match level.children.next() {
            None => drop(levels.pop()),
            Some(place) => {
                let (branch, below) = match level.children.len() {
                    0 => ("└───", "    "),
                    _ => ("├───", "│   "),
                };
                let padding = &level.padding;
                next = Some((
                    place,
                    format!("{padding}{branch}"),
                    format!("{padding}{below}"),
                ));
            }
        }
    }
}

fn line(out: &mut Vec<u8>, first: &str, dir: &StoreDir, path: &StorePath, end: &str) {
    // Writing to memory can't fail.
    let _ = write!(out, "{first}{}{end}", dir.display(path));
}
