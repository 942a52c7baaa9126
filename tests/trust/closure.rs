//! A closure of derivations of every shape that real Nix makes without experimental features.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use test_support::{Machine, RawDrv};

/// How many derivations there are of each kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Each depends on the one before.
    chain: usize,
    /// Those of every other kind.
    others: usize,
}

impl Size {
    /// More than ninety derivations in all.
    pub(crate) const FULL: Self = Self {
        chain: 30,
        others: 13,
    };
    /// One or two of each kind.
    pub(crate) const SMALL: Self = Self {
        chain: 3,
        others: 2,
    };
}

/// The attributes of the closure; `top` depends on all.
pub(crate) fn attributes(size: Size, merged: Merged) -> String {
    let mut text = String::new();
    let mut all = String::new();
    let mut add = |name: String, attributes: String, script: &str, output: &str| {
        let _ = writeln!(
            text,
            "{name} = make \"{name}\" {{ {attributes} }} ''\n{script}'';"
        );
        let _ = write!(all, "{name}{output} ");
    };
    for number in 0..size.chain {
        let before = match number {
            0 => "prev = \"a first one\";".to_owned(),
            _ => format!("prev = c{};", number - 1),
        };
        let script = "$b mkdir $out; echo $prev > $out/prev; echo $out > $out/self\n";
        add(format!("c{number}"), before, script, "");
    }
    for number in 0..size.others {
        let link = number * (size.chain - 1) / size.others;
        let multi = match number {
            0 => String::new(),
            _ => format!(
                "other = multi{}.lib; again = multi{}.dev;",
                number - 1,
                number / 2
            ),
        };
        add(
            format!("multi{number}"),
            format!("outputs = [ \"dev\" \"out\" \"lib\" ]; link = c{link}; {multi}"),
            "echo $lib $other > $out; $b mkdir $dev; echo $out $again > $dev/reference\n\
             echo text $link > $lib\n",
            ".dev",
        );
        let text = format!("fixed {number}");
        add(
            format!("fixed{number}"),
            format!(
                "outputHashMode = \"flat\"; outputHashAlgo = \"sha256\"; link = c{link}; \
                 outputHash = builtins.hashString \"sha256\" \"{text}\\n\";"
            ),
            &format!("echo {text} > $out\n"),
            "",
        );
        add(
            format!("structured{number}"),
            format!(
                "__structuredAttrs = true; list = [ 1 \"a b\" ]; text = \"a'b\\\"\\\\\"; \
                 nothing = null; fixed = fixed{number}; multi = multi{number}.out;"
            ),
            "out=$($b sed 's/.*\"outputs\":{\"out\":\"\\([^\"]*\\)\".*/\\1/' .attrs.json)\n\
             $b mkdir $out; $b cp .attrs.json .attrs.sh $out\n",
            "",
        );
        add(
            format!("words{number}"),
            format!(
                "passAsFile = [ \"long\" ]; long = \"line\\n\\ttab \\\"quoted\\\" back\\\\slash\"; \
                 empty = \"\"; file = builtins.toFile \"file{number}\" \"text {number}\"; \
                 inherit structured{number}; exportReferencesGraph = [ \"graph\" multi{number}.lib ];"
            ),
            "$b mkdir $out; $b cat $longPath $file > $out/text; $b cp graph $out/graph\n",
            "",
        );
        add(
            format!("archive{number}"),
            format!(
                "outputHashMode = \"recursive\"; outputHashAlgo = \"sha256\"; \
                 outputHash = \"{}\"; words = words{number};",
                tree_hash(number)
            ),
            &format!("$b mkdir $out; echo tree {number} > $out/file\n"),
            "",
        );
    }
    if matches!(merged, Merged::Yes) {
        text.push_str(MERGED);
        all.push_str("merged ");
    }
    let _ = writeln!(
        text,
        "top = make \"top\" {{ all = [ {all}]; }} \"echo $all > $out\";"
    );
    text
}

/// Whether two inputs with equal hash modulo are among them, of which releases before 2.8 make
/// something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Merged {
    Yes,
    No,
}

/// The same fixed output by two derivations, and two derivations above that differ in nothing
/// else: the outputs wanted of both are put together.
const MERGED: &str = r#"
same0 = make "same" {
  outputHashMode = "flat"; outputHashAlgo = "sha256"; way = "0";
  outputHash = builtins.hashString "sha256" "same\n";
} "echo same > $out";
same1 = make "same" {
  outputHashMode = "flat"; outputHashAlgo = "sha256"; way = "1";
  outputHash = builtins.hashString "sha256" "same\n";
} "echo same > $out";
half0 = make "half" { outputs = [ "out" "dev" ]; same = same0; } "echo $same > $out; echo dev > $dev";
half1 = make "half" { outputs = [ "out" "dev" ]; same = same1; } "echo $same > $out; echo dev > $dev";
merged = make "merged" { one = half0.out; other = half1.dev; more = same0; most = same1; }
  "echo $one $other $more $most > $out";
"#;

/// The hash of a directory with one file.
fn tree_hash(number: usize) -> String {
    let file = test_support::nar::regular(format!("tree {number}\n").as_bytes());
    let archive = test_support::nar::directory(&[(b"file", file)]);
    test_support::PathToAdd::from_nar(String::new(), archive).nar_hash
}

/// All derivations that a derivation is made from, itself included, inputs first.
pub(crate) fn in_order(machine: &Machine, top: &str) -> Vec<(String, RawDrv)> {
    let mut read: BTreeMap<String, RawDrv> = BTreeMap::new();
    let mut done: BTreeSet<String> = BTreeSet::new();
    let mut order = Vec::new();
    let mut stack = vec![top.to_owned()];
    while let Some(path) = stack.last().cloned() {
        let drv = read
            .entry(path.clone())
            .or_insert_with(|| RawDrv::read(&machine.on_disk(&path)));
        let missing = drv.input_drvs.iter().map(|(input, _)| input);
        let missing: Vec<String> = missing
            .filter(|&input| !done.contains(input))
            .cloned()
            .collect();
        if missing.is_empty() {
            stack.pop();
            if done.insert(path.clone()) {
                order.push((path, drv.clone()));
            }
        } else {
            stack.extend(missing);
        }
    }
    order
}
