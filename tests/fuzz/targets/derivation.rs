//! Derivations as text and as JSON.

use nix_base::{StoreDir, StorePathName};
use nix_drv::json::{JsonForm, derivation_from_json, derivation_to_json, parse_shown};
use nix_drv::{Derivation, RawDerivation, Strictness};
use serde_json::Value;

use super::Target;
use crate::{class, seeds};

pub(crate) const ATERM_PARSE: Target = Target {
    name: "aterm_parse",
    make: || Box::new(parse),
    seeds: seeds::derivations,
    words: WORDS,
};

pub(crate) const ATERM_ROUND_TRIP: Target = Target {
    name: "aterm_roundtrip",
    make: || Box::new(round_trip),
    seeds: seeds::derivations,
    words: WORDS,
};

pub(crate) const JSON: Target = Target {
    name: "drv_json",
    make: || Box::new(json),
    seeds: seeds::derivations_as_json,
    words: JSON_WORDS,
};

const WORDS: &[&[u8]] = &[
    b"Derive(",
    b"DrvWithVersion(",
    b"\"xp-dyn-drv\",",
    b"[]",
    b"[(",
    b")]",
    b"),(",
    b"\",\"",
    b"\"\"",
    b"\\n",
    b"\\\\",
    b"\\\"",
    b"(\"out\",\"\",\"\",\"\")",
    b"(\"out\",\"\",\"r:sha256\",\"\")",
    b"(\"out\",\"\",\"sha256\",\"impure\")",
    b"(\"out\",\"\")",
    b"(\"__json\",\"{}\")",
    b"([\"out\"],[(\"out\",[\"bin\"])])",
    b"/nix/store/0127k303nfrwsqmlnx96lslb3y8q82yf-a.drv",
    b"/nix/store/vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a",
    b"r:sha256",
    b"text:sha256",
    b"git:sha1",
];

const JSON_WORDS: &[&[u8]] = &[
    b"null",
    b"true",
    b"[]",
    b"{}",
    b"\"\"",
    b"[[[[[[[[[[[[[[[[",
    b"{\"a\":{\"a\":{\"a\":",
    b"\\u0000",
    b"\\ud800",
    b"1e999",
    b"-0.0",
    b"\"version\":4,",
    b"\"structuredAttrs\":{\"a\":1},",
    b"\"dynamicOutputs\":{\"out\":{\"dynamicOutputs\":{},\"outputs\":[\"out\"]}}",
    b"\"method\":\"nar\"",
    b"\"hashAlgo\":\"r:sha256\"",
    b"\"impure\":true",
    b"\"hash\":\"\"",
];

fn name() -> StorePathName {
    StorePathName::new("a").unwrap()
}

/// What strict readers take is a part of what lenient ones take.
fn parse(input: &[u8]) -> u64 {
    let strict = RawDerivation::parse(input, Strictness::Strict);
    let lenient = RawDerivation::parse(input, Strictness::Lenient);
    if strict.is_ok() {
        lenient.as_ref().unwrap();
    }
    let store = StoreDir::default();
    let [typed, closely] = [Strictness::Lenient, Strictness::Strict]
        .map(|strictness| Derivation::parse(input, &store, &name(), strictness));
    if closely.is_ok() {
        strict.as_ref().unwrap();
        typed.as_ref().unwrap();
    }
    let options = match &typed {
        Ok(drv) => class::of_result(&drv.options(&store), |_| ()),
        Err(_) => 0,
    };
    class::of((
        class::of_result(&strict, |drv| drv.is_dynamic()),
        class::of_result(&lenient, |drv| shape(drv)),
        class::of_result(&typed, |drv| class::size(drv.outputs.len())),
        class::of_result(&closely, |_| ()),
        options,
    ))
}

fn shape(drv: &RawDerivation<'_>) -> [u32; 5] {
    [
        drv.outputs().len(),
        drv.input_drvs().len(),
        drv.input_srcs().len(),
        drv.args().len(),
        drv.env().len(),
    ]
    .map(class::size)
}

/// What strict readers take is what is printed; what lenient ones take can be printed and
/// read again, and is the same then.
fn round_trip(input: &[u8]) -> u64 {
    let store = StoreDir::default();
    if let Ok(drv) = Derivation::parse(input, &store, &name(), Strictness::Strict) {
        assert!(drv.to_aterm(&store).unwrap() == input, "printed otherwise");
    }
    let lenient = Derivation::parse(input, &store, &name(), Strictness::Lenient);
    let Ok(drv) = &lenient else {
        return class::of_result(&lenient, |_| ());
    };
    let printed = drv.to_aterm(&store);
    // Nix compat: a platform is printed without escapes, and no reader takes it with any.
    let is_plain = !drv.platform.iter().any(|byte| b"\"\\\n\r\t".contains(byte));
    if let Ok(text) = &printed
        && is_plain
    {
        let again = Derivation::parse(text, &store, &name(), Strictness::Strict);
        assert_eq!(&again.unwrap(), drv);
    }
    class::of((
        class::of_result(&printed, |text| class::size(text.len())),
        class::of_result(&drv.derivation_type(), |kind| format!("{kind:?}")),
        class::size(drv.input_drvs.len()),
        class::size(drv.env.len()),
        drv.is_dynamic(),
    ))
}

/// What is read can be written in the newest form and read again.
fn json(input: &[u8]) -> u64 {
    let store = StoreDir::default();
    let value: Value = match serde_json::from_slice(input) {
        Ok(value) => value,
        Err(error) => return class::of_error(&error),
    };
    let shown = parse_shown(&value, &store);
    let parsed = derivation_from_json(&value, &store, Some(&name()));
    if let Ok(drv) = &parsed {
        check_forms(drv, &store);
    }
    for (_, drv) in shown.as_ref().into_iter().flatten() {
        check_forms(drv, &store);
    }
    class::of((
        class::of_result(&shown, |drvs| drvs.len()),
        class::of_result(&parsed, |drv| drv.to_aterm(&store).is_ok()),
    ))
}

fn check_forms(drv: &Derivation, store: &StoreDir) {
    for form in [
        JsonForm::V4,
        JsonForm::V3,
        JsonForm::Unversioned,
        JsonForm::Early,
    ] {
        let Ok(written) = derivation_to_json(drv, store, form) else {
            continue;
        };
        let again = derivation_from_json(&written, store, Some(&drv.name));
        // The earliest form has no place for outputs of outputs.
        if form == JsonForm::Early {
            continue;
        }
        let again = again.unwrap();
        // The text of structured attributes may have had its members in another order.
        if drv.structured_attrs().is_none() {
            assert_eq!(&again, drv, "{form:?}: {written}");
        }
        let twice = derivation_to_json(&again, store, form);
        assert_eq!(twice.unwrap(), written, "{form:?}");
    }
}
