//! Stores for tests of collections. A path is called by its name, whose first character is
//! repeated as its hash.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nix_base::{
    NarHashSink, StoreDir, StorePath, StorePathSet, UnkeyedValidPathInfo, ValidPathInfo,
};
use tempfile::TempDir;

use super::{GcAction, GcOptions, GcReport};
use crate::db::{Durability, Registration};
use crate::layout::StoreLayout;
use crate::local::{LocalStore, StoreConfig};

/// A store of its own.
pub(super) struct Site {
    pub(super) store: LocalStore,
    _root: TempDir,
}

impl Site {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut StoreConfig)) -> Self {
        let root = tempfile::tempdir().unwrap();
        let layout = StoreLayout::chroot(StoreDir::default(), root.path());
        let mut config = StoreConfig::new(layout);
        config.durability = Durability::None;
        config.reserved_bytes = 0;
        change(&mut config);
        let store = LocalStore::init(config).unwrap();
        Self { store, _root: root }
    }

    /// The same store, opened once more.
    pub(super) fn again(&self) -> LocalStore {
        LocalStore::open(self.store.config().clone()).unwrap()
    }

    pub(super) fn path(&self, name: &str) -> StorePath {
        let digit = name.chars().next().unwrap().to_string();
        let full = format!("/nix/store/{}-{name}", digit.repeat(32).replace('e', "z"));
        self.store.store_dir().parse(full).unwrap()
    }

    /// Where the object lies.
    pub(super) fn real(&self, name: &str) -> PathBuf {
        self.store.layout().real_path(&self.path(name))
    }

    /// Makes a directory with a file valid.
    pub(super) fn add(&self, name: &str, references: &[&str]) -> StorePath {
        self.add_info(name, references, |_| {})
    }

    pub(super) fn add_built(&self, name: &str, references: &[&str], deriver: &str) -> StorePath {
        let deriver = self.path(deriver);
        self.add_info(name, references, |info| info.deriver = Some(deriver))
    }

    fn add_info(
        &self,
        name: &str,
        references: &[&str],
        change: impl FnOnce(&mut UnkeyedValidPathInfo),
    ) -> StorePath {
        let real = self.real(name);
        fs::create_dir(&real).unwrap();
        fs::write(real.join("file"), name.repeat(1000)).unwrap();
        self.register(name, references, BTreeMap::new(), change)
    }

    pub(super) fn add_derivation(&self, name: &str, refs: &[&str], outputs: &[(&str, &str)]) {
        fs::write(self.real(name), name).unwrap();
        let outputs = outputs.iter().map(|(output, path)| {
            let output = nix_base::OutputName::new(output).unwrap();
            (output, self.path(path))
        });
        self.register(name, refs, outputs.collect(), |_| {});
    }

    fn register(
        &self,
        name: &str,
        references: &[&str],
        outputs: BTreeMap<nix_base::OutputName, StorePath>,
        change: impl FnOnce(&mut UnkeyedValidPathInfo),
    ) -> StorePath {
        let path = self.path(name);
        let mut sink = NarHashSink::new();
        self.store.dump_object(&path, &mut sink).unwrap();
        let (hash, size) = sink.finish();
        let mut info = UnkeyedValidPathInfo::new(hash, size);
        info.registration_time = 1_000_000;
        info.references = references
            .iter()
            .map(|name| self.path(name))
            .collect::<StorePathSet>();
        change(&mut info);
        let mut registration = Registration::from(ValidPathInfo {
            path: path.clone(),
            info,
        });
        registration.outputs = outputs.into_iter().collect();
        self.store.db().register(&[registration]).unwrap();
        path
    }

    /// Has a link in `gcroots` keep a path.
    pub(super) fn root(&self, name: &str) {
        let link = self.store.layout().gc_roots_dir().join(name);
        let target = self.store.store_dir().print(&self.path(name));
        std::os::unix::fs::symlink(target, link).unwrap();
    }

    pub(super) fn collect(&self, options: &GcOptions) -> GcReport {
        self.store.collect_garbage(options, &mut ()).unwrap()
    }

    pub(super) fn delete_dead(&self) -> GcReport {
        self.collect(&GcOptions::new(GcAction::DeleteDead))
    }

    /// The first characters of the valid paths, all of which are there.
    pub(super) fn valid(&self) -> String {
        let valid = self.store.query_all_valid().unwrap();
        assert!(
            valid
                .iter()
                .all(|path| is_there(&self.store.layout().real_path(path)))
        );
        valid
            .iter()
            .map(|path| path.name().as_str().chars().next().unwrap())
            .collect()
    }

    /// The names in the store directory.
    pub(super) fn entries(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.store.layout().real_store).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != ".links")
            .collect();
        names.sort();
        names
    }
}

/// Whether there is anything at `path`.
pub(super) fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}
