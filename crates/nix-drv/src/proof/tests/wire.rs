//! Packed proofs on the wire.

use std::collections::BTreeMap;

use nix_base::{StoreDir, WireWrite};

use super::graph::{Graph, Random};
use crate::proof::{
    MAX_PROOF_BYTES, PackedInput, PackedProof, ProofText, UnpackError, text_hash, verify,
};

fn written(proof: &PackedProof) -> Vec<u8> {
    let mut bytes = Vec::new();
    proof.write(&mut bytes, &StoreDir::default()).unwrap();
    bytes
}

fn read(bytes: &[u8]) -> Result<PackedProof, String> {
    let mut rest = bytes;
    let read = PackedProof::read(&mut rest, &StoreDir::default());
    let read = read.map_err(|error| error.to_string())?;
    assert!(rest.is_empty());
    Ok(read)
}

#[test]
fn what_is_written_is_read_and_unpacked() {
    let graph = Graph::small(60);
    for request in graph.requests() {
        let all = PackedProof::pack(&request.proof, |_| false);
        assert_eq!(read(&written(&all)).unwrap(), all);
        assert_eq!(all.unpack(|_| None).unwrap(), request.proof);
        let none = PackedProof::pack(&request.proof, |_| true);
        let bytes = written(&none);
        assert_eq!(read(&bytes).unwrap(), none);
        let texts: BTreeMap<_, _> = graph
            .texts
            .values()
            .map(|text| (text_hash(text), ProofText::new(text.clone())))
            .collect();
        let proof = none
            .clone()
            .unpack(|hash| texts.get(hash).cloned())
            .unwrap();
        verify(&request.drv, &proof, &graph.store_dir).unwrap();
        let hashes = none.inputs.iter().map(|input| input.hash).collect();
        assert_eq!(none.unpack(|_| None), Err(UnpackError::Missing(hashes)));
        for end in (0..bytes.len()).step_by(7) {
            assert!(read(&bytes[..end]).is_err());
        }
    }
}

fn packed(text: &[u8]) -> PackedInput {
    PackedInput {
        hash: text_hash(text),
        text: Some(ProofText::new(text)),
        wanted: ["dev", "out"].map(|name| name.parse().unwrap()).into(),
    }
}

#[test]
fn rejects_what_nobody_writes() {
    let mut inputs = vec![packed(b"a"), packed(b"b")];
    inputs.sort_by_key(|input| input.hash);
    let mut proof = PackedProof {
        inputs,
        ..PackedProof::default()
    };
    assert_eq!(read(&written(&proof)).unwrap(), proof);
    proof.inputs.swap(0, 1);
    assert!(read(&written(&proof)).unwrap_err().contains("out of order"));
    proof.inputs[1] = proof.inputs[0].clone();
    assert!(read(&written(&proof)).unwrap_err().contains("out of order"));
    proof.inputs.truncate(1);
    proof.inputs[0].text = Some(ProofText::new(*b"c"));
    assert!(
        read(&written(&proof))
            .unwrap_err()
            .contains("doesn't have the hash")
    );
    let good = written(&PackedProof {
        inputs: vec![packed(b"a")],
        ..PackedProof::default()
    });
    // Sources, count, hash with its length: the word that says whether a text comes.
    let mut bad = good.clone();
    bad[8 + 8 + 40] = 2;
    assert!(read(&bad).is_err());
    let names = good.len() - 32;
    let mut bad = good.clone();
    bad.copy_within(names + 16.., names);
    assert!(read(&bad).unwrap_err().contains("out of order"));
    let mut bad = good.clone();
    bad[names + 8] = b'"';
    assert!(read(&bad).unwrap_err().contains("wanted output"));
}

#[test]
fn announced_lengths_are_not_believed() {
    for huge in [1_u64 << 40, 1 << 63, u64::MAX, u64::MAX - 7] {
        let words: [&[u64]; 5] = [
            &[huge],
            &[0, huge],
            &[0, 1, huge],
            &[0, 1, 32, 0, 0, 0, 0, 1, huge],
            &[0, 1, 32, 0, 0, 0, 0, 0, huge],
        ];
        for words in words {
            let mut bytes = Vec::new();
            for word in words {
                bytes.write_u64(*word).unwrap();
            }
            assert!(read(&bytes).is_err(), "{words:?}");
        }
    }
}

#[test]
fn known_texts_count_towards_the_limit() {
    let text = vec![b'x'; usize::try_from(MAX_PROOF_BYTES / 2).unwrap() + 1];
    let inputs = vec![
        PackedInput {
            text: None,
            ..packed(b"a")
        },
        PackedInput {
            text: None,
            ..packed(b"b")
        },
    ];
    let proof = PackedProof {
        inputs,
        ..PackedProof::default()
    };
    assert_eq!(
        proof.unpack(|_| Some(ProofText::new(text.clone()))),
        Err(UnpackError::TooLarge)
    );
}

#[test]
fn mutated_bytes_are_refused_or_read_as_they_are_written() {
    let graph = Graph::small(30);
    let mut random = Random(99);
    let proofs = graph.requests();
    let proofs = proofs.iter().enumerate();
    let streams: Vec<_> = proofs
        .map(|(n, request)| written(&PackedProof::pack(&request.proof, |_| n % 2 == 0)))
        .collect();
    let mut accepted = 0;
    for _ in 0..20_000 {
        let mut bytes = random.one_of(&streams).clone();
        let at = random.below(bytes.len());
        bytes[at] ^= 1 << random.below(8);
        let mut rest = bytes.as_slice();
        if let Ok(proof) = PackedProof::read(&mut rest, &graph.store_dir) {
            assert_eq!(read(&written(&proof)).unwrap(), proof);
            accepted += 1;
        }
    }
    assert!(accepted > 10, "{accepted}");
}
