//! `drv diff`: what differs between two derivations.
//!
//! Level by level: first what differs between the two, then between those of their
//! inputs that differ, and so on.

use std::collections::{HashSet, VecDeque};
use std::fmt::Write as _;
use std::process::ExitCode;

use bstr::{BStr, BString, ByteSlice};
use nix_base::{OutputName, StorePath};
use nix_drv::DerivationOutput;
use nix_drv::diff::{Difference, diff, differ_in_digests_only};
use nix_store_core::StoreLayout;

use super::files::{Files, Found};
use crate::cli::drv_args::DiffArgs;
use crate::cli::output::Output;

/// Prints the differences; fails if there are any, as `diff` does.
pub(super) fn run(args: &DiffArgs, layout: StoreLayout) -> anyhow::Result<ExitCode> {
    let mut files = Files::new(layout);
    let top = [files.find(&args.one)?, files.find(&args.two)?];
    if top[0].path == top[1].path {
        return Ok(ExitCode::SUCCESS);
    }
    let mut output = Output::of_process()?;
    let mut seen = HashSet::from([paths_of(&top)]);
    let mut queue = VecDeque::from([(0, top)]);
    while let Some((level, pair)) = queue.pop_front() {
        let differences = diff(&pair[0].drv, &pair[1].drv);
        output.print(&describe(level, &pair, &differences))?;
        if args.depth.is_some_and(|depth| level >= depth) {
            continue;
        }
        for difference in differences {
            let Difference::Input {
                values: [Some(one), Some(two)],
            } = difference
            else {
                continue;
            };
            if !seen.insert([one.clone(), two.clone()]) {
                continue;
            }
            let read = |files: &mut Files, path: StorePath| -> anyhow::Result<Found> {
                let drv = files.derivation(&path)?;
                Ok(Found { path, drv })
            };
            let next = [read(&mut files, one)?, read(&mut files, two)?];
            queue.push_back((level + 1, next));
        }
    }
    Ok(ExitCode::FAILURE)
}

fn paths_of(pair: &[Found; 2]) -> [StorePath; 2] {
    [pair[0].path.clone(), pair[1].path.clone()]
}

/// One level: a heading, and a paragraph for each difference.
fn describe(level: usize, pair: &[Found; 2], differences: &[Difference]) -> String {
    let mut text = format!("level {level}:\n- {}\n+ {}\n", pair[0].path, pair[1].path);
    let mut followed = Vec::new();
    for difference in differences {
        match difference {
            Difference::Variable {
                name,
                values: [Some(one), Some(two)],
            } if differ_in_digests_only(one, two) => {
                followed.push(name.to_string());
            }
            other => describe_one(other, &mut text),
        }
    }
    if !followed.is_empty() {
        let _ = writeln!(text, "  other store paths in: {}", followed.join(", "));
    }
    if differences.is_empty() {
        text.push_str("  nothing but output paths\n");
    }
    text
}

fn describe_one(difference: &Difference, text: &mut String) {
    // Writing to a string can't fail.
    let _ = match difference {
        Difference::Name([one, two]) => writeln!(text, "  name: {one} → {two}"),
        Difference::Platform(values) => change("system", values.each_ref().map(Some), text),
        Difference::Builder(values) => change("builder", values.each_ref().map(Some), text),
        Difference::Argument { index, values } => change(
            &format!("argument {index}"),
            values.each_ref().map(Option::as_ref),
            text,
        ),
        Difference::Variable { name, values } => change(
            &format!("env {name}"),
            values.each_ref().map(Option::as_ref),
            text,
        ),
        Difference::Output { name, values } => {
            let [one, two] = values.each_ref().map(|value| kind(value.as_ref()));
            writeln!(text, "  output {name}: {one} → {two}")
        }
        Difference::Source { values: [one, two] } => sides("source", [one, two], text),
        Difference::Input { values: [one, two] } => sides("input", [one, two], text),
        Difference::Wanted { inputs, values } => {
            let names = |names: &std::collections::BTreeSet<OutputName>| {
                names
                    .iter()
                    .map(OutputName::as_str)
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            let [one, two] = values.each_ref().map(names);
            writeln!(text, "  wanted of {}: {one} → {two}", inputs[0].name())
        }
        other => writeln!(text, "  {other:?}"),
    };
}

fn sides(what: &str, values: [&Option<StorePath>; 2], text: &mut String) -> std::fmt::Result {
    let [one, two] =
        values.map(|path| path.as_ref().map_or("nothing".into(), StorePath::base_name));
    writeln!(text, "  {what}: {one} → {two}")
}

fn kind(output: Option<&DerivationOutput>) -> String {
    match output {
        None => "nothing".into(),
        Some(DerivationOutput::InputAddressed(_)) => "input-addressed".into(),
        Some(DerivationOutput::CaFixed(ca)) => ca.to_string(),
        Some(DerivationOutput::CaFloating { method, algo }) => {
            format!("floating {}{algo}", method.prefix())
        }
        Some(DerivationOutput::Deferred) => "deferred".into(),
        Some(DerivationOutput::Impure { method, algo }) => {
            format!("impure {}{algo}", method.prefix())
        }
    }
}

/// A changed value: on one line, or if it has many, those lines that changed.
fn change(what: &str, values: [Option<&BString>; 2], text: &mut String) -> std::fmt::Result {
    let is_short = |value: &BString| value.len() <= SHORT && !value.contains(&b'\n');
    if values.iter().flatten().all(|value| is_short(value)) {
        let [one, two] = values.map(|value| value.map_or("nothing".into(), |v| format!("{v:?}")));
        return writeln!(text, "  {what}: {one} → {two}");
    }
    writeln!(text, "  {what}:")?;
    let [one, two] = values.map(|value| value.map_or(&b""[..], |value| value.as_slice()));
    let [one, two] = [one, two].map(|value| value.lines().collect::<Vec<_>>());
    let same = |pairs: &mut dyn Iterator<Item = (&&[u8], &&[u8])>| {
        pairs.take_while(|(one, two)| one == two).count()
    };
    let head = same(&mut one.iter().zip(&two));
    let (one, two) = (&one[head..], &two[head..]);
    let tail = same(&mut one.iter().rev().zip(two.iter().rev()));
    for (sign, lines) in [('-', one), ('+', two)] {
        for line in &lines[..lines.len() - tail] {
            writeln!(text, "    {sign} {:?}", BStr::new(line))?;
        }
    }
    Ok(())
}

/// Longest value that is shown on one line, in bytes.
const SHORT: usize = 200;
