//! Forgeries where derivation files are the evidence, as stock clients have it.

use std::collections::BTreeSet;

use nix_base::StoreDir;
use nix_drv::{Derivation, Strictness};
use test_support::{Machine, PathToAdd, RawLimits, say, verify_with};

use crate::closure::{Merged, Size, attributes};
use crate::forgeries::{Foreign, bring_sources, forgeries};
use crate::imports::paths_of;
use crate::proofs::{Client, Request, requests};
use crate::site::{confined, is_soak, newest, stocked};

#[test]
fn no_forgery_is_built_where_the_derivations_are_on_file() {
    let Some(peer) = newest() else { return };
    let size = match is_soak() {
        true => Size::FULL,
        false => Size::SMALL,
    };
    let (here, drvs) = stocked(peer, &attributes(size, Merged::Yes));
    let there = confined();
    let requests = requests(&here, &drvs["top"]);
    let mut client = Client::new(&there, "mallory");
    bring_sources(&mut client, &here, &requests);
    let files: Vec<String> = requests.iter().map(|one| one.drv_path.clone()).collect();
    let mut files = paths_of(&here, &files);
    // Inputs first, as the requests are.
    files.sort_by_key(|file| requests.iter().position(|one| one.drv_path == file.path));
    for file in &files {
        client.add(&file.request()).unwrap();
    }
    let foreign = PathToAdd::added_file("foreign", b"it is valid here");
    client.add(&foreign.request()).unwrap();
    let foreign = Foreign { path: foreign.path };
    let (mut refused, mut forged) = (0, 0);
    let mut valid = BTreeSet::new();
    for (request, file) in requests.iter().zip(&files) {
        for forgery in forgeries(request, &foreign) {
            if forgery.request.drv == request.drv && forgery.request.drv_path == request.drv_path {
                continue;
            }
            let built = client.build(&forgery.request.plain());
            assert!(
                built.is_err(),
                "'{}' with {}",
                request.drv_path,
                forgery.what
            );
            refused += 1;
        }
        forged += usize::from(refuses_forged_file(&mut client, &here, request, file));
        let seen = client
            .session()
            .query_valid_paths(true, false, request.outputs());
        assert_eq!(seen, &request.outputs() & &valid, "'{}'", request.drv_path);
        let built = client.build(&request.plain());
        assert!(built.is_ok(), "'{}': {built:?}", request.drv_path);
        valid.extend(request.outputs());
    }
    verify_with(peer, &there);
    say(&format!(
        "{} derivations built by their files, {refused} forgeries and {forged} forged files refused",
        requests.len()
    ));
}

/// A file at the path that its own text gives, with an argument more and the outputs of the
/// honest one. Whether there was anything to forge.
fn refuses_forged_file(
    client: &mut Client<'_>,
    here: &Machine,
    honest: &Request,
    file: &PathToAdd,
) -> bool {
    if honest.is_fixed() {
        return false;
    }
    let dir = StoreDir::default();
    let path = dir.parse(file.path.as_bytes()).unwrap();
    let text = std::fs::read(here.on_disk(&file.path)).unwrap();
    let mut drv = Derivation::parse_file(&text, &dir, &path, Strictness::Strict).unwrap();
    drv.args.push("more".into());
    let text = drv.to_aterm(&dir).unwrap();
    let forged_path = dir.print(&drv.store_path(&dir).unwrap());
    let mut forged = PathToAdd::from_nar(forged_path, test_support::nar::regular(&text));
    forged.references.clone_from(&file.references);
    forged.ca = text_address(&text);
    if client.add(&forged.request()).is_err() {
        return true;
    }
    // Its text is what it says, so it may well be there; its outputs are not.
    let mut request = honest.clone();
    request.drv_path.clone_from(&forged.path);
    request.drv.args.push("more".to_owned());
    client.build(&request.plain()).expect_err("a forged file");
    let (status, _) = client.build_paths(&forged.path, &RawLimits::default());
    assert_ne!(status, 0, "'{}' was built", forged.path);
    true
}

fn text_address(text: &[u8]) -> String {
    let hash = nix_base::Hash::of(nix_base::HashAlgo::Sha256, text);
    format!("text:sha256:{}", hash.render(nix_base::HashFormat::Nix32))
}
