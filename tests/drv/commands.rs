//! `nix-serve drv` on files of a temporary directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix_base::{StoreDir, StorePath};
use nix_drv::{Derivation, HashMemo, Strictness};
use tempfile::TempDir;

/// A directory of derivations, and the store that they would be in.
struct Files {
    directory: TempDir,
    memo: HashMemo,
}

impl Files {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            memo: HashMemo::new(),
        }
    }

    /// Makes a derivation; its deferred outputs get paths.
    fn make(&mut self, name: &str, text: &str) -> (StorePath, PathBuf) {
        let store = StoreDir::default();
        let name = name.parse().unwrap();
        let mut drv =
            Derivation::parse(text.as_bytes(), &store, &name, Strictness::Lenient).unwrap();
        drv.fill_in_outputs(&store, &self.memo).unwrap();
        let path = drv.store_path(&store).unwrap();
        let hash = drv.input_hash(&store, &self.memo).unwrap();
        self.memo.insert(&path, hash);
        let file = self.directory.path().join(path.base_name());
        fs::write(&file, drv.to_aterm(&store).unwrap()).unwrap();
        (path, file)
    }

    fn run(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_nix-serve"))
            .env_clear()
            .env("HOME", self.directory.path())
            .current_dir(self.directory.path())
            .arg("drv")
            .args(words)
            .args(["--store", "./store"])
            .output()
            .unwrap()
    }

    /// What is printed, or else what is said.
    fn answer(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let text = if output.stderr.is_empty() {
            output.stdout
        } else {
            output.stderr
        };
        String::from_utf8(text).unwrap()
    }
}

/// A leaf, something above it, and something on top; in two versions.
fn stack(files: &mut Files, version: &str) -> PathBuf {
    let (leaf, _) = files.make(
        "leaf",
        &format!(
            r#"Derive([("out","","","")],[],[],"s","/b",[],[("out",""),("script","one\ntwo {version}\nthree\n"),("version","{version}")])"#
        ),
    );
    let (middle, _) = files.make(
        "middle",
        &format!(
            r#"Derive([("dev","","",""),("out","","","")],[("/nix/store/{leaf}",["out"])],[],"s","/b",[],[("dev",""),("leaf","/nix/store/{}-leaf"),("out","")])"#,
            leaf.hash()
        ),
    );
    let (_, top) = files.make(
        "top",
        &format!(
            r#"Derive([("out","","","")],[("/nix/store/{leaf}",["out"]),("/nix/store/{middle}",["dev","out"])],[],"s","/b",["-e"],[("out","")])"#
        ),
    );
    top
}

fn name(file: &Path) -> &str {
    file.file_name().unwrap().to_str().unwrap()
}

#[test]
fn outputs_are_printed_and_checked() {
    let mut files = Files::new();
    let top = stack(&mut files, "1");
    insta::assert_snapshot!(files.answer(&["outputs", "--check", name(&top)]), @"out /nix/store/692la7l8nf7sapvzxx3n20hiz8fw7nyj-top");
    let wrong = fs::read_to_string(&top).unwrap().replace("-e", "-x");
    fs::write(files.directory.path().join("top.drv"), wrong).unwrap();
    let said = files.answer(&["outputs", "--check", "top.drv"]);
    assert!(said.contains("has incorrect output"), "{said}");
    assert!(
        !files
            .run(&["outputs", "--check", "top.drv"])
            .status
            .success()
    );
    assert!(files.run(&["outputs", "top.drv"]).status.success());
}

#[test]
fn outputs_of_a_whole_graph_come_inputs_first() {
    let mut files = Files::new();
    let top = stack(&mut files, "1");
    let said = files.answer(&["outputs", "--recursive", "--check", name(&top)]);
    let outputs: Vec<_> = said
        .lines()
        .map(|line| line.split_once('-').unwrap().1)
        .collect();
    let last = outputs.last().unwrap();
    assert_eq!(outputs.len(), 4, "{said}");
    assert!(outputs[0].starts_with("leaf.drv!out /nix/store/"), "{said}");
    assert_eq!(
        *last,
        "top.drv!out /nix/store/692la7l8nf7sapvzxx3n20hiz8fw7nyj-top"
    );
    let json = files.answer(&["outputs", "--recursive", "--json", name(&top)]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json.as_object().unwrap().len(), 3);

    let wrong = fs::read_to_string(&top).unwrap().replace("-e", "-x");
    fs::write(files.directory.path().join("top.drv"), wrong).unwrap();
    let said = files.answer(&["outputs", "--recursive", "--check", "top.drv"]);
    assert!(
        said.contains("-top' as its output 'out', should be"),
        "{said}"
    );
}

