//! Our client against `nix-store --serve --write` of every real release.

use nix_base::{NarHash, StoreDir, StorePath, StorePathSet};
use nix_serve::client::{
    ClientConnection, ClientError, CopyFromOptions, CopyFromPlan, CopyToPlan, NoProgress,
    RemoteStore, Substitute, Transport,
};
use nix_serve::proto::ServeVersion;
use nix_serve::proto::request::QueryClosure;
use test_support::{Peer, TempStore};

use crate::objects::Objects;

fn connect(peer: &Peer, store: &TempStore) -> ClientConnection {
    let mut command = peer.command("nix-store");
    command.args(["--serve", "--write", "--store", &store.address()]);
    let name = format!("nix {}", peer.version());
    let transport = Transport::spawn(command, name, Box::new(|_| {})).unwrap();
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
        let mut objects = Objects::chain(200);
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
        objects.forget_what_replies_lack(ServeVersion::LATEST);
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
