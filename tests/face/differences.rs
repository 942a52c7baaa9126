//! The comparison.

use std::collections::BTreeMap;

use test_support::{Machine, Peer, say};

use crate::cases::{self, Case};
use crate::compare::Difference;
use crate::explained::{Explained, Part};
use crate::fixture::Fixture;
use crate::glob;
use crate::run::Site;
use crate::side::{Seen, Side};

#[test]
fn real_releases_and_this_program_do_the_same_but_for_what_is_explained() {
    let Some(maker) = Peer::find("2.8").or_else(|| Peer::all().last()) else {
        return;
    };
    if !Machine::available() {
        return;
    }
    let fixture = Fixture::new(maker);
    let site = Site::new(&fixture, maker);
    let pattern = std::env::var("FACE").unwrap_or_else(|_| "*".to_owned());
    let cases: Vec<Case> = cases::all()
        .into_iter()
        .filter(|case| pattern.split(',').any(|one| glob::matches(one, &case.name)))
        .collect();
    let explained = Explained::read();
    let seen = site.run(&cases);
    let mut table = Table::default();
    for (number, case) in cases.iter().enumerate() {
        let of = |label: String| seen[&(label, number)].clone();
        let mut ours = of(Side::Ours.label());
        let mut real: Vec<Seen> = Peer::all().iter().map(|peer| of(peer.label())).collect();
        if real.windows(2).any(|pair| pair[0].stderr != pair[1].stderr) {
            real.iter_mut().for_each(Seen::forget_words);
            ours.forget_words();
        }
        for (peer, theirs) in Peer::all().iter().zip(&real) {
            let found = compare(case, peer, theirs, &ours, &explained);
            table.add(case, peer, found, pattern != "*");
        }
    }
    table.print();
    let unexplained = table.unexplained;
    assert!(
        unexplained.is_empty(),
        "{} unexplained differences:\n\n{}",
        unexplained.len(),
        unexplained.join("\n")
    );
    if pattern == "*" {
        let releases: Vec<String> = Peer::all().iter().map(Peer::label).collect();
        let unused = explained.unused(&releases);
        assert!(
            unused.is_empty(),
            "explains nothing:\n{}",
            unused.join("\n")
        );
    }
}

/// What a comparison came to.
#[derive(Debug, Default)]
struct Found {
    explained: Vec<String>,
    unexplained: Vec<String>,
}

fn compare(case: &Case, peer: &Peer, theirs: &Seen, ours: &Seen, explained: &Explained) -> Found {
    let mut found = Found::default();
    let is_said = ours.says_all_of(theirs);
    for (part, theirs, ours) in [
        (Part::Exit, &theirs.exit, &ours.exit),
        (Part::Stdout, &theirs.stdout, &ours.stdout),
        (Part::Stderr, &theirs.stderr, &ours.stderr),
        (Part::State, &theirs.state, &ours.state),
    ] {
        let Some(difference) = Difference::between(theirs, ours) else {
            continue;
        };
        if part == Part::Stderr && is_said {
            continue;
        }
        let label = peer.label();
        let text = describe(case, &label, part, &difference);
        match explained.explains(&case.name, &label, part, &difference) {
            true => found.explained.push(text),
            false => found.unexplained.push(text),
        }
    }
    found
}

fn describe(case: &Case, release: &str, part: Part, difference: &Difference) -> String {
    let mark = |sign: char, text: &str| -> String {
        text.lines()
            .map(|line| format!("  {sign} {line}\n"))
            .collect()
    };
    let (name, words) = (&case.name, case.words.join(" "));
    let theirs = mark('-', &difference.theirs);
    let ours = mark('+', &difference.ours);
    format!("{name} ({words}), {release}, {part:?}:\n{theirs}{ours}")
}

/// Comparisons by family and release.
#[derive(Debug, Default)]
struct Table {
    rows: BTreeMap<String, BTreeMap<String, Counts>>,
    unexplained: Vec<String>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    same: usize,
    explained: usize,
    unexplained: usize,
}

impl Table {
    fn add(&mut self, case: &Case, peer: &Peer, found: Found, print: bool) {
        let family = case.name.split('/').next().unwrap_or_default().to_owned();
        let counts = self.rows.entry(family).or_default();
        let counts = counts.entry(peer.label()).or_default();
        match (found.unexplained.is_empty(), found.explained.is_empty()) {
            (false, _) => counts.unexplained += 1,
            (true, false) => counts.explained += 1,
            (true, true) => counts.same += 1,
        }
        for text in found.explained.iter().filter(|_| print) {
            say(&format!("explained: {text}"));
        }
        self.unexplained.extend(found.unexplained);
    }

    fn print(&self) {
        let mut text = format!("{:18}", "same/explained");
        for peer in Peer::all() {
            text.push_str(&format!("{:>12}", peer.version()));
        }
        for (family, row) in &self.rows {
            text.push_str(&format!("\n{family:18}"));
            for peer in Peer::all() {
                let counts = row.get(&peer.label()).copied().unwrap_or_default();
                let mut cell = format!("{}/{}", counts.same, counts.explained);
                if counts.unexplained > 0 {
                    cell.push_str(&format!("/{}!", counts.unexplained));
                }
                text.push_str(&format!("{cell:>12}"));
            }
        }
        say(&text);
    }
}
