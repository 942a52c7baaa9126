//! A store in memory, for tests of the layers above.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use nix_base::{NarHash, StoreDir, StorePath, StorePathSet, ValidPathInfo};

use crate::db::Registration;
use crate::error::{Error, FullPath, Result};
use crate::store::{IncludeOutputs, Lock, Store};

/// A store without disk or database. It checks as much as a real one does.
#[derive(Debug, Default)]
pub struct MemoryStore {
    store_dir: StoreDir,
    objects: BTreeMap<StorePath, Object>,
    temp_roots: RefCell<StorePathSet>,
}

#[derive(Debug)]
struct Object {
    registration: Registration,
    nar: Vec<u8>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(store_dir: StoreDir) -> Self {
        Self {
            store_dir,
            ..Self::default()
        }
    }

    /// Adds an object, unless its path is valid already.
    ///
    /// # Errors
    /// The archive hasn't the hash or size of the metadata, a reference isn't valid, or the
    /// path doesn't follow from its content address.
    pub fn add_nar(&mut self, registration: Registration, nar: Vec<u8>) -> Result<()> {
        let info = &registration.info;
        if self.objects.contains_key(&info.path) {
            return Ok(());
        }
        let path = || Box::new(FullPath::new(&self.store_dir, &info.path));
        let actual = NarHash::of(&nar);
        if actual != info.nar_hash {
            return Err(Error::HashMismatch {
                path: path(),
                expected: info.nar_hash,
                actual,
            });
        }
        if u64::try_from(nar.len()) != Ok(info.nar_size) {
            return Err(Error::SizeMismatch {
                path: path(),
                expected: info.nar_size,
                actual: nar.len() as u64,
            });
        }
        if let (Some(false), Some(ca)) = (info.content_address_matches(&self.store_dir), &info.ca) {
            return Err(Error::WrongContentAddress {
                path: path(),
                ca: Box::new(*ca),
            });
        }
        for reference in &info.references {
            if *reference != info.path {
                self.object(reference)?;
            }
        }
        let key = info.path.clone();
        self.objects.insert(key, Object { registration, nar });
        Ok(())
    }

    /// The temporary roots that were added.
    pub fn temp_roots(&self) -> StorePathSet {
        self.temp_roots.borrow().clone()
    }

    fn object(&self, path: &StorePath) -> Result<&Object> {
        self.objects
            .get(path)
            .ok_or_else(|| Error::not_valid(&self.store_dir, path))
    }
}

impl Store for MemoryStore {
    fn store_dir(&self) -> &StoreDir {
        &self.store_dir
    }

    fn query_valid_paths(&self, paths: &StorePathSet, lock: Lock) -> Result<StorePathSet> {
        if lock == Lock::Yes {
            self.add_temp_roots(paths)?;
        }
        let valid = paths.iter().filter(|path| self.objects.contains_key(path));
        Ok(valid.cloned().collect())
    }

    fn query_path_info(&self, path: &StorePath) -> Result<Option<ValidPathInfo>> {
        let object = self.objects.get(path);
        Ok(object.map(|object| object.registration.info.clone()))
    }

    fn query_path_infos(
        &self,
        paths: &StorePathSet,
        each: &mut dyn FnMut(ValidPathInfo) -> Result<()>,
    ) -> Result<()> {
        paths
            .iter()
            .filter_map(|path| self.objects.get(path))
            .try_for_each(|object| each(object.registration.info.clone()))
    }

    fn closure(
        &self,
        roots: &StorePathSet,
        include_outputs: IncludeOutputs,
    ) -> Result<StorePathSet> {
        let mut queue: Vec<&StorePath> = roots.iter().collect();
        let mut seen = StorePathSet::new();
        while let Some(path) = queue.pop() {
            let Registration { info, outputs } = &self.object(path)?.registration;
            if !seen.insert(path.clone()) {
                continue;
            }
            queue.extend(&info.references);
            if include_outputs == IncludeOutputs::Yes {
                let outputs = outputs.iter().map(|(_, path)| path);
                queue.extend(outputs.filter(|path| self.objects.contains_key(path)));
            }
        }
        Ok(seen)
    }

    fn dump(&self, path: &StorePath, out: &mut dyn Write) -> Result<()> {
        let object = self.object(path)?;
        out.write_all(&object.nar)
            .map_err(|error| Error::io("write", Path::new("the archive"), error))
    }

    fn add_temp_roots(&self, paths: &StorePathSet) -> Result<()> {
        self.temp_roots.borrow_mut().extend(paths.iter().cloned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nix_base::UnkeyedValidPathInfo;

    use super::*;

    fn path(digit: char) -> StorePath {
        let digits: String = std::iter::repeat_n(digit, 32).collect();
        let full = format!("/nix/store/{digits}-{digit}");
        StoreDir::default().parse(full).unwrap()
    }

    fn object(digit: char, references: &[StorePath]) -> (Registration, Vec<u8>) {
        let nar = vec![b'n', u8::try_from(digit).unwrap()];
        let mut info = UnkeyedValidPathInfo::new(NarHash::of(&nar), 2);
        info.references = references.iter().cloned().collect();
        let path = path(digit);
        (ValidPathInfo { path, info }.into(), nar)
    }

    #[test]
    fn answers_as_a_real_store_does() {
        let mut store = MemoryStore::default();
        let (a, b, c) = (path('a'), path('b'), path('c'));
        for (digit, references) in [('a', vec![]), ('b', vec![a.clone(), b.clone()])] {
            let (registration, nar) = object(digit, &references);
            store.add_nar(registration, nar).unwrap();
        }
        let wanted = StorePathSet::from([a.clone(), c.clone()]);
        let valid = store.query_valid_paths(&wanted, Lock::Yes).unwrap();
        assert_eq!(valid, StorePathSet::from([a.clone()]));
        assert_eq!(store.temp_roots(), wanted);
        let closure = store.closure(&StorePathSet::from([b.clone()]), IncludeOutputs::No);
        assert_eq!(closure.unwrap(), StorePathSet::from([a.clone(), b.clone()]));
        let mut nar = Vec::new();
        store.dump(&a, &mut nar).unwrap();
        assert_eq!(nar, b"na");
        assert!(store.dump(&c, &mut nar).unwrap_err().is_not_valid());
        assert_eq!(store.query_path_info(&c).unwrap(), None);
    }

    #[test]
    fn refuses_what_a_real_store_refuses() {
        let mut store = MemoryStore::default();
        let (registration, nar) = object('b', &[path('a')]);
        assert!(store.add_nar(registration, nar).unwrap_err().is_not_valid());
        let (registration, _) = object('a', &[]);
        let error = store.add_nar(registration, b"xx".to_vec()).unwrap_err();
        assert!(error.is_hash_mismatch());
        let (mut registration, nar) = object('a', &[]);
        registration.info.info.nar_size = 3;
        assert!(
            store
                .add_nar(registration, nar)
                .unwrap_err()
                .is_hash_mismatch()
        );
    }
}
