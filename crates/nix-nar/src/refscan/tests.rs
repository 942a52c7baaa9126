use proptest::prelude::*;

use super::*;

fn hash(i: u8) -> StorePathHash {
    StorePathHash::from_digest([i.wrapping_mul(37).wrapping_add(1); 20])
}

fn scan(pieces: &[&[u8]], hashes: &[StorePathHash]) -> Vec<StorePathHash> {
    let mut sink = RefScanSink::new(hashes.iter().cloned());
    for piece in pieces {
        sink.write_all(piece).unwrap();
    }
    sink.finish().into_iter().collect()
}

#[test]
fn finds_a_hash_at_either_end_and_in_the_middle() {
    for (before, after) in [
        ("", ""),
        ("", "-name"),
        ("/nix/store/", ""),
        ("0123abc", "zzz"),
    ] {
        let text = format!("{before}{}{after}", hash(1).as_str());
        assert_eq!(
            scan(&[text.as_bytes()], &[hash(1), hash(2)]),
            [hash(1)],
            "{text}"
        );
    }
}

#[test]
fn a_hash_with_one_wrong_or_missing_digit_is_none() {
    let digits = hash(1).as_str().to_owned();
    assert!(scan(&[&digits.as_bytes()[1..]], &[hash(1)]).is_empty());
    for i in 0..32 {
        for wrong in [b'e', b'0', b'z', 0, b'A'] {
            let mut bytes = digits.clone().into_bytes();
            if bytes[i] != wrong {
                bytes[i] = wrong;
                assert!(scan(&[&bytes], &[hash(1)]).is_empty(), "{i}");
            }
        }
    }
}

#[test]
fn finds_hashes_across_every_edge() {
    let text = format!("some{}{}-x", hash(1).as_str(), hash(2).as_str());
    let bytes = text.as_bytes();
    for i in 0..=bytes.len() {
        let found = scan(&[&bytes[..i], &bytes[i..]], &[hash(1), hash(2), hash(3)]);
        assert_eq!(found.len(), 2, "split at {i}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(scan(&single, &[hash(1), hash(2)]).len(), 2);
}

#[test]
fn nothing_is_found_where_pieces_that_are_not_adjacent_would_make_a_hash() {
    let digits = hash(1).as_str().to_owned();
    let (a, b) = digits.as_bytes().split_at(16);
    assert!(scan(&[a, b"-", b], &[hash(1)]).is_empty());
}

proptest! {
    #[test]
    fn finds_what_a_plain_search_finds(
        parts in prop::collection::vec(prop_oneof![
            (0u8..6).prop_map(|i| hash(i).as_str().as_bytes().to_vec()),
            (0u8..6, 0usize..32).prop_map(|(i, n)| hash(i).as_str().as_bytes()[n..].to_vec()),
            prop::collection::vec(any::<u8>(), 0..40),
            Just(b"0123456789abcdfghijklmnpqrsvwxyz".to_vec()),
        ], 0..12),
        cuts in prop::collection::vec(1usize..50, 1..8),
    ) {
        let data = parts.concat();
        let hashes: Vec<_> = (0..8).map(hash).collect();
        let mut sink = RefScanSink::new(hashes.iter().cloned());
        let mut rest = &data[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(rest.len().min(*cut));
            sink.write_all(piece).unwrap();
            rest = after;
        }
        let expected: BTreeSet<_> = hashes
            .into_iter()
            .filter(|h| memchr::memmem::find(&data, h.as_str().as_bytes()).is_some())
            .collect();
        prop_assert_eq!(sink.finish(), expected);
    }
}
