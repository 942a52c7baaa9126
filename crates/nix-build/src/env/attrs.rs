//! Structured attributes, as JSON and as declarations of a shell.
//!
//! ```text
//! string integer boolean null   declare k='v'
//! array                         declare -a k=('v' 'w' )
//! object                        declare -A k=(['x']='v' ['y']='w' )
//! ```
//!
//! Keys that aren't names of variables are left out, and so are values with parts that a
//! shell has no place for.

use serde_json::{Map, Number, Value};

use super::{EnvError, EnvInput};
use crate::graph::GraphData;

/// The attributes with the paths of the outputs and with the graphs.
pub(super) fn complete(json: &[u8], input: &EnvInput<'_>) -> Result<Map<String, Value>, EnvError> {
    let name = || input.drv.name.to_string();
    let attrs: Value = serde_json::from_slice(json).map_err(|source| EnvError::Json {
        name: name(),
        source,
    })?;
    let Value::Object(mut attrs) = attrs else {
        return Err(EnvError::NotAnObject(name()));
    };
    let outputs = input.scratch.iter().map(|(output, paths)| {
        let path = input.store_dir.print(&paths.scratch);
        (output.to_string(), Value::from(path))
    });
    attrs.insert("outputs".into(), Value::Object(outputs.collect()));
    if let GraphData::Attributes(graphs) = input.graphs {
        for (key, graph) in graphs {
            attrs.insert(key.clone(), graph.clone());
        }
    }
    Ok(attrs)
}

/// The file `.attrs.json`.
pub(super) fn render_json(attrs: Map<String, Value>) -> String {
    nix_drv::json::render_canonical(&Value::Object(attrs))
}

/// The file `.attrs.sh`.
pub(super) fn render_shell(attrs: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (key, value) in attrs.iter().filter(|(key, _)| is_variable(key)) {
        let Some((flag, value)) = declaration(value) else {
            continue;
        };
        for part in ["declare ", flag, key, "=", &value, "\n"] {
            text.push_str(part);
        }
    }
    text
}

/// The flag of `declare`, and the value as shell text.
fn declaration(value: &Value) -> Option<(&'static str, String)> {
    match value {
        Value::Array(items) => {
            let mut text = String::from("(");
            for item in items {
                text.push_str(&simple(item)?);
                text.push(' ');
            }
            text.push(')');
            Some(("-a ", text))
        }
        Value::Object(members) => {
            let mut text = String::from("(");
            for (key, member) in members {
                text.push_str(&format!("[{}]={} ", quote(key), simple(member)?));
            }
            text.push(')');
            Some(("-A ", text))
        }
        _ => Some(("", simple(value)?)),
    }
}

/// A value that isn't made of others.
fn simple(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(quote(text)),
        Value::Null => Some("''".to_owned()),
        Value::Bool(true) => Some("1".to_owned()),
        Value::Bool(false) => Some(String::new()),
        Value::Number(number) => integral(number),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// An integral number as a shell gets it.
///
/// Nix compat: real Nix goes by the number as a 32-bit float and writes it as a 32-bit
/// integer, of a larger integer its low bits, of a larger fraction the least integer.
fn integral(number: &Number) -> Option<String> {
    if let Some(wide) = number.as_i64() {
        return Some(low_bits(wide).to_string());
    }
    if let Some(wide) = number.as_u64() {
        return Some(low_bits(wide.cast_signed()).to_string());
    }
    let value = number.as_f64()?;
    let coarse = to_f32(value);
    (coarse.ceil() == coarse).then(|| truncated(value).to_string())
}

#[expect(clippy::cast_possible_truncation, reason = "as real Nix does")]
const fn low_bits(wide: i64) -> i32 {
    wide as i32
}

#[expect(clippy::cast_possible_truncation, reason = "as real Nix does")]
const fn to_f32(value: f64) -> f32 {
    value as f32
}

#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
fn truncated(value: f64) -> i32 {
    let whole = value.trunc();
    if whole < f64::from(i32::MIN) || whole > f64::from(i32::MAX) {
        return i32::MIN;
    }
    whole as i32
}

/// `text` between single quotes.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// `[A-Za-z_][A-Za-z0-9_]*`
fn is_variable(key: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    key.bytes().next().is_some_and(is_letter)
        && key
            .bytes()
            .all(|byte| is_letter(byte) || byte.is_ascii_digit())
}
