//! Options as JSON, to look at and to compare.

use std::collections::BTreeSet;

use bstr::BString;
use serde_json::{Map, Value, json};

use super::{DerivationOptions, OptionRef, OutputCheck, OutputChecks};

/// The options as an object. Bytes that aren't text become replacement characters.
pub fn options_to_json(options: &DerivationOptions) -> Value {
    let output_checks = match &options.output_checks {
        OutputChecks::ForAll(check) => json!({ "forAllOutputs": check_to_json(check) }),
        OutputChecks::PerOutput(checks) => {
            let checks = checks.iter();
            let checks: Map<_, _> = checks
                .map(|(output, check)| (output.to_string(), check_to_json(check)))
                .collect();
            json!({ "perOutput": checks })
        }
    };
    let graphs = options.export_references_graph.iter();
    let graphs: Map<_, _> = graphs
        .map(|(name, paths)| (name.to_string(), refs_to_json(paths)))
        .collect();
    let discarded = options.unsafe_discard_references.iter();
    let discarded: Map<_, _> = discarded
        .map(|(output, value)| (output.to_string(), Value::from(*value)))
        .collect();
    json!({
        "additionalSandboxProfile": options.additional_sandbox_profile.to_string(),
        "allowLocalNetworking": options.allow_local_networking,
        "allowSubstitutes": options.allow_substitutes,
        "exportReferencesGraph": graphs,
        "impureEnvVars": strings(&options.impure_env_vars),
        "impureHostDeps": strings(&options.impure_host_deps),
        "noChroot": options.no_chroot,
        "outputChecks": output_checks,
        "passAsFile": strings(&options.pass_as_file),
        "preferLocalBuild": options.prefer_local_build,
        "requiredSystemFeatures": strings(&options.required_system_features),
        "unsafeDiscardReferences": discarded,
    })
}

fn check_to_json(check: &OutputCheck) -> Value {
    json!({
        "allowedReferences": check.allowed_references.as_ref().map(refs_to_json),
        "allowedRequisites": check.allowed_requisites.as_ref().map(refs_to_json),
        "disallowedReferences": refs_to_json(&check.disallowed_references),
        "disallowedRequisites": refs_to_json(&check.disallowed_requisites),
        "ignoreSelfRefs": check.ignore_self_refs,
        "maxClosureSize": check.max_closure_size,
        "maxSize": check.max_size,
    })
}

fn refs_to_json(refs: &BTreeSet<OptionRef>) -> Value {
    refs.iter().map(ref_to_json).collect()
}

fn ref_to_json(reference: &OptionRef) -> Value {
    match reference {
        OptionRef::Own(output) => json!({ "drvPath": "self", "output": output.as_str() }),
        OptionRef::Path(path) => path.base_name().into(),
        OptionRef::Input { drv, output } => {
            json!({ "drvPath": drv.base_name(), "output": output.as_str() })
        }
    }
}

fn strings(set: &BTreeSet<BString>) -> Value {
    set.iter()
        .map(|text| Value::from(text.to_string()))
        .collect()
}
