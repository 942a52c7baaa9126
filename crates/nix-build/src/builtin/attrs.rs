//! The attributes that builtin builders read.

use std::path::Path;

use super::{BuiltinCall, BuiltinError};

impl BuiltinCall {
    /// An attribute, as the derivation has it.
    pub(super) fn attr(&self, name: &str) -> Result<Option<Vec<u8>>, BuiltinError> {
        if let Some(value) = self.env.get(name.as_bytes()) {
            return Ok(Some(value.clone()));
        }
        let Some(json) = &self.structured_attrs else {
            return Ok(None);
        };
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(json).map_err(BuiltinError::StructuredAttrs)?;
        Ok(match object.get(name) {
            Some(serde_json::Value::String(text)) => Some(text.clone().into_bytes()),
            Some(serde_json::Value::Bool(true)) => Some(b"1".to_vec()),
            Some(serde_json::Value::Bool(false)) => Some(Vec::new()),
            Some(serde_json::Value::Number(number)) => Some(number.to_string().into_bytes()),
            _ => None,
        })
    }

    /// An attribute that must be there.
    pub(super) fn required(&self, name: &str) -> Result<Vec<u8>, BuiltinError> {
        self.attr(name)?
            .ok_or_else(|| BuiltinError::MissingAttribute(name.to_owned()))
    }

    /// An attribute that must be there and be UTF-8.
    pub(super) fn required_text(&self, name: &str) -> Result<String, BuiltinError> {
        String::from_utf8(self.required(name)?).map_err(|_| BuiltinError::NotText(name.to_owned()))
    }

    /// Whether an attribute is `1`.
    pub(super) fn is_set(&self, name: &str) -> Result<bool, BuiltinError> {
        Ok(self.attr(name)?.as_deref() == Some(b"1"))
    }

    /// Where the output `out` is to be.
    pub(super) fn out(&self) -> Result<&Path, BuiltinError> {
        self.outputs
            .get("out")
            .map(AsRef::as_ref)
            .ok_or_else(|| BuiltinError::MissingOutput("out".to_owned()))
    }
}
