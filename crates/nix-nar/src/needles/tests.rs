use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn hash(i: u32) -> StorePathHash {
    let mut digest = [7; 20];
    digest[8..12].copy_from_slice(&i.wrapping_mul(0x9e37_79b9).to_le_bytes());
    StorePathHash::from_digest(digest)
}

fn find(needles: &Needles, data: &[u8]) -> Vec<(usize, StorePathHash)> {
    let mut found = Vec::new();
    needles.find(data, |start, needle| {
        found.push((start, needles.hashes()[needle]))
    });
    found
}

#[test]
fn finds_every_needle_at_every_place() {
    let needles = Needles::new((0..5000).map(hash));
    assert_eq!(needles.len(), 5000);
    for start in 0..120 {
        for behind in [0, 1, 7, 8, 23, 24, 25, 90] {
            let wanted = hash(u32::try_from(start * 31 + behind).unwrap() % 5000);
            let mut data = vec![b'x'; start + NEEDLE + behind];
            data[start..start + NEEDLE].copy_from_slice(wanted.as_bytes());
            assert_eq!(find(&needles, &data), [(start, wanted)], "{start} {behind}");
        }
    }
}

#[test]
fn finds_needles_that_overlap_in_order() {
    // 40 equal digits have nine windows of 32.
    let equal = StorePathHash::from_digits(&[b'z'; 32]).unwrap();
    let needles = Needles::new([equal, hash(1)]);
    let starts: Vec<usize> = find(&needles, &[b'z'; 40])
        .into_iter()
        .map(|(at, _)| at)
        .collect();
    assert_eq!(starts, (0..9).collect::<Vec<_>>());
}

#[test]
fn a_needle_counts_once_and_none_finds_nothing() {
    let needles = Needles::new([hash(1), hash(1)]);
    assert_eq!(needles.len(), 1);
    assert_eq!(find(&needles, hash(1).as_bytes()).len(), 1);
    let none = Needles::new([]);
    assert_eq!(find(&none, hash(1).as_bytes()), []);
    assert_eq!(find(&none, &[]), []);
}

#[test]
fn every_digit_may_be_one() {
    for digit in b"0123456789abcdfghijklmnpqrsvwxyz" {
        let word = u64::from_le_bytes([*digit; 8]);
        assert!(may_be_digits(word), "{digit}");
    }
    for other in [0, b' ', b'\n', b'/', b'-', b'.', 0x80, 0xff] {
        for at in 0..8 {
            let mut word = [b'a'; 8];
            word[at] = other;
            assert!(!may_be_digits(u64::from_le_bytes(word)), "{other} at {at}");
        }
    }
}

proptest! {
    #[test]
    fn finds_what_a_plain_search_finds(
        parts in prop::collection::vec(prop_oneof![
            (0u32..9).prop_map(|i| hash(i).as_bytes().to_vec()),
            (0u32..9, 0usize..32).prop_map(|(i, n)| hash(i).as_bytes()[n..].to_vec()),
            prop::collection::vec(any::<u8>(), 0..60),
            prop::collection::vec(prop::sample::select(&b"0123456789abcdfghijklmnpqrsvwxyz"[..]), 0..60),
        ], 0..12),
    ) {
        let data = parts.concat();
        let needles = Needles::new((0..6).map(hash));
        let mut expected = BTreeMap::new();
        for i in 0..6 {
            // One may overlap another, even of the same hash.
            for (at, window) in data.windows(NEEDLE).enumerate() {
                if window == hash(i).as_bytes() {
                    expected.insert(at, hash(i));
                }
            }
        }
        prop_assert_eq!(find(&needles, &data), expected.into_iter().collect::<Vec<_>>());
    }
}
