//! Signatures in lists of narinfos, checked with the key that made them.

use std::collections::BTreeMap;

use nix_base::{
    NarHash, PublicKey, Signature, StoreDir, StorePath, UnkeyedValidPathInfo, ValidPathInfo,
};
use test_support::vectors::{report, with_format};

#[test]
fn signatures_verify_and_only_over_what_was_signed() {
    let dir = StoreDir::default();
    let mut verified = 0;
    for vector in with_format("narinfo-list") {
        let text = String::from_utf8(vector.read()).unwrap();
        let keys: Vec<PublicKey> = vector
            .property("signed_by")
            .map(|key| key.parse().unwrap())
            .into_iter()
            .collect();
        for entry in text.split("\n\n").filter(|entry| !entry.trim().is_empty()) {
            let mut info = parse(&dir, entry);
            assert!(info.sigs.iter().all(Signature::is_well_formed));
            if keys.is_empty() {
                continue;
            }
            assert!(info.is_signed_by(&dir, &keys), "{}", info.path);
            info.info.nar_size += 1;
            assert!(!info.is_signed_by(&dir, &keys), "{}", info.path);
            verified += 1;
        }
    }
    report("signature", verified);
}

fn parse(dir: &StoreDir, entry: &str) -> ValidPathInfo {
    let fields: BTreeMap<&str, &str> = entry
        .lines()
        .filter_map(|line| line.split_once(": "))
        .collect();
    let size = fields["NarSize"].parse().unwrap();
    let mut info = UnkeyedValidPathInfo::new(NarHash::parse_any(fields["NarHash"]).unwrap(), size);
    let base_names = fields.get("References").copied().unwrap_or_default();
    info.references = base_names
        .split_whitespace()
        .map(|name| StorePath::from_base_name(name).unwrap())
        .collect();
    let sigs = entry.lines().filter_map(|line| line.strip_prefix("Sig: "));
    info.sigs = sigs.map(|sig| sig.parse().unwrap()).collect();
    let path = dir.parse(fields["StorePath"]).unwrap();
    ValidPathInfo { path, info }
}
