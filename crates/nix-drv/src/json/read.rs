//! Derivations from JSON of any release.

use std::collections::BTreeMap;

use bstr::BString;
use nix_base::json::JsonError;
use nix_base::{
    ContentAddress, ContentAddressMethod, Hash, HashAlgo, OutputName, StoreDir, StorePath,
    StorePathName, StorePathSet,
};
use serde_json::{Map, Value};

use super::render_canonical;
use crate::derivation::{
    BasicDerivation, Derivation, DerivationOutput, DerivationOutputs, InputNode, JSON_VARIABLE,
};
use crate::error::Result;
use crate::outputs::output_path_of_fixed;

/// A derivation from its object, whose form is told by its version and its fields.
/// `name` is for early forms that don't have it.
///
/// # Errors
/// The field that is missing or isn't what it should be.
pub fn derivation_from_json(
    value: &Value,
    store_dir: &StoreDir,
    name: Option<&StorePathName>,
) -> Result<Derivation> {
    let reader = Reader {
        store_dir,
        object: object(value, "derivation")?,
    };
    let (srcs, drvs) = match reader.version()? {
        Some(4) => {
            let inputs = reader.member("inputs")?;
            if inputs.is_array() {
                (inputs, None)
            } else {
                let inputs = object(inputs, "inputs")?;
                (member(inputs, "srcs")?, Some(member(inputs, "drvs")?))
            }
        }
        _ => (
            reader.member("inputSrcs")?,
            Some(reader.member("inputDrvs")?),
        ),
    };
    let basic = reader.basic(srcs, name)?;
    let mut input_drvs = BTreeMap::new();
    if let Some(drvs) = drvs {
        for (path, node) in object(drvs, "inputDrvs")? {
            input_drvs.insert(reader.path(path, "inputDrvs")?, input_node(node)?);
        }
    }
    Ok(Derivation { basic, input_drvs })
}

/// A derivation without input derivations, whose `inputs` are a list.
///
/// # Errors
/// As [`derivation_from_json`]; and if it has input derivations.
pub fn basic_from_json(value: &Value, store_dir: &StoreDir) -> Result<BasicDerivation> {
    let drv = derivation_from_json(value, store_dir, None)?;
    if !drv.input_drvs.is_empty() {
        return Err(JsonError::Type {
            field: "inputs",
            expected: "a list",
        }
        .into());
    }
    Ok(drv.basic)
}

/// One output from its object; `drv_name` and `name` tell the path of a fixed one.
///
/// # Errors
/// A field isn't what it should be, or a fixed output's path doesn't follow from
/// its hash.
pub fn output_from_json(
    value: &Value,
    store_dir: &StoreDir,
    drv_name: &StorePathName,
    name: &OutputName,
) -> Result<DerivationOutput> {
    let reader = Reader {
        store_dir,
        object: object(value, "outputs")?,
    };
    let path = reader.optional_text("path")?;
    let path = path.map(|path| reader.path(path, "path")).transpose()?;
    let hash = reader.optional_text("hash")?;
    let Some((method, algo)) = reader.method()? else {
        return Ok(path.map_or(DerivationOutput::Deferred, DerivationOutput::InputAddressed));
    };
    let Some(hash) = hash else {
        let algo = algo.ok_or(JsonError::Missing("hashAlgo"))?;
        if path.is_some() {
            let value = "of an output that is not known beforehand".into();
            return Err(JsonError::Value {
                field: "path",
                value,
            }
            .into());
        }
        let is_impure = reader.object.get("impure") == Some(&Value::Bool(true));
        return Ok(if is_impure {
            DerivationOutput::Impure { method, algo }
        } else {
            DerivationOutput::CaFloating { method, algo }
        });
    };
    let hash = Hash::parse_any(hash, algo).map_err(|_| JsonError::Value {
        field: "hash",
        value: hash.into(),
    })?;
    let ca = ContentAddress { method, hash };
    let computed = output_path_of_fixed(store_dir, drv_name, name, &ca)?;
    if let Some(path) = path
        && path != computed
    {
        return Err(JsonError::Value {
            field: "path",
            value: path.to_string(),
        }
        .into());
    }
    Ok(DerivationOutput::CaFixed(ca))
}

struct Reader<'r> {
    store_dir: &'r StoreDir,
    object: &'r Map<String, Value>,
}

impl<'r> Reader<'r> {
    fn version(&self) -> Result<Option<u64>> {
        match self.object.get("version") {
            None => Ok(None),
            Some(version) => match version.as_u64() {
                Some(known @ (3 | 4)) => Ok(Some(known)),
                _ => Err(JsonError::Version(version.to_string()).into()),
            },
        }
    }

