//! What differs between two derivations.
//!
//! One comparison goes one level deep: it names the pairs of input derivations that
//! stand for each other, and whoever can read them goes on there.

use std::collections::{BTreeMap, BTreeSet};

use bstr::BString;
use nix_base::{OutputName, StorePath};

use crate::derivation::{Derivation, DerivationOutput, InputNode};

/// One difference; the first value is that of the first derivation. `None` means
/// that there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// The derivations' names.
    Name([String; 2]),
    /// The systems.
    Platform([BString; 2]),
    /// The programs that build.
    Builder([BString; 2]),
    /// An argument.
    Argument {
        /// Which one, from 0.
        index: usize,
        /// What it is.
        values: [Option<BString>; 2],
    },
    /// A variable of the environment.
    Variable {
        /// Its name.
        name: BString,
        /// What it holds.
        values: [Option<BString>; 2],
    },
    /// An output. Paths of input-addressed ones don't count: they follow.
    Output {
        /// Its name.
        name: OutputName,
        /// What it is.
        values: [Option<DerivationOutput>; 2],
    },
    /// A source that only one has.
    Source {
        /// Where it is.
        values: [Option<StorePath>; 2],
    },
    /// Input derivations; of two of the same name it is taken that one stands for
    /// the other.
    Input {
        /// Their paths.
        values: [Option<StorePath>; 2],
    },
    /// What is wanted of an input derivation, or of two that stand for each other.
    Wanted {
        /// The input derivations.
        inputs: [StorePath; 2],
        /// The outputs.
        values: [BTreeSet<OutputName>; 2],
    },
}

/// All differences between `one` and `two`, but for the paths of their outputs.
pub fn diff(one: &Derivation, two: &Derivation) -> Vec<Difference> {
    let mut found = Vec::new();
    if one.name != two.name {
        found.push(Difference::Name([
            one.name.to_string(),
            two.name.to_string(),
        ]));
    }
    outputs(one, two, &mut found);
    if one.platform != two.platform {
        found.push(Difference::Platform([
            one.platform.clone(),
            two.platform.clone(),
        ]));
    }
    if one.builder != two.builder {
        found.push(Difference::Builder([
            one.builder.clone(),
            two.builder.clone(),
        ]));
    }
    for index in 0..one.args.len().max(two.args.len()) {
        let values = [one.args.get(index).cloned(), two.args.get(index).cloned()];
        if values[0] != values[1] {
            found.push(Difference::Argument { index, values });
        }
    }
    variables(one, two, &mut found);
    for path in one.input_srcs.difference(&two.input_srcs) {
        found.push(Difference::Source {
            values: [Some(path.clone()), None],
        });
    }
    for path in two.input_srcs.difference(&one.input_srcs) {
        found.push(Difference::Source {
            values: [None, Some(path.clone())],
        });
    }
    inputs(one, two, &mut found);
    found
}

fn outputs(one: &Derivation, two: &Derivation, found: &mut Vec<Difference>) {
    let names: BTreeSet<_> = one.outputs.keys().chain(two.outputs.keys()).collect();
    for name in names {
        let values = [one, two].map(|drv| drv.outputs.get(name).cloned());
        let is_input_addressed =
            |value: &Option<_>| matches!(value, Some(DerivationOutput::InputAddressed(_)));
        if values[0] != values[1] && !values.iter().all(is_input_addressed) {
            found.push(Difference::Output {
                name: name.clone(),
                values,
            });
        }
    }
}

fn variables(one: &Derivation, two: &Derivation, found: &mut Vec<Difference>) {
    let names: BTreeSet<_> = one.env.keys().chain(two.env.keys()).collect();
    for name in names {
        let values = [one, two].map(|drv| drv.env.get(name).cloned());
        let holds_output = |drv: &Derivation| {
            let mut outputs = drv.outputs.keys();
            outputs.any(|output| output.as_str().as_bytes() == name.as_slice())
        };
        if values[0] != values[1] && !(holds_output(one) && holds_output(two)) {
            found.push(Difference::Variable {
                name: name.clone(),
                values,
            });
        }
    }
}

fn inputs(one: &Derivation, two: &Derivation, found: &mut Vec<Difference>) {
    let only = |drv: &Derivation, other: &Derivation| -> Vec<StorePath> {
        let paths = drv.input_drvs.keys();
        paths
            .filter(|path| !other.input_drvs.contains_key(path))
            .cloned()
            .collect()
    };
    for (path, node) in &one.input_drvs {
        if let Some(other) = two.input_drvs.get(path) {
            wanted([path, path], [node, other], found);
        }
    }
    let mut by_name: BTreeMap<String, Vec<StorePath>> = BTreeMap::new();
    for path in only(two, one).into_iter().rev() {
        by_name
            .entry(path.name().to_string())
            .or_default()
            .push(path);
    }
    for path in only(one, two) {
        let partner = by_name.get_mut(path.name().as_str()).and_then(Vec::pop);
        let values = [Some(path.clone()), partner.clone()];
        found.push(Difference::Input { values });
        if let Some(partner) = partner {
            let nodes = [&one.input_drvs[&path], &two.input_drvs[&partner]];
            wanted([&path, &partner], nodes, found);
        }
    }
    for path in by_name.into_values().flatten() {
        found.push(Difference::Input {
            values: [None, Some(path)],
        });
    }
}

