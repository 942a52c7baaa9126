//! Stores with many kinds of objects, and many kinds of damage.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix_base::{StoreDir, StorePath, StorePathName};
use nix_store_core::{Durability, LocalStore, StoreConfig, StoreLayout};
use test_support::{Peer, TempStore, run, run_ok};

/// The program under test.
pub(crate) const NIX_SERVE: &str = env!("CARGO_BIN_EXE_nix-serve");

/// `nix-serve` in an environment without configuration, on `store`.
pub(crate) fn nix_serve<T: AsRef<OsStr>>(
    store: &TempStore,
    words: impl IntoIterator<Item = T>,
) -> Command {
    let mut command = Command::new(NIX_SERVE);
    command.args(words).args(["--store", &store.address()]);
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("NIX_CONF_DIR", "/nonexistent")
        .env("NIX_USER_CONF_FILES", "")
        .env("NO_COLOR", "1");
    command
}

/// What a program said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn say(command: Command) -> Said {
    let output = run(command);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

impl Said {
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub(crate) fn open(store: &TempStore) -> LocalStore {
    let layout = StoreLayout::chroot(StoreDir::default(), store.root());
    let mut config = StoreConfig::new(layout);
    config.durability = Durability::None;
    LocalStore::init(config).unwrap()
}

/// A store with trees, and texts that refer to them.
pub(crate) struct Stock {
    pub(crate) store: TempStore,
    pub(crate) trees: Vec<String>,
    pub(crate) texts: Vec<String>,
}

impl Stock {
    /// `count` of each. The text with number `i` refers to the tree with that number and to
    /// the text before.
    pub(crate) fn new(count: usize) -> Self {
        let store = TempStore::new();
        let local = open(&store);
        let sources = tempfile::tempdir().unwrap();
        let dir = local.store_dir().clone();
        let mut trees: Vec<StorePath> = Vec::new();
        let mut texts: Vec<StorePath> = Vec::new();
        for i in 0..count {
            let name = |kind: &str| StorePathName::new(&format!("{kind}-{i}")).unwrap();
            let source = sources.path().join(i.to_string());
            make_tree(&source, i);
            trees.push(local.add_source(&source, &name("tree")).unwrap());
            let references = trees.last().into_iter().chain(texts.last());
            let references = references.cloned().collect();
            let text = format!("text {i}\n{}\n", trees[i]);
            let path = local.add_text(text.as_bytes(), references, &name("text"));
            texts.push(path.unwrap());
        }
        drop(local);
        let print = |paths: Vec<StorePath>| paths.iter().map(|path| dir.print(path)).collect();
        Self {
            trees: print(trees),
            texts: print(texts),
            store,
        }
    }

    /// All paths.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &String> {
        self.trees.iter().chain(&self.texts)
    }

    /// The same store again.
    pub(crate) fn copy(&self) -> TempStore {
        self.store.copy()
    }
}

fn make_tree(root: &Path, number: usize) {
    fs::create_dir_all(root.join("share/doc")).unwrap();
    fs::create_dir(root.join("bin")).unwrap();
    let program = root.join("bin/run");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(root.join("data"), format!("contents of tree {number}\n")).unwrap();
    fs::write(root.join("share/doc/text"), "the same in all trees\n").unwrap();
    symlink("data", root.join("link")).unwrap();
}

/// A kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    Changed,
    Grown,
    Missing,
    ExtraFile,
    LostFile,
    Mode,
    Link,
    Kind,
    Fifo,
    Metadata,
}

impl Damage {
    pub(crate) const OF_TREES: [Self; 10] = [
        Self::Changed,
        Self::Grown,
        Self::Missing,
        Self::ExtraFile,
        Self::LostFile,
        Self::Mode,
        Self::Link,
        Self::Kind,
        Self::Fifo,
        Self::Metadata,
    ];
    /// No text is missing together with its own tree: real Nix gives up on such a pair if
    /// something else needs the text.
    pub(crate) const OF_TEXTS: [Self; 6] = [
        Self::Changed,
        Self::Grown,
        Self::Mode,
        Self::Kind,
        Self::Metadata,
        Self::Missing,
    ];

