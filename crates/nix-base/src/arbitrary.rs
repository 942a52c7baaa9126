//! proptest strategies for the vocabulary (feature `arbitrary`).

use std::collections::BTreeSet;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use crate::content_address::{ContentAddress, ContentAddressMethod};
use crate::hash::{Hash, HashAlgo, NarHash};
use crate::path_info::{UnkeyedValidPathInfo, ValidPathInfo};
use crate::signature::Signature;
use crate::store_path::{StorePath, StorePathHash, StorePathName};

/// Any valid name.
pub fn store_path_name() -> impl Strategy<Value = StorePathName> {
    "[0-9a-zA-Z+_?=][0-9a-zA-Z+._?=-]{0,30}"
        .prop_map(|name| StorePathName::new(&name).expect("the pattern only makes valid names"))
}

/// Any store path.
pub fn store_path() -> impl Strategy<Value = StorePath> {
    (any::<[u8; 20]>(), store_path_name())
        .prop_map(|(digest, name)| StorePath::new(StorePathHash::from_digest(digest), name))
}

/// Any hash of `algo`.
pub fn hash(algo: HashAlgo) -> impl Strategy<Value = Hash> {
    vec(any::<u8>(), algo.digest_len())
        .prop_map(move |bytes| Hash::new(algo, &bytes).expect("the length is the algorithm's"))
}

/// Any NAR hash.
pub fn nar_hash() -> impl Strategy<Value = NarHash> {
    any::<[u8; 32]>().prop_map(NarHash::from_bytes)
}

/// Any content address.
pub fn content_address() -> impl Strategy<Value = ContentAddress> {
    let fixed = (
        prop_oneof![
            Just(ContentAddressMethod::Flat),
            Just(ContentAddressMethod::NixArchive),
        ],
        proptest::sample::select(HashAlgo::ALL.to_vec()).prop_flat_map(hash),
    );
    let text = (Just(ContentAddressMethod::Text), hash(HashAlgo::Sha256));
    prop_oneof![fixed, text].prop_map(|(method, hash)| ContentAddress { method, hash })
}

/// Any well-formed signature.
pub fn signature() -> impl Strategy<Value = Signature> {
    ("[a-z][a-z0-9.-]{0,20}", vec(any::<u8>(), 64)).prop_map(|(name, bytes)| {
        Signature::from_parts(&name, &bytes.try_into().expect("64 bytes were drawn"))
    })
}

/// Any path info.
pub fn valid_path_info() -> impl Strategy<Value = ValidPathInfo> {
    (
        store_path(),
        proptest::option::of(store_path()),
        btree_set(store_path(), 0..5),
        nar_hash(),
        1..=u64::MAX >> 1,
        0..=i64::MAX,
        btree_set(signature(), 0..3),
        proptest::option::of(content_address()),
    )
        .prop_map(
            |(path, deriver, references, nar_hash, nar_size, registration_time, sigs, ca)| {
                let sigs: BTreeSet<Signature> = sigs;
                let info = UnkeyedValidPathInfo {
                    deriver,
                    references,
                    nar_hash,
                    nar_size,
                    registration_time,
                    ultimate: false,
                    sigs,
                    ca,
                };
                ValidPathInfo { path, info }
            },
        )
}