#[test]
fn outputs_that_are_not_known_are_said_to_be_so() {
    let mut files = Files::new();
    let (_, file) = files.make(
        "f",
        r#"Derive([("out","","r:sha256","")],[],[],"s","/b",[],[("name","f")])"#,
    );
    insta::assert_snapshot!(files.answer(&["outputs", name(&file)]), @"out not known before it is built");
    insta::assert_snapshot!(files.answer(&["outputs", "--json", name(&file)]), @r#"
{
  "/nix/store/zabsa5sp3z83283iysg3mqf7psf2pgc7-f.drv": {
    "out": null
  }
}
"#);
}

#[test]
fn the_tree_shows_each_derivation_once() {
    let mut files = Files::new();
    let top = stack(&mut files, "1");
    insta::assert_snapshot!(files.answer(&["tree", name(&top)]), @r#"
/nix/store/i1iv0c6y81bpxzc9rz6rqb2jn3zw68ay-top.drv
├── 7lalfjidrpg61s7xv21zsyvvqz05bws8-leaf.drv [out]
└── pw0b6l0sr9aqcbszaz6gi3xx3m4rq3r8-middle.drv [dev, out]
    └── 7lalfjidrpg61s7xv21zsyvvqz05bws8-leaf.drv [out]
"#);
    let lines = files
        .answer(&["tree", "--depth", "1", name(&top)])
        .lines()
        .count();
    assert_eq!(lines, 3);
}

#[test]
fn differences_are_shown_level_by_level() {
    let mut files = Files::new();
    let (one, two) = (stack(&mut files, "1"), stack(&mut files, "2"));
    insta::assert_snapshot!(files.answer(&["diff", name(&one), name(&two)]), @r#"
level 0:
- i1iv0c6y81bpxzc9rz6rqb2jn3zw68ay-top.drv
+ 8vx1yzzbmmd7k66l6awf8g9g9hcgn8jx-top.drv
  input: 7lalfjidrpg61s7xv21zsyvvqz05bws8-leaf.drv → fp6hxrrkm4k21gvcf60rbc5g5ik8hxrq-leaf.drv
  input: pw0b6l0sr9aqcbszaz6gi3xx3m4rq3r8-middle.drv → b30jkq8x8xm81kay967wlfzm23y86zwd-middle.drv
level 1:
- 7lalfjidrpg61s7xv21zsyvvqz05bws8-leaf.drv
+ fp6hxrrkm4k21gvcf60rbc5g5ik8hxrq-leaf.drv
  env script:
    - "two 1"
    + "two 2"
  env version: "1" → "2"
level 1:
- pw0b6l0sr9aqcbszaz6gi3xx3m4rq3r8-middle.drv
+ b30jkq8x8xm81kay967wlfzm23y86zwd-middle.drv
  input: 7lalfjidrpg61s7xv21zsyvvqz05bws8-leaf.drv → fp6hxrrkm4k21gvcf60rbc5g5ik8hxrq-leaf.drv
  other store paths in: leaf
"#);
    assert_eq!(
        files.run(&["diff", name(&one), name(&two)]).status.code(),
        Some(1)
    );
    assert_eq!(
        files.run(&["diff", name(&one), name(&one)]).status.code(),
        Some(0)
    );
}

#[test]
fn inputs_are_resolved_by_what_is_known_or_was_said() {
    let mut files = Files::new();
    let top = stack(&mut files, "1");
    let resolved = files.answer(&["resolve", "--aterm", name(&top)]);
    assert!(
        resolved.contains(r#"],[],["/nix/store/"#) && !resolved.contains(".drv"),
        "{resolved}"
    );
    let (input, _) = files.make(
        "f",
        r#"Derive([("out","","r:sha256","")],[],[],"s","/b",[],[])"#,
    );
    let text = format!(
        r#"Derive([("out","","","")],[("/nix/store/{input}",["out"])],[],"s","/b",[],[("out","")])"#
    );
    let (_, above) = files.make("above", &text);
    insta::assert_snapshot!(files.answer(&["resolve", name(&above)]), @"error: output 'out' of derivation 'q29vdbgrirkb1czhgabckqg7wnnix2j9-f.drv' is not realised");
    let made = "/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-f";
    let said = format!("/nix/store/{input}!out={made}");
    let resolved = files.answer(&["resolve", "--realised", &said, name(&above)]);
    let json: serde_json::Value = serde_json::from_str(&resolved).unwrap();
    assert_eq!(json["inputs"][0], "00bgd045z0d4icpbc2yyz4gx48ak44la-f");
}

#[test]
fn all_forms_of_json_are_shown() {
    let mut files = Files::new();
    let top = stack(&mut files, "1");
    for (form, key) in [
        ("early", "inputSrcs"),
        ("unversioned", "name"),
        ("3", "version"),
        ("4", "derivations"),
    ] {
        let shown = files.answer(&["show", "--form", form, "--recursive", name(&top)]);
        let json: serde_json::Value = serde_json::from_str(&shown).unwrap();
        let drvs = json
            .get("derivations")
            .unwrap_or(&json)
            .as_object()
            .unwrap();
        assert_eq!(drvs.len(), 3, "{form}");
        assert!(shown.contains(key), "{form}");
    }
}

#[test]
fn what_is_no_derivation_is_refused_by_name() {
    let files = Files::new();
    let said = |contents: &str| {
        fs::write(files.directory.path().join("x.drv"), contents).unwrap();
        files.answer(&["show", "x.drv"])
    };
    insta::assert_snapshot!(said(""), @"error: error parsing derivation 'x.drv': derivation does not start with 'Derive' or 'DrvWithVersion' at offset 0");
    insta::assert_snapshot!(said("Derive([(\"out\",\"\",\"\""), @"error: error parsing derivation 'x.drv': expected string ',' at offset 20");
    insta::assert_snapshot!(said("Derive([(\"out\",\"/x\",\"\",\"\")],[],[],\"\",\"\",[],[])"), @"error: error parsing derivation 'x.drv': bad field at offset 16: path '/x' is not in the Nix store");
    insta::assert_snapshot!(files.answer(&["show", "y.drv"]), @"error: cannot read derivation 'y.drv': No such file or directory (os error 2)");
    insta::assert_snapshot!(files.answer(&["show", "/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-f"]), @"error: '/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-f' is not a derivation");
    fs::write(files.directory.path().join("x"), "").unwrap();
    insta::assert_snapshot!(files.answer(&["show", "x"]), @"error: 'x' is not a derivation: its name must end in '.drv'");
}
