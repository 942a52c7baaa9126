//! JSON forms of the vocabulary, as real Nix prints and reads them.
//!
//! Hand-written conversions to and from [`serde_json::Value`]: the forms differ between
//! releases, so each has its function instead of a derived one.

use serde_json::Value;

pub mod path_info;
pub mod realisation;

/// A JSON text that has not the expected shape.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Not JSON at all.
    #[error("cannot parse JSON")]
    Syntax(#[source] serde_json::Error),
    /// A field is missing.
    #[error("JSON object has no field '{0}'")]
    Missing(&'static str),
    /// A field has another type than it should.
    #[error("JSON field '{field}' should be {expected}")]
    Type {
        /// The field.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A field whose text does not parse.
    #[error("JSON field '{field}' has a bad value '{value}'")]
    Value {
        /// The field.
        field: &'static str,
        /// The text.
        value: String,
    },
    /// A format version that is not known.
    #[error("JSON format version {0} is not supported")]
    Version(String),
}

pub(crate) type Object = serde_json::Map<String, Value>;

pub(crate) fn object<'a>(value: &'a Value, field: &'static str) -> Result<&'a Object, JsonError> {
    value.as_object().ok_or(JsonError::Type {
        field,
        expected: "an object",
    })
}

pub(crate) fn member<'a>(object: &'a Object, field: &'static str) -> Result<&'a Value, JsonError> {
    object.get(field).ok_or(JsonError::Missing(field))
}

pub(crate) fn text<'a>(value: &'a Value, field: &'static str) -> Result<&'a str, JsonError> {
    value.as_str().ok_or(JsonError::Type {
        field,
        expected: "a string",
    })
}

pub(crate) fn items<'a>(value: &'a Value, field: &'static str) -> Result<&'a [Value], JsonError> {
    value.as_array().map(Vec::as_slice).ok_or(JsonError::Type {
        field,
        expected: "a list",
    })
}

pub(crate) fn parsed<T>(
    field: &'static str,
    text: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, JsonError> {
    parse(text).ok_or_else(|| JsonError::Value {
        field,
        value: text.chars().take(200).collect(),
    })
}
