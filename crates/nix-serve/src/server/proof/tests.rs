use nix_base::{StoreDir, WireWrite};
use nix_store_core::{Durability, LocalStore, StoreConfig, StoreLayout};

use super::*;
use crate::policy::Role;
use crate::proto::handshake::{read_server_hello, write_client_hello};
use crate::proto::{Feature, VersionWord};
use crate::server::{NoBuilds, ServeOptions, serve};

/// Sends `request` after a greeting with this word; gives what the server has to say after
/// its own.
fn talk(role: Role, word: VersionWord, request: &[u8]) -> (Vec<u8>, Result<(), ServeError>) {
    let temp = tempfile::tempdir().unwrap();
    let open = || {
        let layout = StoreLayout::chroot(StoreDir::default(), temp.path());
        let mut config = StoreConfig::new(layout);
        config.durability = Durability::None;
        Ok(LocalStore::init(config)?)
    };
    let options = ServeOptions {
        role,
        ..ServeOptions::default()
    };
    let mut input = Vec::new();
    write_client_hello(word, &mut input).unwrap();
    input.extend_from_slice(request);
    let mut output = Vec::new();
    let result = serve(&options, open, &NoBuilds, &input[..], &mut output);
    let theirs = read_server_hello(&mut &output[..]).unwrap();
    assert_eq!(theirs, VersionWord::OURS);
    (output.split_off(16), result)
}

fn plain() -> VersionWord {
    VersionWord::OURS.version.into()
}

fn request(command: ServeCommand, rest: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.write_u64(command.number()).unwrap();
    rest(&mut bytes);
    bytes
}

fn announcement(names: &[&str]) -> Vec<u8> {
    request(ServeCommand::AnnounceFeatures, |out| {
        out.write_u64(names.len() as u64).unwrap();
        for name in names {
            out.write_str(name).unwrap();
        }
    })
}

fn query() -> Vec<u8> {
    let texts = [[1; 32], [2; 32]].into();
    request(ServeCommand::QueryProofTexts, |out| {
        write_text_hashes(&texts, out).unwrap();
    })
}

/// What follows the greeting: the features of the server.
fn listed(features: Features) -> Vec<u8> {
    let mut list = Vec::new();
    features.write(&mut list).unwrap();
    list
}

fn assert_unknown(result: Result<(), ServeError>, number: u32) {
    let error = result.unwrap_err().to_string();
    assert_eq!(error, format!("unknown serve command {number}"));
}

#[test]
fn clients_without_extensions_see_nothing_of_them() {
    for command in ServeCommand::ALL.into_iter().filter(|c| c.is_extension()) {
        let sent = request(command, |_| {});
        let (replies, result) = talk(Role::untrusted("k"), plain(), &sent);
        assert_unknown(result, command as u32);
        assert!(replies.is_empty());
    }
}

#[test]
fn proofs_are_offered_where_they_are_demanded() {
    for (role, offered) in [
        (Role::untrusted("k"), Features::NONE.with(Feature::Proof)),
        (Role::full(), Features::NONE),
        (Role::read_only(), Features::NONE),
    ] {
        let (replies, result) = talk(role, VersionWord::OURS, &[]);
        result.unwrap();
        assert_eq!(replies, listed(offered));
    }
}

#[test]
fn texts_can_be_asked_for_once_both_sides_have_proofs() {
    let sent = [announcement(&["new", "proof"]), query()].concat();
    let (replies, result) = talk(Role::untrusted("k"), VersionWord::OURS, &sent);
    result.unwrap();
    let missing = query().split_off(8);
    assert_eq!(replies, [listed(Features::ALL), missing].concat());
}

#[test]
fn commands_of_features_that_were_not_agreed_on_are_unknown() {
    for (role, sent) in [
        (Role::untrusted("k"), query()),
        (Role::untrusted("k"), [announcement(&[]), query()].concat()),
        (
            Role::untrusted("k"),
            [announcement(&["new"]), query()].concat(),
        ),
        (Role::full(), [announcement(&["proof"]), query()].concat()),
    ] {
        let (_, result) = talk(role, VersionWord::OURS, &sent);
        assert_unknown(result, 0x100);
    }
}

#[test]
fn an_announcement_that_breaks_the_rules_ends_the_connection() {
    for names in [&["proof", "new"][..], &["Proof"], &[""]] {
        let sent = [announcement(names), query()].concat();
        let (replies, result) = talk(Role::untrusted("k"), VersionWord::OURS, &sent);
        assert!(matches!(result, Err(ServeError::Arguments { .. })));
        assert_eq!(replies, listed(Features::ALL));
    }
}