fn wanted(inputs: [&StorePath; 2], nodes: [&InputNode; 2], found: &mut Vec<Difference>) {
    if nodes[0].outputs != nodes[1].outputs {
        let values = nodes.map(|node| node.outputs.clone());
        found.push(Difference::Wanted {
            inputs: inputs.map(StorePath::clone),
            values,
        });
    }
}

/// Whether two texts are alike but for digests of store paths: runs of 32 digits
/// between a slash and a dash.
pub fn differ_in_digests_only(one: &[u8], two: &[u8]) -> bool {
    if one.len() != two.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] == two[at] {
            at += 1;
            continue;
        }
        // The digits may begin alike, so look for their slash behind.
        let Some(slash) = one[..at].iter().rposition(|&byte| byte == b'/') else {
            return false;
        };
        let end = slash + 1 + DIGITS;
        let is_digest = |text: &[u8]| {
            text.get(end) == Some(&b'-')
                && text[slash + 1..end]
                    .iter()
                    .all(|&byte| nix_base::nix32::is_digit(byte))
        };
        if at >= end || !is_digest(one) || !is_digest(two) {
            return false;
        }
        at = end;
    }
    true
}

/// Digits of a store path.
const DIGITS: usize = nix_base::store_path::HASH_DIGITS;

#[cfg(test)]
mod tests {
    use nix_base::StoreDir;

    use super::*;
    use crate::Strictness;

    fn parse(text: &str) -> Derivation {
        let name = "x".parse().unwrap();
        Derivation::parse(
            text.as_bytes(),
            &StoreDir::default(),
            &name,
            Strictness::Lenient,
        )
        .unwrap()
    }

    const ONE: &str = r#"Derive([("out","/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-x","","")],[("/nix/store/10bgd045z0d4icpbc2yyz4gx48ak44la-dep.drv",["out"]),("/nix/store/20bgd045z0d4icpbc2yyz4gx48ak44la-same.drv",["out"])],["/nix/store/30bgd045z0d4icpbc2yyz4gx48ak44la-src"],"s","/b",["a"],[("gone","1"),("kept","1"),("out","/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-x"),("version","1")])"#;

    #[test]
    fn a_derivation_does_not_differ_from_itself() {
        assert_eq!(diff(&parse(ONE), &parse(ONE)), []);
    }

    #[test]
    fn every_part_is_compared_but_output_paths() {
        let two = ONE
            .replace("00bgd", "40bgd")
            .replace("10bgd", "50bgd")
            .replace("same.drv\",[\"out\"]", "same.drv\",[\"dev\"]")
            .replace("30bgd", "60bgd")
            .replace("\"s\",\"/b\",[\"a\"]", "\"t\",\"/c\",[\"a\",\"b\"]")
            .replace("(\"gone\",\"1\"),", "")
            .replace("(\"version\",\"1\")", "(\"version\",\"2\"),(\"new\",\"\")");
        let found: Vec<_> = diff(&parse(ONE), &parse(&two))
            .iter()
            .map(|difference| {
                format!("{difference:?}")
                    .split([' ', '('])
                    .next()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        assert_eq!(
            found,
            [
                "Platform", "Builder", "Argument", "Variable", "Variable", "Variable", "Source",
                "Source", "Wanted", "Input"
            ]
        );
        let floating = parse(r#"Derive([("out","","r:sha256","")],[],[],"s","/b",["a"],[])"#);
        let found = diff(&parse(ONE), &floating);
        assert!(matches!(found[0], Difference::Output { .. }));
    }

    #[test]
    fn digests_are_told_from_other_text() {
        let a = b"x /nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-a/bin y";
        let b = b"x /nix/store/01bgd045z0d4icpbc2yyz4gx48ak44la-a/bin y";
        let c = b"x /nix/store/01bgd045z0d4icpbc2yyz4gx48ak44la-b/bin y";
        assert!(differ_in_digests_only(a, a) && differ_in_digests_only(a, b));
        assert!(!differ_in_digests_only(a, c) && !differ_in_digests_only(a, b"x"));
        assert!(!differ_in_digests_only(b"1/", b"2/"));
    }
}
