//! JSON of path infos: `nix path-info --json`, format versions 1 to 3.
//!
//! | version | paths | content address | signatures |
//! |---|---|---|---|
//! | 1 | full | text | text |
//! | 2 | base names | `{method, hash}` | text |
//! | 3 | base names | `{method, hash}` | `{keyName, sig}` |
//!
//! *Pure* leaves out what only holds in one store: deriver, registration time,
//! signatures, `ultimate`.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{JsonError, items, member, object, parsed, text};
use crate::content_address::{ContentAddress, ContentAddressMethod};
use crate::hash::{Hash, HashFormat, NarHash};
use crate::path_info::UnkeyedValidPathInfo;
use crate::signature::Signature;
use crate::store_dir::StoreDir;
use crate::store_path::StorePath;

/// The format version of a path info.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathInfoFormat {
    /// Full paths, text everywhere.
    V1,
    /// Base names, structured content address.
    V2,
    /// As 2, with structured signatures.
    V3,
}

impl PathInfoFormat {
    const fn number(self) -> u64 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }
}

/// Whether facts about one particular store are included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFacts {
    /// Deriver, registration time, signatures and `ultimate` are in.
    Impure,
    /// They are left out.
    Pure,
}

/// The JSON object of `info`.
#[must_use]
pub fn path_info_to_json(
    dir: &StoreDir,
    info: &UnkeyedValidPathInfo,
    format: PathInfoFormat,
    facts: StoreFacts,
) -> Value {
    let path = |p: &StorePath| match format {
        PathInfoFormat::V1 => dir.print(p),
        _ => p.base_name(),
    };
    let mut out = Map::new();
    out.insert("version".into(), format.number().into());
    out.insert("storeDir".into(), dir.as_str().into());
    out.insert(
        "narHash".into(),
        Hash::from(info.nar_hash).render(HashFormat::Sri).into(),
    );
    out.insert("narSize".into(), info.nar_size.into());
    out.insert(
        "references".into(),
        info.references.iter().map(path).collect(),
    );
    out.insert(
        "ca".into(),
        info.ca.as_ref().map_or(Value::Null, |ca| match format {
            PathInfoFormat::V1 => ca.to_string().into(),
            _ => content_address_to_json(ca),
        }),
    );
    if facts == StoreFacts::Impure {
        out.insert("deriver".into(), info.deriver.as_ref().map(path).into());
        let time = (info.registration_time != 0).then_some(info.registration_time);
        out.insert("registrationTime".into(), time.into());
        out.insert("ultimate".into(), info.ultimate.into());
        let signature = |sig: &Signature| match format {
            PathInfoFormat::V3 => signature_to_json(sig),
            _ => sig.as_str().into(),
        };
        out.insert(
            "signatures".into(),
            info.sigs.iter().map(signature).collect(),
        );
    }
    Value::Object(out)
}

/// Parses the JSON object of a path info; its version tells the format (1 if absent).
///
/// # Errors
/// Missing fields, wrong types, texts that don't parse, an unknown version.
pub fn path_info_from_json(
    dir: &StoreDir,
    value: &Value,
) -> Result<UnkeyedValidPathInfo, JsonError> {
    let object = object(value, "path info")?;
    let format = match object.get("version").map(|v| (v, v.as_u64())) {
        None | Some((_, Some(1))) => PathInfoFormat::V1,
        Some((_, Some(2))) => PathInfoFormat::V2,
        Some((_, Some(3))) => PathInfoFormat::V3,
        Some((other, _)) => return Err(JsonError::Version(other.to_string())),
    };
    let path = |field, value: &Value| {
        parsed(field, text(value, field)?, |t| match format {
            PathInfoFormat::V1 => dir.parse(t).ok(),
            _ => StorePath::from_base_name(t).ok(),
        })
    };
    let nar_hash = text(member(object, "narHash")?, "narHash")?;
    let nar_hash = parsed("narHash", nar_hash, |t| NarHash::parse_any(t).ok())?;
    let nar_size = number(member(object, "narSize")?, "narSize")?;
    let mut info = UnkeyedValidPathInfo::new(nar_hash, nar_size);
    for reference in items(member(object, "references")?, "references")? {
        info.references.insert(path("references", reference)?);
    }
    info.ca = match present(object, "ca") {
        None => None,
        Some(Value::String(t)) => Some(parsed("ca", t, |t| t.parse().ok())?),
        Some(other) => Some(content_address_from_json(other)?),
    };
    info.deriver = present(object, "deriver")
        .map(|v| path("deriver", v))
        .transpose()?;
    if let Some(time) = present(object, "registrationTime") {
        let expected = "an integer";
        let field = "registrationTime";
        info.registration_time = time.as_i64().ok_or(JsonError::Type { field, expected })?;
    }
    info.ultimate = present(object, "ultimate").is_some_and(|v| v == &json!(true));
    info.sigs = match present(object, "signatures") {
        Some(list) => signatures_from_json(list)?,
        None => BTreeSet::new(),
    };
    Ok(info)
}

/// `{"method": …, "hash": <SRI>}`.
#[must_use]
pub fn content_address_to_json(ca: &ContentAddress) -> Value {
    json!({ "method": ca.method.as_json_str(), "hash": ca.hash.render(HashFormat::Sri) })
}

/// Parses [`content_address_to_json`].
///
/// # Errors
/// Missing fields, unknown method, malformed hash.
pub fn content_address_from_json(value: &Value) -> Result<ContentAddress, JsonError> {
    let object = object(value, "ca")?;
    let method = text(member(object, "method")?, "method")?;
    let hash = text(member(object, "hash")?, "hash")?;
    Ok(ContentAddress {
        method: parsed("method", method, ContentAddressMethod::from_json_str)?,
        hash: parsed("hash", hash, |t| Hash::parse_any(t, None).ok())?,
    })
}

/// `{"keyName": …, "sig": …}`; a text without colon is all `sig`.
#[must_use]
pub fn signature_to_json(signature: &Signature) -> Value {
    let (name, sig) = signature
        .as_str()
        .split_once(':')
        .unwrap_or(("", signature.as_str()));
    json!({ "keyName": name, "sig": sig })
}

/// Parses a list of signatures, each as text or as `{keyName, sig}`.
///
/// # Errors
/// Not a list, or an item of another shape.
pub fn signatures_from_json(value: &Value) -> Result<BTreeSet<Signature>, JsonError> {
    let field = "signatures";
    items(value, field)?
        .iter()
        .map(|item| {
            let joined = match item {
                Value::String(t) => t.clone(),
                other => {
                    let object = object(other, field)?;
                    let name = text(member(object, "keyName")?, "keyName")?;
                    format!("{name}:{}", text(member(object, "sig")?, "sig")?)
                }
            };
            parsed(field, &joined, |t| Signature::verbatim(t).ok())
        })
        .collect()
}

fn present<'a>(object: &'a Map<String, Value>, field: &str) -> Option<&'a Value> {
    object.get(field).filter(|v| !v.is_null())
}

fn number(value: &Value, field: &'static str) -> Result<u64, JsonError> {
    value.as_u64().ok_or(JsonError::Type {
        field,
        expected: "a non-negative integer",
    })
}
