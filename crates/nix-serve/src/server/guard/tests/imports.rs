//! SEC-21, SEC-22, SEC-23, and what of weak hashes and quotas concerns imports.

use nix_base::store_path::make::References;
use nix_base::{
    ContentAddress, ContentAddressMethod, Hash, HashAlgo, HashModuloSink, Positions, SecretKey,
    StoreDir, StorePath, ValidPathInfo,
};
use nix_store_core::Store;

use super::machine::{Machine, Talk, file, key, path, text};
use crate::policy::{Capability, Role};
use crate::server::Rule;

fn signing_key(name: &str) -> SecretKey {
    SecretKey::from_seed(name, &[7; 32])
}

fn trusting(secret: &SecretKey) -> Role {
    Role {
        trusted_keys: vec![secret.public_key()],
        ..key("a")
    }
}

fn import(m: &Machine, role: Role, (nar, info): &(Vec<u8>, ValidPathInfo)) -> Talk {
    m.talk(role, &Talk::add(info, nar))
}

#[test]
fn what_its_content_addresses_comes_in() {
    let m = Machine::new();
    let object = text("x", b"x", &[]);
    import(&m, key("a"), &object).done();
    assert!(m.store().is_valid(&object.1.path).unwrap());
    assert!(m.sees(key("a"), &object.1.path));
}

#[test]
fn without_address_or_signature_it_is_refused_before_its_archive() {
    let m = Machine::new();
    let (_, info) = file("x", b"x");
    // No archive follows: nothing waits for it.
    let refusal = m.talk(key("a"), &Talk::add(&info, b"")).refusal();
    assert_eq!(refusal.rule, Rule::Signature);
    assert!(refusal.remedy.unwrap().contains("signature"));
    let mut role = key("a");
    role.capabilities.remove(&Capability::ImportSigned);
    let refusal = m.talk(role, &Talk::add(&info, b"")).refusal();
    assert_eq!(refusal.rule, Rule::ContentAddress);
    assert!(!m.store().is_valid(&info.path).unwrap());
}

#[test]
fn an_address_that_gives_another_path_is_refused_before_the_archive() {
    let m = Machine::new();
    let (_, mut info) = text("x", b"x", &[]);
    info.path = path("x");
    let refusal = m.talk(key("a"), &Talk::add(&info, b"")).refusal();
    assert_eq!(refusal.rule, Rule::ContentAddress);
    // The references are part of the path.
    let (nar, other) = text("y", b"y", &[]);
    import(&m, key("a"), &(nar, other.clone())).done();
    let (_, mut info) = text("x", b"x", &[]);
    info.info.references.insert(other.path);
    let refusal = m.talk(key("a"), &Talk::add(&info, b"")).refusal();
    assert_eq!(refusal.rule, Rule::ContentAddress);
}

#[test]
fn contents_that_the_address_is_not_of_are_refused() {
    let m = Machine::new();
    let (_, info) = text("x", b"x", &[]);
    let (nar, other) = text("x", b"y", &[]);
    let mut forged = info.clone();
    forged.info.nar_hash = other.info.nar_hash;
    import(&m, key("a"), &(nar.clone(), forged))
        .result
        .unwrap_err();
    // The same when the path is valid already, so that it isn't seen for nothing.
    m.put(&text("x", b"x", &[]));
    import(&m, key("a"), &(nar, info.clone()))
        .result
        .unwrap_err();
    assert!(!m.sees(key("a"), &info.path));
}

#[test]
fn a_trusted_signature_covers_references_size_and_hash() {
    let m = Machine::new();
    let secret = signing_key("k");
    let (nar, mut info) = file("x", b"x");
    info.sign(&StoreDir::default(), &secret);
    let mut others = vec![info.clone(), info.clone(), info.clone()];
    others[0].info.references.insert(info.path.clone());
    others[1].info.nar_size += 8;
    others[2].path = path("y");
    for other in others {
        let refusal = m.talk(trusting(&secret), &Talk::add(&other, b"")).refusal();
        assert_eq!(refusal.rule, Rule::Signature);
    }
    // Nor does the key of somebody else count, whatever it is called.
    let stranger = SecretKey::from_seed("k", &[8; 32]);
    let refusal = import(&m, trusting(&stranger), &(nar.clone(), info.clone())).refusal();
    assert_eq!(refusal.rule, Rule::Signature);
    import(&m, trusting(&secret), &(nar, info.clone())).done();
    assert!(m.sees(trusting(&secret), &info.path));
}

#[test]
fn a_signature_is_no_way_around_a_wrong_address() {
    let m = Machine::new();
    let secret = signing_key("k");
    let (nar, mut info) = text("x", b"x", &[]);
    info.path = path("x");
    info.sign(&StoreDir::default(), &secret);
    import(&m, trusting(&secret), &(nar, info.clone()))
        .result
        .unwrap_err();
    assert!(!m.store().is_valid(&info.path).unwrap());
}

