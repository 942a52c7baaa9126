//! The trees as text.

use std::fmt::Write;

use super::Usage;
use super::forest::{Forest, closure_size};
use crate::cli::report::visible;
use crate::cli::sizes::rendered as size;

/// The trees down to `depth` levels, with `width` lines below each path at most.
pub(super) fn rendered(usage: &Usage<'_>, depth: usize, width: usize) -> String {
    let mut text = Text {
        usage,
        depth,
        width,
        out: String::new(),
        seen: Vec::new(),
        stamp: 0,
    };
    text.line("exclusive", "closure", "own", "");
    text.forest(&usage.reached);
    if !usage.rest.places().is_empty() {
        let paths = usage.rest.places().len();
        let total = size(usage.rest.size());
        text.out.push('\n');
        text.line(
            &total,
            "",
            "",
            &format!("{paths} paths that no root leads to"),
        );
        text.forest(&usage.rest);
    }
    let paths = usage.reached.places().len() + usage.rest.places().len();
    let total = usage.reached.size().saturating_add(usage.rest.size());
    text.out.push('\n');
    text.line(&size(total), "", "", &format!("{paths} paths in all"));
    text.out
}

struct Text<'a> {
    usage: &'a Usage<'a>,
    depth: usize,
    width: usize,
    out: String,
    seen: Vec<u32>,
    stamp: u32,
}

/// Paths that stand below the same one.
struct Level<'f> {
    next: std::slice::Iter<'f, u32>,
    left: usize,
    padding: String,
}

impl Text<'_> {
    fn forest(&mut self, forest: &Forest) {
        let mut levels = vec![self.level(forest.trunks(), String::new())];
        loop {
            let is_top = levels.len() == 1;
            let Some(level) = levels.last_mut() else {
                break;
            };
            let Some(&place) = level.next.as_slice().first() else {
                levels.pop();
                continue;
            };
            let is_rest = level.left == 0;
            level.left = level.left.saturating_sub(1);
            let (branch, below) = match (is_top, is_rest || level.next.len() == 1) {
                (true, _) => ("", ""),
                (_, true) => ("└───", "    "),
                (_, false) => ("├───", "│   "),
            };
            let head = format!("{}{branch}", level.padding);
            let below = format!("{}{below}", level.padding);
            if is_rest {
                let rest = level.next.as_slice();
                level.next = [].iter();
                self.rest(forest, rest, &head);
                continue;
            }
            level.next.next();
            self.path(forest, place, &head, is_top);
            if levels.len() < self.depth {
                let below = if is_top { " ".to_owned() } else { below };
                levels.push(self.level(forest.children(place), below));
            }
        }
    }

    fn level<'f>(&self, places: &'f [u32], padding: String) -> Level<'f> {
        Level {
            next: places.iter(),
            left: self.width,
            padding,
        }
    }

    fn path(&mut self, forest: &Forest, place: u32, head: &str, is_top: bool) {
        self.stamp += 1;
        let graph = self.usage.graph;
        let closure = closure_size(graph, place, &mut self.seen, self.stamp);
        let path = self.usage.store.store_dir().print(graph.path(place));
        let why = match forest.top(place) {
            // Any user chooses the names of their roots.
            Some(top) => visible(&named(&top.names)),
            None if is_top => "  (needed by several)".to_owned(),
            None => String::new(),
        };
        self.line(
            &size(forest.exclusive(place)),
            &size(closure),
            &size(graph.nar_size(place)),
            &format!("{head}{path}{why}"),
        );
    }

    /// A line for all that is too much.
    fn rest(&mut self, forest: &Forest, places: &[u32], head: &str) {
        let sizes = places.iter().map(|&place| forest.exclusive(place));
        let total = sizes.fold(0, u64::saturating_add);
        let count = places.len();
        self.line(&size(total), "", "", &format!("{head}… {count} more"));
    }

    fn line(&mut self, exclusive: &str, closure: &str, own: &str, what: &str) {
        // Writing to a string can't fail.
        let _ = writeln!(
            self.out,
            "{exclusive:>10}  {closure:>10}  {own:>10}  {what}"
        );
    }
}

/// The first of the roots that lead to a path.
fn named(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [name] => format!("  <- {name}"),
        [name, more @ ..] => format!("  <- {name} and {} more", more.len()),
    }
}
