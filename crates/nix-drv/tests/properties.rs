//! Properties of arbitrary derivations.
#![allow(clippy::unwrap_used, reason = "this is a test")]

use std::collections::BTreeMap;
use std::io::Read;

use bstr::BString;
use nix_base::arbitrary::{content_address, store_path, store_path_name};
use nix_base::{ContentAddressMethod, HashAlgo, OutputName, StoreDir, StorePath, StorePathSet};
use nix_drv::aterm::Masked;
use nix_drv::json::{self, JsonForm};
use nix_drv::{
    BasicDerivation, Derivation, DerivationOutput, HashMemo, InputNode, RawDerivation, Strictness,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

/// Bytes with many of those that take an escape.
fn bytes() -> impl Strategy<Value = BString> {
    let piece = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        "[\"\\\\\n\r\t/$ a-z]{0,40}".prop_map(String::into_bytes),
    ];
    vec(piece, 0..5).prop_map(|pieces| pieces.concat().into())
}

/// A platform, which is written without escapes: any bytes but two.
fn platform() -> impl Strategy<Value = BString> {
    bytes().prop_map(|bytes| {
        bytes
            .iter()
            .copied()
            .filter(|byte| !matches!(byte, b'"' | b'\\'))
            .collect::<Vec<_>>()
            .into()
    })
}

fn output_name() -> impl Strategy<Value = OutputName> {
    prop_oneof![
        Just("out".to_owned()),
        Just("dev".to_owned()),
        "[a-z0-9_.+-]{1,8}"
    ]
    .prop_filter_map("dots", |name| name.parse().ok())
}

fn output() -> impl Strategy<Value = DerivationOutput> {
    let method = prop_oneof![
        Just(ContentAddressMethod::Flat),
        Just(ContentAddressMethod::NixArchive),
        Just(ContentAddressMethod::Text),
        Just(ContentAddressMethod::Git),
    ];
    let algo = prop_oneof![Just(HashAlgo::Sha256), Just(HashAlgo::Sha1)];
    prop_oneof![
        store_path().prop_map(DerivationOutput::InputAddressed),
        content_address().prop_map(DerivationOutput::CaFixed),
        Just(DerivationOutput::Deferred),
        (method.clone(), algo.clone())
            .prop_map(|(method, algo)| DerivationOutput::CaFloating { method, algo }),
        (method, algo).prop_map(|(method, algo)| DerivationOutput::Impure { method, algo }),
    ]
}

fn node() -> impl Strategy<Value = InputNode> {
    let leaf = btree_set(output_name(), 0..3).prop_map(|outputs| InputNode {
        outputs,
        children: BTreeMap::new(),
    });
    leaf.prop_recursive(3, 8, 2, |inner| {
        (
            btree_set(output_name(), 0..3),
            btree_map(output_name(), inner, 0..3),
        )
            .prop_map(|(outputs, children)| InputNode { outputs, children })
    })
}

fn paths() -> impl Strategy<Value = StorePathSet> {
    btree_set(store_path(), 0..4)
}

prop_compose! {
    fn derivation()(
        name in store_path_name(),
        outputs in btree_map(output_name(), output(), 0..4),
        input_srcs in paths(),
        input_drvs in btree_map(store_path(), node(), 0..4),
        platform in platform(),
        builder in bytes(),
        args in vec(bytes(), 0..4),
        env in btree_map(bytes(), bytes(), 0..6),
    ) -> Derivation {
        let basic = BasicDerivation { name, outputs, input_srcs, platform, builder, args, env };
        Derivation { basic, input_drvs }
    }
}

fn parse(text: &[u8], drv: &Derivation, strictness: Strictness) -> nix_drv::Result<Derivation> {
    Derivation::parse(text, &StoreDir::default(), &drv.name, strictness)
}

