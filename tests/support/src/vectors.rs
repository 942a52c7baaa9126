//! The vectors of other projects, read in place where they are present.
//!
//! They lie in `shared/vectors` beside the workspace, with an `index.json`
//! that says of each file what must be made of it.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::say::{say, say_missing};

/// The folder with the vectors, or nothing after saying so.
///
/// # Panics
/// If they are absent and `CI=true`.
pub fn root() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    if root.join("index.json").is_file() {
        return Some(root);
    }
    say_missing(
        "shared/vectors: tests against the vectors of other projects do nothing",
        true,
    );
    None
}

/// What must be made of a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// It is read without an error.
    Accept,
    /// It is refused.
    Reject,
    /// Either will do, as long as nothing crashes.
    Either,
}

/// One entry of the index.
#[derive(Debug, Clone)]
pub struct Vector {
    /// The path below the folder of the vectors, as in the index.
    pub file: String,
    /// The whole path.
    pub path: PathBuf,
    /// The format, such as `nar` or `serve-value`.
    pub format: String,
    /// What must be made of it.
    pub expect: Expect,
    /// The properties object, or null.
    pub properties: serde_json::Value,
    /// What real Nix said, by release, or null.
    pub real_nix: serde_json::Value,
}

impl Vector {
    /// The contents of the file.
    pub fn read(&self) -> Vec<u8> {
        read(&self.path)
    }

    /// A property that is text.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name)?.as_str()
    }

    /// A file that a property names, such as the JSON beside a binary.
    /// Such names are below the folder of the vectors, or beside the vector.
    pub fn companion(&self, property: &str) -> Option<PathBuf> {
        let name = self.property(property)?;
        let root = self.path.ancestors().nth(self.file.split('/').count())?;
        [root.join(name), self.path.with_file_name(name)]
            .into_iter()
            .find(|path| path.symlink_metadata().is_ok())
    }

    /// The parsed JSON that the property `json` names.
    pub fn json(&self) -> Option<serde_json::Value> {
        let path = self.companion("json")?;
        Some(serde_json::from_slice(&read(&path)).expect("the vector's JSON parses"))
    }
}

/// All entries whose format is `format`, in the order of the index. With a
/// trailing `*`, all whose format begins so. Empty when the vectors are absent.
pub fn with_format(format: &str) -> Vec<Vector> {
    let Some(root) = root() else {
        return Vec::new();
    };
    all(&root)
        .into_iter()
        .filter(|vector| match format.strip_suffix('*') {
            Some(prefix) => vector.format.starts_with(prefix),
            None => vector.format == format,
        })
        .collect()
}

/// All entries of the index below `root`.
pub fn all(root: &Path) -> Vec<Vector> {
    let index: Vec<serde_json::Value> =
        serde_json::from_slice(&read(&root.join("index.json"))).expect("index.json parses");
    index.iter().map(|entry| parse_entry(root, entry)).collect()
}

/// Prints how many cases of `topic` were tried, and appends the line
/// `TOPIC N` to the file that `VECTOR_REPORT` names.
///
/// # Panics
/// If there were none, though the vectors are present.
pub fn report(topic: &str, cases: usize) {
    if cases == 0 && root().is_none() {
        return;
    }
    assert!(cases > 0, "vectors: {topic}: no case was tried");
    say(&format!("vectors: {topic}: {cases} cases"));
    if let Some(file) = std::env::var_os("VECTOR_REPORT") {
        // One write of one short line, so that test programs may share the file.
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&file)
            .and_then(|mut out| out.write_all(format!("{topic} {cases}\n").as_bytes()))
            .expect("VECTOR_REPORT can be appended to");
    }
}

fn parse_entry(root: &Path, entry: &serde_json::Value) -> Vector {
    let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let file = text("file");
    Vector {
        path: root.join(&file),
        format: text("format"),
        expect: match entry["expect"].as_str() {
            Some("accept") => Expect::Accept,
            Some("reject") => Expect::Reject,
            Some("either") => Expect::Either,
            other => panic!("'{file}': unknown expectation {other:?}"),
        },
        properties: entry["properties"].clone(),
        real_nix: entry["real_nix"].clone(),
        file,
    }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("cannot read '{}': {error}", path.display()))
}
