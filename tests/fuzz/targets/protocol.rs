//! Both sides of the serve protocol.

use std::io::Read;

use nix_base::{StoreDir, StorePathName, WireRead};
use nix_drv::BasicDerivation;
use nix_drv::proof::PackedProof;
use nix_serve::policy::Role;
use nix_serve::proto::build_result::{BuildPathsReply, read_build_result};
use nix_serve::proto::handshake::read_server_hello;
use nix_serve::proto::options::read_build_options;
use nix_serve::proto::path_info::{
    read_add_to_store_nar, read_optional_content_address, read_path_info_item, read_signatures,
};
use nix_serve::proto::proof::read_text_hashes;
use nix_serve::proto::realisation::{read_output_of, read_realisation, read_unkeyed_realisation};
use nix_serve::proto::{Features, Result, ServeVersion};
use nix_serve::server::{NoBuilds, ServeOptions, serve};
use nix_store_core::{Durability, LocalStore, StoreConfig, StoreLayout};

use super::{Target, Unit};
use crate::{class, seeds};

pub(crate) const CONNECTION: Target = Target {
    name: "serve_connection",
    make: connection,
    seeds: seeds::connections,
    words: WORDS,
};

pub(crate) const REPLY: Target = Target {
    name: "serve_reply",
    make: || Box::new(reply),
    seeds: seeds::replies,
    words: WORDS,
};

const WORDS: &[&[u8]] = &[
    b"\0\0\0\0\0\0\0\0",
    b"\x01\0\0\0\0\0\0\0",
    b"\x02\0\0\0\0\0\0\0",
    b"\x03\0\0\0\0\0\0\0",
    b"\x04\0\0\0\0\0\0\0",
    b"\x05\0\0\0\0\0\0\0",
    b"\x06\0\0\0\0\0\0\0",
    b"\x07\0\0\0\0\0\0\0",
    b"\x08\0\0\0\0\0\0\0",
    b"\x09\0\0\0\0\0\0\0",
    b"\0\x01\0\0\0\0\0\0",
    b"\x01\x01\0\0\0\0\0\0",
    b"\x02\x01\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0proof\0\0\0",
    b"\x05\0\0\0\0\0\0\0proof\0\0\0",
    b"\x08\x02\x01\0\0\0\0\0",
    b"\x2d\0\0\0\0\0\0\0/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-x\0\0\0",
    b"\x47\0\0\0\0\0\0\0sha256:",
    b"\xcc\x9e\x52\x54\0\0\0\0\x07\x02\0\0\0\0\0\0",
    b"NIXE\0\0\0\0",
    b"{\"id\":\"sha256:",
];

/// A whole connection, to a store that stays; every other input may write.
fn connection() -> Unit {
    let temp = tempfile::tempdir().unwrap();
    let open = move || -> LocalStore {
        let layout = StoreLayout::chroot(StoreDir::default(), temp.path());
        let mut config = StoreConfig::new(layout);
        config.durability = Durability::None;
        LocalStore::init(config).unwrap()
    };
    drop(open());
    Box::new(move |input| {
        let options = ServeOptions {
            role: match input.len() % 3 {
                0 => Role::full(),
                1 => Role::read_only(),
                _ => Role::untrusted("fuzz"),
            },
            ..ServeOptions::default()
        };
        let mut output = Vec::new();
        let result = serve(&options, || Ok(open()), &NoBuilds, input, &mut output);
        class::of((
            class::of_result(&result, |()| ()),
            class::size(output.len()),
        ))
    })
}

/// The first byte says which reader and which version, the others are what a peer sends.
fn reply(input: &[u8]) -> u64 {
    let Some((first, mut rest)) = input.split_first() else {
        return 0;
    };
    let (which, minor) = (first & 15, first >> 4);
    let version = ServeVersion::v2(minor % 9);
    let before = rest.len();
    match which {
        12 => return class::of(read_derivation(&mut rest)),
        13 => return class::of(read_proof(&mut rest)),
        _ => {}
    }
    let result = read_reply(which, version, &mut rest);
    class::of((
        first,
        class::of_result(&result, |count| class::size(*count)),
        class::size(before - rest.len()),
    ))
}

fn read_reply(which: u8, version: ServeVersion, from: &mut impl Read) -> Result<usize> {
    let dir = &StoreDir::default();
    let mut count = 1;
    match which {
        0 => drop(read_server_hello(from)?),
        1 => count = from.read_path_set("the paths", dir)?.len(),
        2 => {
            while read_path_info_item(dir, version, from)?.is_some() {
                count += 1;
            }
        }
        3 => count = read_build_result(dir, version, from)?.built_outputs.len(),
        4 => drop(BuildPathsReply::read(from)?),
        5 => drop(read_build_options(version, from)?),
        6 => drop(read_realisation(from)?),
        7 => drop(read_unkeyed_realisation(dir, from)?),
        8 => drop(read_output_of(dir, from)?),
        9 => drop(read_optional_content_address(from)?),
        10 => count = read_signatures(from)?.len(),
        11 => drop(read_add_to_store_nar(dir, from)?),
        14 => count = Features::read(from)?.iter().count(),
        15 => count = read_text_hashes("the texts", from)?.len(),
        _ => count = usize::from(from.read_bool("a number")?),
    }
    Ok(count)
}

/// What is read can be written and read again.
fn read_derivation(from: &mut impl Read) -> u64 {
    let dir = &StoreDir::default();
    let name = StorePathName::new("a").unwrap();
    let result = BasicDerivation::read_wire(from, dir, &name);
    if let Ok(drv) = &result {
        let mut written = Vec::new();
        drv.write_wire(&mut written, dir).unwrap();
        let again = BasicDerivation::read_wire(&mut &written[..], dir, &name);
        assert_eq!(&again.unwrap(), drv);
    }
    class::of_result(&result, |drv| class::size(drv.env.len()))
}

/// What is read can be written and read again.
fn read_proof(from: &mut impl Read) -> u64 {
    let dir = &StoreDir::default();
    let result = PackedProof::read(from, dir);
    if let Ok(proof) = &result {
        let mut written = Vec::new();
        proof.write(&mut written, dir).unwrap();
        let again = PackedProof::read(&mut &written[..], dir);
        assert_eq!(&again.unwrap(), proof);
    }
    class::of_result(&result, |proof| class::size(proof.inputs.len()))
}
