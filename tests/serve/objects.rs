//! Objects in memory, as source and as destination of copies.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use nix_base::{NarHash, StorePath, StorePathSet, UnkeyedValidPathInfo, ValidPathInfo};
use nix_serve::client::{BoxError, NarImporter, NarSource};
use nix_serve::proto::ServeVersion;

/// Objects with their NARs.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Objects(pub(crate) BTreeMap<StorePath, (ValidPathInfo, Vec<u8>)>);

impl NarSource for Objects {
    fn dump(&mut self, path: &StorePath, out: &mut dyn Write) -> Result<(), BoxError> {
        Ok(out.write_all(&self.0[path].1)?)
    }
}

impl NarImporter for Objects {
    fn query_valid(&mut self, paths: &StorePathSet) -> Result<StorePathSet, BoxError> {
        let valid = paths.iter().filter(|path| self.0.contains_key(*path));
        Ok(valid.cloned().collect())
    }

    fn import(&mut self, info: &ValidPathInfo, mut nar: &mut dyn BufRead) -> Result<(), BoxError> {
        let mut bytes = Vec::new();
        nix_nar::copy(&mut nar, &mut bytes)?;
        let known = !info.nar_hash.is_unknown();
        if known && NarHash::of(&bytes) != info.nar_hash || bytes.len() as u64 != info.nar_size {
            return Err("not what was announced".into());
        }
        self.insert(info.clone(), bytes);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl Objects {
    /// A chain of `count` objects, each referring to the one before and to itself.
    pub(crate) fn chain(count: usize) -> Self {
        let mut objects = Self::default();
        let mut before: Option<StorePath> = None;
        for i in 0..count {
            let path = StorePath::from_base_name(&format!("{i:032}-item-{i}")).unwrap();
            let nar = test_support::nar::regular(&vec![b'x'; i * 37]);
            let mut info = UnkeyedValidPathInfo::new(NarHash::of(&nar), nar.len() as u64);
            info.references.insert(path.clone());
            info.references.extend(before);
            before = Some(path.clone());
            objects.insert(ValidPathInfo { path, info }, nar);
        }
        objects
    }

    pub(crate) fn insert(&mut self, info: ValidPathInfo, nar: Vec<u8>) {
        self.0.insert(info.path.clone(), (info, nar));
    }

    pub(crate) fn infos(&self) -> Vec<ValidPathInfo> {
        self.0.values().map(|(info, _)| info.clone()).collect()
    }

    /// Leaves only what a server of `version` says of an object.
    pub(crate) fn forget_what_replies_lack(&mut self, version: ServeVersion) {
        for (info, _) in self.0.values_mut() {
            info.info.registration_time = 0;
            if !version.has_nar_hash() {
                info.info.nar_hash = NarHash::from_bytes([0; 32]);
                info.info.sigs.clear();
            }
        }
    }
}