#[test]
fn claims_of_the_client_are_not_kept() {
    let m = Machine::new();
    let (secret, stranger) = (signing_key("k"), signing_key("stranger"));
    let (nar, mut info) = text("x", b"x", &[]);
    info.info.deriver = Some(path("x.drv"));
    info.info.registration_time = 7;
    info.sign(&StoreDir::default(), &stranger);
    // Bytes 'ultimate' is in are written by hand: our client never sends it.
    info.info.ultimate = true;
    import(&m, trusting(&secret), &(nar, info.clone())).done();
    let kept = m.store().query_path_info(&info.path).unwrap().unwrap();
    assert!(kept.info.sigs.is_empty() && kept.info.deriver.is_none() && !kept.info.ultimate);
    assert_ne!(kept.info.registration_time, 7);
}

#[test]
fn ultimate_is_nobodys_to_claim() {
    let m = Machine::new();
    let (nar, info) = file("x", b"x");
    let mut request = Talk::add(&info, b"");
    // … path, deriver, hash, references, time, size, ultimate, signatures, address.
    let ultimate = request.len() - 24;
    request[ultimate] = 1;
    request.extend_from_slice(&nar);
    m.talk(Role::full(), &request).done();
    let kept = m.store().query_path_info(&info.path).unwrap().unwrap();
    assert!(!kept.info.ultimate && kept.info.registration_time == 7);
}

#[test]
fn weak_hashes_are_for_those_whose_policy_says_so() {
    let m = Machine::new();
    let (nar, mut info) = file("x", b"x");
    for algo in [HashAlgo::Md5, HashAlgo::Sha1] {
        let ca = ContentAddress {
            method: ContentAddressMethod::Flat,
            hash: Hash::of(algo, b"x"),
        };
        let split = References::default();
        info.path = ca.path(&m.dir, &split, &"x".parse().unwrap()).unwrap();
        info.info.ca = Some(ca);
        let refusal = m.talk(key("a"), &Talk::add(&info, b"")).refusal();
        assert_eq!(refusal.rule, Rule::Confinement);
        assert!(refusal.remedy.unwrap().contains("weak-hashes"));
        let role = Role {
            weak_hashes: true,
            ..key("a")
        };
        import(&m, role, &(nar.clone(), info.clone())).done();
    }
}

#[test]
fn addresses_without_positions_need_a_signature() {
    let m = Machine::new();
    let secret = signing_key("k");
    let (nar, mut info) = omitting_positions(&m.dir);
    import(&m, key("a"), &(nar.clone(), info.clone()))
        .result
        .unwrap_err();
    assert!(!m.store().is_valid(&info.path).unwrap());
    info.sign(&m.dir, &secret);
    import(&m, trusting(&secret), &(nar, info.clone())).done();
    assert!(m.store().is_valid(&info.path).unwrap());
}

/// A file with its own path in it, addressed as releases 2.17–2.34 do.
fn omitting_positions(dir: &StoreDir) -> (Vec<u8>, ValidPathInfo) {
    use std::io::Write as _;
    let contents = |path: &StorePath| dir.print(path).into_bytes();
    let stand_in = path("x");
    let mut sink = HashModuloSink::new(HashAlgo::Sha256, *stand_in.hash(), Positions::Omitted);
    sink.write_all(&super::machine::archive(&contents(&stand_in)))
        .unwrap();
    let ca = ContentAddress {
        method: ContentAddressMethod::NixArchive,
        hash: sink.finish(),
    };
    let split = References {
        others: Default::default(),
        to_self: true,
    };
    let own = ca.path(dir, &split, &"x".parse().unwrap()).unwrap();
    let (nar, mut info) = file("x", &contents(&own));
    info.info.references.insert(own.clone());
    info.path = own;
    info.info.ca = Some(ca);
    (nar, info)
}

#[test]
fn a_key_stores_no_more_than_its_quota() {
    let m = Machine::new();
    let (one, two) = (text("one", b"1", &[]), text("two", b"2", &[]));
    let size = one.1.info.nar_size;
    let mut role = key("a");
    role.quotas.stored_bytes = Some(2 * size - 1);
    // Both at once: the first isn't booked yet when the second is announced.
    let both = [Talk::add(&one.1, &one.0), Talk::add(&two.1, &two.0)].concat();
    let talk = m.talk(role.clone(), &both);
    assert_eq!(talk.refusal().rule, Rule::Quota);
    assert!(m.sees(role.clone(), &one.1.path) && !m.sees(role.clone(), &two.1.path));
    assert_eq!(import(&m, role.clone(), &two).refusal().rule, Rule::Quota);
    import(&m, key("b"), &two).done();
    role.quotas.stored_bytes = Some(2 * size);
    import(&m, role, &two).done();
}
