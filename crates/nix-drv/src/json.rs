//! Derivations as JSON, as `nix derivation show` prints them.
//!
//! | form | paths | input derivations | fixed outputs |
//! |---|---|---|---|
//! | [`Early`](JsonForm::Early), to 2.14 | full | path → outputs | `path`, `hashAlgo` with method, `hash` |
//! | [`Unversioned`](JsonForm::Unversioned), to 2.31 | full | path → `outputs`, `dynamicOutputs` | `path`, `method`, `hashAlgo`, `hash` |
//! | [`V3`](JsonForm::V3), 2.32 | base names | as before | as before |
//! | [`V4`](JsonForm::V4), from 2.33 | base names | `inputs.drvs`, `inputs.srcs` | `method`, `hash` (SRI) |
//!
//! JSON holds text alone: a derivation with other bytes has no such form, and real
//! Nix fails as well (since 2.15; earlier releases print the bytes as they are).

use nix_base::json::JsonError;
use nix_base::{StoreDir, StorePath};
use serde_json::{Map, Value};

use crate::derivation::Derivation;
use crate::error::Result;

mod canonical;
mod read;
mod write;

pub use canonical::render_canonical;
pub use read::{basic_from_json, derivation_from_json, output_from_json};
pub use write::{basic_to_json, derivation_to_json, output_to_json};

/// Which releases' JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonForm {
    /// That of `nix show-derivation` up to 2.14.
    Early,
    /// That of 2.24 to 2.31; it has no version either.
    Unversioned,
    /// Version 3, of 2.32.
    V3,
    /// Version 4, since 2.33.
    V4,
}

impl JsonForm {
    /// Whether store paths are printed without the store directory.
    fn has_base_names(self) -> bool {
        matches!(self, Self::V3 | Self::V4)
    }

    /// Whether structured attributes are an object of their own.
    fn has_structured_attrs(self) -> bool {
        matches!(self, Self::V3 | Self::V4)
    }

    /// A store path in this form.
    fn path(self, store_dir: &StoreDir, path: &StorePath) -> String {
        if self.has_base_names() {
            path.base_name()
        } else {
            store_dir.print(path)
        }
    }
}

/// All that `nix derivation show` prints for these derivations.
///
/// # Errors
/// A derivation holds bytes that aren't text, or has structured attributes that
/// aren't JSON, or a fixed output without a path.
pub fn show<'d>(
    drvs: impl IntoIterator<Item = (&'d StorePath, &'d Derivation)>,
    store_dir: &StoreDir,
    form: JsonForm,
) -> Result<Value> {
    let mut shown = Map::new();
    for (path, drv) in drvs {
        shown.insert(
            form.path(store_dir, path),
            derivation_to_json(drv, store_dir, form)?,
        );
    }
    Ok(match form {
        JsonForm::V4 => Value::Object(
            [
                ("version".into(), 4.into()),
                ("derivations".into(), shown.into()),
            ]
            .into_iter()
            .collect(),
        ),
        _ => shown.into(),
    })
}

/// The derivations in what `nix derivation show` printed, of any release.
///
/// # Errors
/// The value has another shape, or a field isn't what it should be.
pub fn parse_shown(value: &Value, store_dir: &StoreDir) -> Result<Vec<(StorePath, Derivation)>> {
    let all = read::object(value, "derivations")?;
    let all = match all.get("derivations") {
        Some(inner) => read::object(inner, "derivations")?,
        None => all,
    };
    let mut drvs = Vec::new();
    for (key, value) in all {
        let path = if key.starts_with('/') {
            store_dir.parse(key).ok()
        } else {
            StorePath::from_base_name(key).ok()
        };
        let bad_key = || JsonError::Value {
            field: "derivations",
            value: key.clone(),
        };
        let path = path.ok_or_else(bad_key)?;
        let name = crate::drv_name(&path)?;
        let drv = derivation_from_json(value, store_dir, Some(&name))?;
        drvs.push((path, drv));
    }
    Ok(drvs)
}

#[cfg(test)]
mod tests;