/// Gives at most one byte at a time.
struct Trickle<'t>(&'t [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let end = buffer.len().min(1);
        self.0.read(&mut buffer[..end])
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_read(drv in derivation()) {
        let text = drv.to_aterm(&StoreDir::default()).unwrap();
        for strictness in [Strictness::Strict, Strictness::Lenient] {
            prop_assert_eq!(&parse(&text, &drv, strictness).unwrap(), &drv);
        }
    }

    #[test]
    fn hashes_stay_the_same_when_printed_and_read_again(drv in derivation()) {
        let store = StoreDir::default();
        let whole = Derivation { basic: drv.basic.clone(), input_drvs: BTreeMap::new() };
        let again = parse(&whole.to_aterm(&store).unwrap(), &drv, Strictness::Strict).unwrap();
        let hash = |basic: &BasicDerivation| basic.masked_hash(&store).ok().map(|m| m.hash);
        prop_assert_eq!(hash(&again.basic), hash(&drv.basic));
        let mut other = drv.basic.clone();
        other.args.push("one more".into());
        // Fixed outputs alone don't depend on how they are made.
        if hash(&drv.basic).is_some() && drv.basic.fixed_hash(&store).is_ok_and(|h| h.is_none()) {
            prop_assert_ne!(hash(&other), hash(&drv.basic));
        }
    }

    #[test]
    fn the_order_of_sets_is_that_of_the_bytes(
        drv in derivation(), sources in btree_set(store_path(), 2..6),
    ) {
        let store = StoreDir::default();
        let mut drv = drv;
        drv.basic.input_srcs = sources.clone();
        let text = drv.to_aterm(&store).unwrap();
        let quoted: Vec<String> =
            sources.iter().map(|path| format!("\"{}\"", store.print(path))).collect();
        let sorted = quoted.join(",");
        let reversed: Vec<String> = quoted.into_iter().rev().collect();
        let at = text.windows(sorted.len()).position(|window| window == sorted.as_bytes());
        let at = at.expect("the sources are printed in the order of their bytes");
        let mut shuffled = text.clone();
        shuffled[at..at + sorted.len()].copy_from_slice(reversed.join(",").as_bytes());
        prop_assert!(parse(&shuffled, &drv, Strictness::Strict).is_err());
        let read = parse(&shuffled, &drv, Strictness::Lenient).unwrap();
        prop_assert_eq!(read.to_aterm(&store).unwrap(), text);
    }

    #[test]
    fn strict_readers_take_nothing_but_what_is_printed(
        drv in derivation(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let store = StoreDir::default();
        let mut text = drv.to_aterm(&store).unwrap();
        let at = at.index(text.len());
        text[at] = byte;
        if let Ok(other) = parse(&text, &drv, Strictness::Strict) {
            prop_assert_eq!(other.to_aterm(&store).unwrap(), text);
        }
    }

    #[test]
    fn what_lenient_readers_take_is_stable_once_printed(
        drv in derivation(), at in any::<prop::sample::Index>(), byte in prop::sample::select(b"[](),\"\\nx".to_vec()),
    ) {
        let store = StoreDir::default();
        let mut text = drv.to_aterm(&store).unwrap();
        let at = at.index(text.len());
        text[at] = byte;
        if let Ok(other) = parse(&text, &drv, Strictness::Lenient)
            && !other.platform.iter().any(|byte| matches!(byte, b'"' | b'\\'))
        {
            let printed = other.to_aterm(&store).unwrap();
            prop_assert_eq!(parse(&printed, &drv, Strictness::Strict).unwrap(), other);
        }
    }

    #[test]
    fn any_bytes_are_refused_without_panic(bytes in vec(any::<u8>(), 0..60), at in 0usize..200) {
        let head = br#"DrvWithVersion("xp-dyn-drv",[("out","","","")],[("/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-a.drv",(["out"],[("out",["x"])]))],[],"s","/b",["a"],[("k","v")])"#;
        let text = [&head[..at.min(head.len())], &bytes].concat();
        let _ = RawDerivation::parse(&text, Strictness::Strict);
        let _ = RawDerivation::parse(&text, Strictness::Lenient);
    }

    #[test]
    fn the_wire_gives_back_what_it_took(drv in derivation()) {
        let store = StoreDir::default();
        let mut bytes = Vec::new();
        drv.basic.write_wire(&mut bytes, &store).unwrap();
        let mut trickle = Trickle(&bytes);
        let read = BasicDerivation::read_wire(&mut trickle, &store, &drv.name).unwrap();
        prop_assert!(trickle.0.is_empty());
        prop_assert_eq!(read, drv.basic);
    }

    #[test]
    fn json_gives_back_what_it_took(drv in derivation()) {
        let store = StoreDir::default();
        for form in [JsonForm::Unversioned, JsonForm::V3, JsonForm::V4] {
            let Ok(json) = json::derivation_to_json(&drv, &store, form) else { continue };
            let json = serde_json::from_str(&json.to_string()).unwrap();
            prop_assert_eq!(&json::derivation_from_json(&json, &store, None).unwrap(), &drv);
        }
    }

    #[test]
    fn masking_leaves_nothing_of_output_paths(drv in derivation(), path in store_path()) {
        let store = StoreDir::default();
        let memo = HashMemo::new();
        let mut one = drv.clone();
        one.input_drvs.clear();
        let mut two = one.clone();
        for (name, output) in &mut two.basic.outputs {
            if let DerivationOutput::InputAddressed(stated) = output {
                *stated = StorePath::clone(&path);
            }
            let value = two.basic.env.get_mut(name.as_str().as_bytes());
            value.into_iter().for_each(|value| *value = "something else".into());
        }
        let [one, two] =
            [one, two].map(|drv| drv.modulo_text(&store, &memo, Masked::Yes).unwrap());
        prop_assert_eq!(one, two);
    }
}
