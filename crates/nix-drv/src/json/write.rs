//! Derivations to JSON.

use bstr::BString;
use nix_base::json::JsonError;
use nix_base::{HashFormat, OutputName, StoreDir, StorePathName, StorePathSet};
use serde_json::{Map, Value, json};

use super::JsonForm;
use crate::derivation::{BasicDerivation, Derivation, DerivationOutput, InputNode, JSON_VARIABLE};
use crate::error::{Error, Result};
use crate::wire::hash_fields;

/// A derivation as an object.
///
/// # Errors
/// It holds bytes that aren't text, structured attributes that aren't JSON, or a
/// fixed output without a path.
pub fn derivation_to_json(drv: &Derivation, store_dir: &StoreDir, form: JsonForm) -> Result<Value> {
    let mut object = common(drv, store_dir, form)?;
    let srcs = paths(&drv.input_srcs, store_dir, form);
    let mut drvs = Map::new();
    for (path, node) in &drv.input_drvs {
        let node = match form {
            JsonForm::Early => names(node),
            _ => node_to_json(node),
        };
        drvs.insert(form.path(store_dir, path), node);
    }
    if form == JsonForm::V4 {
        object.insert("inputs".into(), json!({ "drvs": drvs, "srcs": srcs }));
    } else {
        object.insert("inputDrvs".into(), drvs.into());
        object.insert("inputSrcs".into(), srcs);
    }
    Ok(object.into())
}

/// A derivation without input derivations, in the form of version 4: its `inputs`
/// are a list.
///
/// # Errors
/// As [`derivation_to_json`].
pub fn basic_to_json(drv: &BasicDerivation, store_dir: &StoreDir) -> Result<Value> {
    let mut object = common(drv, store_dir, JsonForm::V4)?;
    object.insert(
        "inputs".into(),
        paths(&drv.input_srcs, store_dir, JsonForm::V4),
    );
    Ok(object.into())
}

/// One output as an object; `drv_name` and `name` are for the path of a fixed one.
///
/// # Errors
/// A fixed output has no path.
pub fn output_to_json(
    output: &DerivationOutput,
    store_dir: &StoreDir,
    drv_name: &StorePathName,
    name: &OutputName,
    form: JsonForm,
) -> Result<Value> {
    let mut object = Map::new();
    if form != JsonForm::V4 || matches!(output, DerivationOutput::InputAddressed(_)) {
        let path = output.known_path(store_dir, drv_name, name)?;
        object.extend(path.map(|path| ("path".into(), form.path(store_dir, &path).into())));
    }
    let parts = match output {
        DerivationOutput::InputAddressed(_) | DerivationOutput::Deferred => None,
        DerivationOutput::CaFixed(ca) => Some((ca.method, ca.hash.algo())),
        DerivationOutput::CaFloating { method, algo }
        | DerivationOutput::Impure { method, algo } => Some((*method, *algo)),
    };
    if let Some((method, algo)) = parts {
        let is_sri = form == JsonForm::V4 && matches!(output, DerivationOutput::CaFixed(_));
        if form == JsonForm::Early {
            object.insert("hashAlgo".into(), hash_fields(output).0.into());
        } else {
            object.insert("method".into(), method.as_json_str().into());
            if !is_sri {
                object.insert("hashAlgo".into(), algo.as_str().into());
            }
        }
    }
    match output {
        DerivationOutput::CaFixed(ca) => {
            let format = if form == JsonForm::V4 {
                HashFormat::Sri
            } else {
                HashFormat::Base16
            };
            object.insert("hash".into(), ca.hash.render(format).into());
        }
        DerivationOutput::Impure { .. } => {
            object.insert("impure".into(), true.into());
        }
        _ => {}
    }
    Ok(object.into())
}

/// What the derivation has besides its inputs.
fn common(
    drv: &BasicDerivation,
    store_dir: &StoreDir,
    form: JsonForm,
) -> Result<Map<String, Value>> {
    let mut object = Map::new();
    if form != JsonForm::Early {
        object.insert("name".into(), drv.name.as_str().into());
    }
    match form {
        JsonForm::V3 => drop(object.insert("version".into(), 3.into())),
        JsonForm::V4 => drop(object.insert("version".into(), 4.into())),
        JsonForm::Early | JsonForm::Unversioned => {}
    }
    let mut outputs = Map::new();
    for (name, output) in &drv.outputs {
        let output = output_to_json(output, store_dir, &drv.name, name, form)?;
        outputs.insert(name.as_str().into(), output);
    }
    object.insert("outputs".into(), outputs.into());
    object.insert("system".into(), text(&drv.platform, "system")?.into());
    object.insert("builder".into(), text(&drv.builder, "builder")?.into());
    let args = drv
        .args
        .iter()
        .map(|arg| text(arg, "args").map(Value::from));
    object.insert("args".into(), args.collect::<Result<Vec<_>>>()?.into());
    let mut env = Map::new();
    for (name, value) in &drv.env {
        if form.has_structured_attrs() && name == JSON_VARIABLE {
            let attrs = serde_json::from_slice(value).map_err(JsonError::Syntax)?;
            object.insert("structuredAttrs".into(), attrs);
        } else {
            let value = text(value, &format!("env.{name}"))?;
            env.insert(text(name, "env")?.into(), value.into());
        }
    }
    object.insert("env".into(), env.into());
    Ok(object)
}

fn paths(paths: &StorePathSet, store_dir: &StoreDir, form: JsonForm) -> Value {
    paths
        .iter()
        .map(|path| Value::from(form.path(store_dir, path)))
        .collect()
}

fn names(node: &InputNode) -> Value {
    node.outputs
        .iter()
        .map(|name| Value::from(name.as_str()))
        .collect()
}

fn node_to_json(node: &InputNode) -> Value {
    let children = node.children.iter();
    let children: Map<_, _> = children
        .map(|(name, child)| (name.as_str().to_owned(), node_to_json(child)))
        .collect();
    json!({ "outputs": names(node), "dynamicOutputs": children })
}

fn text<'b>(bytes: &'b BString, field: &str) -> Result<&'b str> {
    std::str::from_utf8(bytes).map_err(|_| Error::NotText {
        field: field.into(),
    })
}
