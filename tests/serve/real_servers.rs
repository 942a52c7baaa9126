//! Our client against `nix-store --serve --write` of every real release.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use nix_base::{NarHash, StoreDir, StorePath, StorePathSet, UnkeyedValidPathInfo, ValidPathInfo};
use nix_serve::client::{
    BoxError, ClientConnection, ClientError, CopyFromOptions, CopyFromPlan, CopyToPlan,
    NarImporter, NarSource, NoProgress, RemoteStore, Substitute, Transport,
};
use nix_serve::proto::request::QueryClosure;
use test_support::{Peer, TempStore, say};

/// Objects with their NARs, as source and as destination.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Objects(BTreeMap<StorePath, (ValidPathInfo, Vec<u8>)>);

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
        if NarHash::of(&bytes) != info.nar_hash || bytes.len() as u64 != info.nar_size {
            return Err("not what was announced".into());
        }
        self.0.insert(info.path.clone(), (info.clone(), bytes));
        Ok(())
    }

    fn finish(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl Objects {
    /// A chain of `count` objects, each referring to the one before and to itself.
    fn chain(count: usize) -> Self {
        let mut objects = Self::default();
        let mut before: Option<StorePath> = None;
        for i in 0..count {
            let path = StorePath::from_base_name(&format!("{i:032}-item-{i}")).unwrap();
            let nar = test_support::nar::regular(&vec![b'x'; i * 37]);
            let mut info = UnkeyedValidPathInfo::new(NarHash::of(&nar), nar.len() as u64);
            info.references.insert(path.clone());
            info.references.extend(before);
            before = Some(path.clone());
            let info = ValidPathInfo {
                path: path.clone(),
                info,
            };
            objects.0.insert(path, (info, nar));
        }
        objects
    }

    fn infos(&self) -> Vec<ValidPathInfo> {
        self.0.values().map(|(info, _)| info.clone()).collect()
    }

    fn forget_times(&mut self) {
        for (info, _) in self.0.values_mut() {
            info.info.registration_time = 0;
        }
    }
}

fn connect(peer: &Peer, store: &TempStore) -> ClientConnection {
    let mut command = peer.command("nix-store");
    command.args(["--serve", "--write", "--store", &store.address()]);
    let name = format!("nix {}", peer.version());
    let transport = Transport::spawn(command, name, Box::new(|line| say(line))).unwrap();
    ClientConnection::new(transport, StoreDir::default())
}

fn send(connection: &mut ClientConnection, objects: &Objects) -> Result<u64, ClientError> {
    let plan = CopyToPlan::make(connection, objects.infos(), Substitute::No)?;
    let mut source = objects.clone();
    let summary = plan.send(connection, &mut source, &NoProgress)?;
    Ok(summary.paths)
}

#[test]
fn a_chain_goes_to_every_release_and_comes_back_the_same() {
    for peer in Peer::all() {
        let store = TempStore::new();
        let objects = Objects::chain(200);
        let mut connection = connect(peer, &store);
        assert_eq!(send(&mut connection, &objects).unwrap(), 200);
        assert_eq!(send(&mut connection, &objects).unwrap(), 0);
        connection.finish();

        let mut connection = connect(peer, &store);
        let last = objects.0.keys().last().unwrap().clone();
        let mut received = Objects::default();
        let options = CopyFromOptions::default();
        let wanted = StorePathSet::from([last]);
        let plan = CopyFromPlan::make(&mut connection, &wanted, &options, &mut received).unwrap();
        plan.fetch(&mut connection, &mut received, &NoProgress)
            .unwrap();
        received.forget_times();
        assert_eq!(received, objects, "{}", peer.version());
        connection.finish();
    }
}

#[test]
fn every_release_answers_questions() {
    for peer in Peer::all() {
        let store = TempStore::new();
        let objects = Objects::chain(20);
        let mut connection = connect(peer, &store);
        send(&mut connection, &objects).unwrap();
        let mut remote = RemoteStore::new(connection);
        let last = objects.0.keys().last().unwrap().clone();
        let closure = remote
            .query_closure(&QueryClosure {
                include_outputs: true,
                paths: [last.clone()].into(),
            })
            .unwrap();
        assert_eq!(closure, objects.0.keys().cloned().collect());
        assert_eq!(remote.query_path_infos(&closure).unwrap(), objects.infos());
        let mut nar = Vec::new();
        remote.dump(&last, &mut nar).unwrap();
        assert_eq!(nar, objects.0[&last].1);
        remote.finish();
    }
}

#[test]
fn a_refusal_by_a_real_server_comes_with_its_reason() {
    for peer in Peer::all() {
        let store = TempStore::new();
        let mut objects = Objects::chain(50);
        let (path, (info, _)) = objects.0.iter_mut().nth(30).unwrap();
        info.info.nar_hash = NarHash::from_bytes([1; 32]);
        let full = StoreDir::default().print(path);
        let mut connection = connect(peer, &store);
        let error = send(&mut connection, &objects).unwrap_err();
        let text = error.to_string();
        say(&text);
        assert!(error.is_connection_lost());
        assert!(
            text.contains(&format!("AddToStoreNar for '{full}'")),
            "{text}"
        );
        assert!(text.contains("hash mismatch importing path"), "{text}");

        // The objects before the refused one are there.
        let mut remote = RemoteStore::new(connect(peer, &store));
        let asked: StorePathSet = objects.0.keys().cloned().collect();
        assert_eq!(remote.query_path_infos(&asked).unwrap().len(), 30);
    }
}

#[test]
fn an_invalid_path_is_named_by_the_server() {
    for peer in Peer::all() {
        let store = TempStore::new();
        let mut remote = RemoteStore::new(connect(peer, &store));
        let path = StorePath::from_base_name(&format!("{:032}-absent", 7)).unwrap();
        let error = remote.dump(&path, &mut Vec::new()).unwrap_err().to_string();
        // The newest release says `is not a valid store path`.
        let expected = format!("error: path '/nix/store/{path}' is not ");
        assert!(error.contains(&expected), "{error}");
    }
}