    fn basic(&self, srcs: &Value, name: Option<&StorePathName>) -> Result<BasicDerivation> {
        let name = match (self.optional_text("name")?, name) {
            (Some(stated), _) => StorePathName::new(stated)?,
            (None, Some(name)) => name.clone(),
            (None, None) => return Err(JsonError::Missing("name").into()),
        };
        let mut outputs = DerivationOutputs::new();
        for (key, output) in object(self.member("outputs")?, "outputs")? {
            let key = output_name(key, "outputs")?;
            let output = output_from_json(output, self.store_dir, &name, &key)?;
            outputs.insert(key, output);
        }
        let mut input_srcs = StorePathSet::new();
        for src in items(srcs, "inputSrcs")? {
            input_srcs.insert(self.path(text(src, "inputSrcs")?, "inputSrcs")?);
        }
        let mut args = Vec::new();
        for arg in items(self.member("args")?, "args")? {
            args.push(text(arg, "args")?.into());
        }
        Ok(BasicDerivation {
            name,
            outputs,
            input_srcs,
            platform: text(self.platform()?, "system")?.into(),
            builder: text(self.member("builder")?, "builder")?.into(),
            args,
            env: self.env()?,
        })
    }

    /// 2.3 calls it by the name that it has everywhere else.
    fn platform(&self) -> Result<&'r Value> {
        match self.object.get("platform") {
            Some(platform) => Ok(platform),
            None => self.member("system"),
        }
    }

    fn env(&self) -> Result<BTreeMap<BString, BString>> {
        let mut env = BTreeMap::new();
        for (name, value) in object(self.member("env")?, "env")? {
            env.insert(BString::from(name.as_str()), text(value, "env")?.into());
        }
        if let Some(attrs) = self
            .object
            .get("structuredAttrs")
            .filter(|attrs| !attrs.is_null())
        {
            object(attrs, "structuredAttrs")?;
            env.insert(JSON_VARIABLE.into(), render_canonical(attrs).into());
        }
        Ok(env)
    }

    /// Method and algorithm, of outputs that have them.
    fn method(&self) -> Result<Option<(ContentAddressMethod, Option<HashAlgo>)>> {
        let hash_algo = self.optional_text("hashAlgo")?;
        let bad_algo = |value: &str| JsonError::Value {
            field: "hashAlgo",
            value: value.into(),
        };
        match (self.optional_text("method")?, hash_algo) {
            (None, None) => Ok(None),
            (None, Some(both)) => {
                let (method, algo) =
                    ContentAddressMethod::parse_with_algo(both).map_err(|_| bad_algo(both))?;
                Ok(Some((method, Some(algo))))
            }
            (Some(word), algo) => {
                let method =
                    ContentAddressMethod::from_json_str(word).ok_or_else(|| JsonError::Value {
                        field: "method",
                        value: word.into(),
                    })?;
                let algo = algo
                    .map(|algo| algo.parse().map_err(|_| bad_algo(algo)))
                    .transpose()?;
                Ok(Some((method, algo)))
            }
        }
    }

    /// A path, full or as a base name.
    fn path(&self, text: &str, field: &'static str) -> Result<StorePath> {
        let path = if text.starts_with('/') {
            self.store_dir.parse(text)
        } else {
            StorePath::from_base_name(text)
        };
        Ok(path.map_err(|_| JsonError::Value {
            field,
            value: text.into(),
        })?)
    }

    fn member(&self, field: &'static str) -> Result<&'r Value> {
        Ok(member(self.object, field)?)
    }

    fn optional_text(&self, field: &'static str) -> Result<Option<&'r str>> {
        match self.object.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => Ok(Some(text(value, field)?)),
        }
    }
}

/// What is wanted of an input: names, or an object with names and children. The
/// JSON parser has bounded the depth.
fn input_node(value: &Value) -> Result<InputNode> {
    let mut node = InputNode::default();
    let names = match value {
        Value::Array(_) => value,
        _ => {
            let fields = object(value, "inputDrvs")?;
            if let Some(children) = fields.get("dynamicOutputs") {
                for (name, child) in object(children, "dynamicOutputs")? {
                    let name = output_name(name, "dynamicOutputs")?;
                    node.children.insert(name, input_node(child)?);
                }
            }
            member(fields, "outputs")?
        }
    };
    for name in items(names, "outputs")? {
        node.outputs
            .insert(output_name(text(name, "outputs")?, "outputs")?);
    }
    Ok(node)
}

fn output_name(name: &str, field: &'static str) -> Result<OutputName, JsonError> {
    OutputName::new(name).map_err(|_| JsonError::Value {
        field,
        value: name.into(),
    })
}

pub(super) fn object<'v>(
    value: &'v Value,
    field: &'static str,
) -> Result<&'v Map<String, Value>, JsonError> {
    value.as_object().ok_or(JsonError::Type {
        field,
        expected: "an object",
    })
}

fn member<'v>(object: &'v Map<String, Value>, field: &'static str) -> Result<&'v Value, JsonError> {
    object.get(field).ok_or(JsonError::Missing(field))
}

fn items<'v>(value: &'v Value, field: &'static str) -> Result<&'v [Value], JsonError> {
    let items = value.as_array().map(Vec::as_slice);
    items.ok_or(JsonError::Type {
        field,
        expected: "a list",
    })
}

fn text<'v>(value: &'v Value, field: &'static str) -> Result<&'v str, JsonError> {
    value.as_str().ok_or(JsonError::Type {
        field,
        expected: "a string",
    })
}
