//! Trees in memory, for tests: archives of them, and arbitrary ones.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufRead;
use std::os::fd::AsFd;
use std::path::Path;

use proptest::prelude::*;

use crate::fs::remove::remove_tree;
use crate::{Event, NarReader, NarWriter, Node, Result};

/// A tree as an archive knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tree {
    File(bool, Vec<u8>),
    Link(Vec<u8>),
    Dir(BTreeMap<Vec<u8>, Self>),
}

impl Tree {
    pub(crate) fn file(contents: impl AsRef<[u8]>) -> Self {
        Self::File(false, contents.as_ref().to_vec())
    }

    pub(crate) fn link(target: impl AsRef<[u8]>) -> Self {
        Self::Link(target.as_ref().to_vec())
    }

    pub(crate) fn dir<const N: usize>(entries: [(&str, Self); N]) -> Self {
        Self::Dir(
            entries
                .into_iter()
                .map(|(name, tree)| (name.into(), tree))
                .collect(),
        )
    }

    /// `depth` directories, one in the other.
    pub(crate) fn nested(depth: usize, innermost: Self) -> Self {
        (0..depth).fold(innermost, |inner, _| Self::dir([("d", inner)]))
    }

    pub(crate) fn nar(&self) -> Vec<u8> {
        let mut writer = NarWriter::new(Vec::new());
        self.write(b"", &mut writer).unwrap();
        writer.finish().unwrap().0
    }

    pub(crate) fn write(&self, name: &[u8], writer: &mut NarWriter<Vec<u8>>) -> Result<()> {
        match self {
            Self::File(executable, contents) => {
                writer.regular(name, *executable, contents.len() as u64)?;
                writer.contents(contents)
            }
            Self::Link(target) => writer.symlink(name, target),
            Self::Dir(entries) => {
                writer.directory(name)?;
                for (name, entry) in entries {
                    entry.write(name, writer)?;
                }
                writer.end_directory()
            }
        }
    }

    pub(crate) fn read(reader: impl BufRead) -> Result<Self> {
        let mut nar = NarReader::new(reader);
        let mut open = Vec::new();
        let mut root = None;
        while let Some(event) = nar.next()? {
            let (name, tree) = match event {
                Event::EndDirectory => {
                    let (name, entries): (Vec<u8>, BTreeMap<Vec<u8>, Self>) = open.pop().unwrap();
                    (name, Self::Dir(entries))
                }
                Event::Node { name, node } => {
                    let name = name.to_vec();
                    match node {
                        Node::Directory => {
                            open.push((name, BTreeMap::new()));
                            continue;
                        }
                        Node::Symlink { target } => (name, Self::link(target)),
                        Node::Regular { executable, size } => {
                            let mut contents = Vec::new();
                            while let Some(chunk) = nar.next_chunk()? {
                                contents.extend_from_slice(chunk);
                            }
                            assert_eq!(contents.len() as u64, size);
                            (name, Self::File(executable, contents))
                        }
                    }
                }
            };
            match open.last_mut() {
                Some((_, entries)) => assert!(entries.insert(name, tree).is_none()),
                None => assert!(root.replace(tree).is_none()),
            }
        }
        Ok(root.unwrap())
    }

    pub(crate) fn arbitrary() -> impl Strategy<Value = Self> {
        let name = prop_oneof![
            "[a-zA-Z.-]{1,4}".prop_map(String::into_bytes),
            prop::collection::vec(1u8..=255, 1..20),
            Just(vec![b'n'; 255]),
        ]
        .prop_filter("a name", |name| crate::names::check_name(name).is_ok());
        let size = prop_oneof![0usize..20, Just(4096), Just(200_000)];
        let leaf = prop_oneof![
            (any::<bool>(), any::<u8>(), size)
                .prop_map(|(executable, seed, size)| Self::File(executable, noise(seed, size))),
            prop::collection::vec(1u8..=255, 1..40).prop_map(Self::Link),
        ];
        leaf.prop_recursive(6, 30, 6, move |inner| {
            prop::collection::btree_map(name.clone(), inner, 0..6).prop_map(Self::Dir)
        })
    }
}

fn noise(seed: u8, size: usize) -> Vec<u8> {
    (0..=250u8).cycle().skip(seed.into()).take(size).collect()
}

/// Tokens as they stand in an archive.
pub(crate) fn tokens(words: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for word in words {
        out.extend_from_slice(&(word.len() as u64).to_le_bytes());
        out.extend_from_slice(word);
        out.resize(out.len().next_multiple_of(8), 0);
    }
    out
}

/// Tokens of the words of a text, which are separated by spaces; `''` is the empty word.
pub(crate) fn words(text: &str) -> Vec<u8> {
    let words: Vec<&[u8]> = text
        .split_ascii_whitespace()
        .map(|word| if word == "''" { b"" } else { word.as_bytes() })
        .collect();
    tokens(&words)
}

/// A temporary directory that goes away even when what is in it is read-only.
pub(crate) struct TestDir(tempfile::TempDir);

impl TestDir {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let (Ok(parent), Ok(entries)) = (File::open(self.path()), self.path().read_dir()) else {
            return;
        };
        for entry in entries.flatten() {
            let _ = remove_tree(parent.as_fd(), &entry.file_name());
        }
    }
}
