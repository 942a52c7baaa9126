//! JSON of realisations and build results.
//!
//! Nix 2.4–2.34 write a realisation as one flat object with the key `id`; on the wire
//! (serve 2.6 and 2.7) it is compact, keys sorted. Since 2.35 it is a pair of `key` and
//! `value`, and on the wire no JSON at all.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::path_info::{signature_to_json, signatures_from_json};
use super::{JsonError, member, object, parsed, text};
use crate::realisation::{DrvOutput, Realisation, UnkeyedRealisation};
use crate::signature::Signature;
use crate::store_path::StorePath;

/// The flat object of Nix 2.4–2.34.
#[must_use]
pub fn realisation_to_json(realisation: &Realisation) -> Value {
    let dependents: BTreeMap<String, String> = realisation
        .dependent_realisations
        .iter()
        .map(|(id, path)| (id.to_string(), path.base_name()))
        .collect();
    let signatures: Vec<&str> = realisation
        .signatures
        .iter()
        .map(Signature::as_str)
        .collect();
    json!({
        "dependentRealisations": dependents,
        "id": realisation.id.to_string(),
        "outPath": realisation.out_path.base_name(),
        "signatures": signatures,
    })
}

/// The text that signatures of a realisation cover up to 2.34: the flat object without
/// its signatures, compact.
#[must_use]
pub fn realisation_fingerprint(realisation: &Realisation) -> String {
    let mut value = realisation_to_json(realisation);
    if let Some(object) = value.as_object_mut() {
        object.remove("signatures");
    }
    value.to_string()
}

/// Parses the flat object; `signatures` and `dependentRealisations` may be absent.
///
/// # Errors
/// Missing `id` or `outPath`, wrong types, texts that don't parse.
pub fn realisation_from_json(value: &Value) -> Result<Realisation, JsonError> {
    let object = object(value, "realisation")?;
    let id = text(member(object, "id")?, "id")?;
    let mut dependents = BTreeMap::new();
    if let Some(map) = object.get("dependentRealisations") {
        let field = "dependentRealisations";
        for (id, path) in super::object(map, field)? {
            let id: DrvOutput = parsed(field, id, |t| t.parse().ok())?;
            dependents.insert(id, base_name(field, path)?);
        }
    }
    let signatures = object.get("signatures").map(signatures_from_json);
    Ok(Realisation {
        id: parsed("id", id, |t| t.parse().ok())?,
        out_path: base_name("outPath", member(object, "outPath")?)?,
        signatures: signatures.transpose()?.unwrap_or_default(),
        dependent_realisations: dependents,
    })
}

/// Parses the flat object from its text.
///
/// # Errors
/// Besides those of [`realisation_from_json`]: not JSON.
pub fn realisation_from_text(json: &[u8]) -> Result<Realisation, JsonError> {
    let value = serde_json::from_slice(json).map_err(JsonError::Syntax)?;
    realisation_from_json(&value)
}

/// `{"outPath": …, "signatures": [{keyName, sig}, …]}`.
#[must_use]
pub fn unkeyed_realisation_to_json(realisation: &UnkeyedRealisation) -> Value {
    let signatures: Vec<Value> = realisation
        .signatures
        .iter()
        .map(signature_to_json)
        .collect();
    json!({ "outPath": realisation.out_path.base_name(), "signatures": signatures })
}

/// Parses [`unkeyed_realisation_to_json`], signatures also as plain texts.
///
/// # Errors
/// Missing `outPath`, wrong types, texts that don't parse.
pub fn unkeyed_realisation_from_json(value: &Value) -> Result<UnkeyedRealisation, JsonError> {
    let object = object(value, "realisation")?;
    let signatures = object.get("signatures").map(signatures_from_json);
    Ok(UnkeyedRealisation {
        out_path: base_name("outPath", member(object, "outPath")?)?,
        signatures: signatures.transpose()?.unwrap_or_default(),
    })
}

fn base_name(field: &'static str, value: &Value) -> Result<StorePath, JsonError> {
    parsed(field, text(value, field)?, |t| {
        StorePath::from_base_name(t).ok()
    })
}
