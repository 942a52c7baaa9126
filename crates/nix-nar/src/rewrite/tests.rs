use proptest::prelude::*;

use super::*;

fn hash(i: u8) -> StorePathHash {
    StorePathHash::from_digest([i.wrapping_mul(37).wrapping_add(1); 20])
}

/// The hashes 0 to 3 become 10 to 13.
fn rewrites() -> BTreeMap<StorePathHash, StorePathHash> {
    (0..4).map(|i| (hash(i), hash(i + 10))).collect()
}

fn rewrite(pieces: &[&[u8]]) -> Vec<u8> {
    let mut sink = RewriteSink::new(&rewrites(), Vec::new());
    for piece in pieces {
        sink.write_all(piece).unwrap();
    }
    sink.finish().unwrap()
}

/// The rule, byte by byte.
fn plainly(data: &[u8]) -> Vec<u8> {
    let mut out = data.to_vec();
    let mut at = 0;
    while at + NEEDLE <= out.len() {
        let window = StorePathHash::from_digits(&out[at..at + NEEDLE]);
        if let Some(to) = window.and_then(|from| rewrites().get(&from).copied()) {
            out[at..at + NEEDLE].copy_from_slice(to.as_bytes());
            at += NEEDLE;
        } else {
            at += 1;
        }
    }
    out
}

#[test]
fn replaces_hashes_and_nothing_else() {
    let text = format!("/nix/store/{}-a:{}{}.", hash(1), hash(7), hash(0));
    let expected = format!("/nix/store/{}-a:{}{}.", hash(11), hash(7), hash(10));
    assert_eq!(rewrite(&[text.as_bytes()]), expected.as_bytes());
}

#[test]
fn replaces_across_every_edge() {
    let text = format!("some{}{}-x", hash(1), hash(2));
    let bytes = text.as_bytes();
    let expected = plainly(bytes);
    for i in 0..=bytes.len() {
        assert_eq!(
            rewrite(&[&bytes[..i], &bytes[i..]]),
            expected,
            "split at {i}"
        );
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(rewrite(&single), expected);
}

#[test]
fn a_replacement_is_not_replaced_again() {
    let chain = BTreeMap::from([(hash(0), hash(1)), (hash(1), hash(2))]);
    let text = format!("{}{}", hash(0), hash(1));
    for cut in 0..text.len() {
        let mut sink = RewriteSink::new(&chain, Vec::new());
        sink.write_all(&text.as_bytes()[..cut]).unwrap();
        sink.write_all(&text.as_bytes()[cut..]).unwrap();
        let expected = format!("{}{}", hash(1), hash(2));
        assert_eq!(sink.finish().unwrap(), expected.as_bytes(), "cut at {cut}");
    }
}

#[test]
fn of_overlapping_hashes_the_first_is_replaced() {
    // Each of these begins with the last half of the other.
    let a = StorePathHash::from_digits(b"00000000000000001111111111111111").unwrap();
    let b = StorePathHash::from_digits(b"11111111111111110000000000000000").unwrap();
    let to = hash(9);
    let both = BTreeMap::from([(a, to), (b, to)]);
    let text = b"000000000000000011111111111111110000000000000000";
    for cut in 0..text.len() {
        let mut sink = RewriteSink::new(&both, Vec::new());
        sink.write_all(&text[..cut]).unwrap();
        sink.write_all(&text[cut..]).unwrap();
        let expected = format!("{to}0000000000000000");
        assert_eq!(sink.finish().unwrap(), expected.as_bytes(), "cut at {cut}");
    }
}

#[test]
fn a_long_write_is_taken_in_pieces() {
    let mut data = vec![b'x'; 3 * PIECE];
    for at in [PIECE - 40, PIECE - 16, 2 * PIECE - 1] {
        data[at..at + NEEDLE].copy_from_slice(hash(3).as_bytes());
    }
    assert_eq!(rewrite(&[&data]), plainly(&data));
}

proptest! {
    #[test]
    fn does_what_the_rule_says(
        parts in prop::collection::vec(prop_oneof![
            (0u8..6).prop_map(|i| hash(i).as_bytes().to_vec()),
            (0u8..6, 0usize..32).prop_map(|(i, n)| hash(i).as_bytes()[n..].to_vec()),
            (0u8..6, 0usize..32).prop_map(|(i, n)| hash(i).as_bytes()[..n].to_vec()),
            prop::collection::vec(any::<u8>(), 0..40),
        ], 0..12),
        cuts in prop::collection::vec(1usize..50, 1..8),
    ) {
        let data = parts.concat();
        let mut sink = RewriteSink::new(&rewrites(), Vec::new());
        let mut rest = &data[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(rest.len().min(*cut));
            sink.write_all(piece).unwrap();
            rest = after;
        }
        prop_assert_eq!(sink.finish().unwrap(), plainly(&data));
    }
}