    /// What the report calls it.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Missing => "disappeared",
            Self::Fifo => "unreadable",
            Self::Metadata => "metadata",
            _ => "modified",
        }
    }

    fn of_tree(self, root: &Path) {
        writable(root);
        let data = root.join("data");
        match self {
            Self::Changed => overwrite(&data, |text| text[0] ^= 1),
            Self::Grown => overwrite(&data, |text| text.push(b'x')),
            Self::Missing => remove(root),
            Self::ExtraFile => fs::write(root.join("more"), "").unwrap(),
            Self::LostFile => fs::remove_file(data).unwrap(),
            Self::Mode => {
                fs::set_permissions(root.join("bin/run"), PermissionsExt::from_mode(0o444))
                    .unwrap();
            }
            Self::Link => {
                fs::remove_file(root.join("link")).unwrap();
                symlink("bin/run", root.join("link")).unwrap();
            }
            Self::Kind => {
                remove(root);
                fs::write(root, "no directory").unwrap();
            }
            Self::Fifo => {
                let mut command = Command::new("mkfifo");
                command.arg(root.join("fifo"));
                run_ok(command);
            }
            Self::Metadata => {
                fs::set_permissions(data, PermissionsExt::from_mode(0o644)).unwrap();
            }
        }
        if self != Self::Missing && self != Self::Kind {
            fs::set_permissions(root, PermissionsExt::from_mode(0o555)).unwrap();
            // The time stays as the change has left it.
        }
    }

    fn of_text(self, file: &Path) {
        match self {
            Self::Changed => overwrite(file, |text| text[0] ^= 1),
            Self::Grown => overwrite(file, |text| text.push(b'x')),
            Self::Missing => fs::remove_file(file).unwrap(),
            Self::Mode => fs::set_permissions(file, PermissionsExt::from_mode(0o555)).unwrap(),
            Self::Metadata => fs::set_permissions(file, PermissionsExt::from_mode(0o600)).unwrap(),
            _ => {
                fs::remove_file(file).unwrap();
                symlink("/nowhere", file).unwrap();
            }
        }
    }
}

/// Damages `trees` trees and `texts` texts of a copy of the stock; tells how each was.
pub(crate) fn damage(
    stock: &Stock,
    copy: &TempStore,
    trees: usize,
    texts: usize,
) -> BTreeMap<String, Damage> {
    let mut damaged = BTreeMap::new();
    for (path, kind) in stock
        .trees
        .iter()
        .zip(Damage::OF_TREES.into_iter().cycle())
        .take(trees)
    {
        kind.of_tree(&copy.on_disk(path));
        damaged.insert(path.clone(), kind);
    }
    for (path, kind) in stock
        .texts
        .iter()
        .zip(Damage::OF_TEXTS.into_iter().cycle())
        .take(texts)
    {
        kind.of_text(&copy.on_disk(path));
        damaged.insert(path.clone(), kind);
    }
    damaged
}

fn overwrite(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut text = fs::read(file).unwrap();
    change(&mut text);
    writable(file);
    fs::write(file, text).unwrap();
    fs::set_permissions(file, PermissionsExt::from_mode(0o444)).unwrap();
}

fn writable(path: &Path) {
    let mode = fs::symlink_metadata(path).unwrap().permissions().mode();
    fs::set_permissions(path, PermissionsExt::from_mode(mode | 0o200)).unwrap();
}

fn remove(root: &Path) {
    let mut directories = vec![root.to_owned()];
    while let Some(dir) = directories.pop() {
        fs::set_permissions(&dir, PermissionsExt::from_mode(0o755)).unwrap();
        let entries = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap());
        let inner = entries.filter(|entry| entry.file_type().unwrap().is_dir());
        directories.extend(inner.map(|entry| entry.path()));
    }
    fs::remove_dir_all(root).unwrap();
}

/// The address of our server with this store.
pub(crate) fn served_by_us(store: &TempStore) -> String {
    format!("exec:{NIX_SERVE} serve --store '{}'", store.address())
}

/// The address of a real server with this store.
pub(crate) fn served_by(peer: &Peer, store: &TempStore) -> String {
    let mut words = String::from("exec:env -i PATH=/usr/bin:/bin NIX_REMOTE=local");
    words.push_str(" HOME=/homeless-shelter NIX_CONF_DIR=/homeless-shelter/conf");
    for (name, value) in peer.environment() {
        words.push_str(&format!(" {name}='{value}'"));
    }
    let program: PathBuf = peer.program("nix-store");
    let address = store.address();
    format!("{words} {} --serve --store '{address}'", program.display())
}
