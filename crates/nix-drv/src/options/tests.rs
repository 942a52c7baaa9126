use serde_json::json;

use super::*;

const PATH: &str = "/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-src";

fn drv(env: &[(&str, &str)]) -> BasicDerivation {
    BasicDerivation {
        name: "x".parse().unwrap(),
        outputs: BTreeMap::new(),
        input_srcs: BTreeSet::new(),
        platform: "s".into(),
        builder: "/b".into(),
        args: Vec::new(),
        env: env
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect(),
    }
}

fn options(env: &[(&str, &str)]) -> DerivationOptions {
    drv(env).options(&StoreDir::default()).unwrap()
}

fn error(env: &[(&str, &str)]) -> String {
    drv(env)
        .options(&StoreDir::default())
        .unwrap_err()
        .to_string()
}

fn structured_error(attrs: serde_json::Value) -> String {
    error(&[("__json", &attrs.to_string())])
}

#[test]
fn defaults_are_the_same_in_both_cases_but_for_output_checks() {
    assert_eq!(options(&[]), DerivationOptions::default());
    let mut structured = options(&[("__json", "{}")]);
    assert_eq!(
        structured.output_checks,
        OutputChecks::PerOutput(BTreeMap::new())
    );
    structured.output_checks = DerivationOptions::default().output_checks;
    assert_eq!(structured, DerivationOptions::default());
}

#[test]
fn lists_are_split_at_white_space_and_only_1_is_true() {
    let options = options(&[
        ("requiredSystemFeatures", " kvm\n\tbig-parallel  kvm "),
        ("allowSubstitutes", "true"),
        ("preferLocalBuild", "1"),
        ("__noChroot", ""),
        ("allowedReferences", ""),
        ("disallowedRequisites", &format!("out {PATH}")),
        (
            "exportReferencesGraph",
            &format!("a {PATH}/bin b {PATH} a {PATH}"),
        ),
    ]);
    assert_eq!(
        options.required_system_features,
        ["big-parallel".into(), "kvm".into()].into()
    );
    assert!(!options.allow_substitutes && options.prefer_local_build && !options.no_chroot);
    let path = OptionRef::Path("00bgd045z0d4icpbc2yyz4gx48ak44la-src".parse().unwrap());
    let check = options.check_of(&"any".parse().unwrap()).unwrap();
    assert_eq!(check.allowed_references, Some(BTreeSet::new()));
    assert_eq!(check.allowed_requisites, None);
    let out = OptionRef::Own("out".parse().unwrap());
    assert_eq!(check.disallowed_requisites, [out, path.clone()].into());
    let graph: BTreeSet<_> = [path].into();
    let graphs = [("a".into(), graph.clone()), ("b".into(), graph)];
    assert_eq!(options.export_references_graph, graphs.into());
}

#[test]
fn the_last_of_two_graphs_for_a_file_counts() {
    let other = "/nix/store/24nxj3x5g94j2h5di9xnc6wynij7jyzj-data";
    let text = format!("g {PATH} h {PATH} g {other}");
    let graphs = options(&[("exportReferencesGraph", &text)]).export_references_graph;
    let path = |text: &str| OptionRef::Path(text["/nix/store/".len()..].parse().unwrap());
    assert_eq!(
        graphs,
        [
            ("g".into(), [path(other)].into()),
            ("h".into(), [path(PATH)].into())
        ]
        .into()
    );
}

#[test]
fn graphs_that_are_no_object_are_none() {
    let attrs = json!({"exportReferencesGraph": 1}).to_string();
    let options = options(&[("__json", &attrs)]);
    assert!(options.export_references_graph.is_empty());
}

#[test]
fn features_of_derivations_without_known_paths() {
    let options = options(&[("requiredSystemFeatures", "kvm")]);
    let features = |own| {
        options
            .required_features(own)
            .into_iter()
            .map(String::try_from)
    };
    let features = |own| {
        features(own)
            .map(Result::unwrap)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(features(DerivationType::InputAddressed), "kvm");
    assert_eq!(features(DerivationType::CaFloating), "ca-derivations kvm");
    assert_eq!(features(DerivationType::Impure), "ca-derivations kvm");
}

#[test]
fn legacy_attributes_beside_structured_ones_are_noted() {
    let options = options(&[("__json", "{}"), ("passAsFile", "x"), ("maxSize", "1")]);
    assert_eq!(options.ignored, ["maxSize", "passAsFile"]);
    assert!(options.pass_as_file.is_empty());
}

#[test]
fn wrong_types_name_the_attribute() {
    insta::assert_snapshot!(structured_error(json!({"__noChroot": "1"})), @"attribute '__noChroot' must be a Boolean");
    insta::assert_snapshot!(structured_error(json!({"allowSubstitutes": 1})), @"attribute 'allowSubstitutes' must be a Boolean");
    insta::assert_snapshot!(structured_error(json!({"preferLocalBuild": null})), @"attribute 'preferLocalBuild' must be a Boolean");
    insta::assert_snapshot!(structured_error(json!({"__darwinAllowLocalNetworking": []})), @"attribute '__darwinAllowLocalNetworking' must be a Boolean");
    insta::assert_snapshot!(structured_error(json!({"__sandboxProfile": []})), @"attribute '__sandboxProfile' must be a string");
    insta::assert_snapshot!(structured_error(json!({"__impureHostDeps": "/x"})), @"attribute '__impureHostDeps' must be a list of strings");
    insta::assert_snapshot!(structured_error(json!({"impureEnvVars": [1]})), @"attribute 'impureEnvVars' must be a list of strings");
    insta::assert_snapshot!(structured_error(json!({"requiredSystemFeatures": {}})), @"attribute 'requiredSystemFeatures' must be a list of strings");
    insta::assert_snapshot!(structured_error(json!({"unsafeDiscardReferences": []})), @"attribute 'unsafeDiscardReferences' must be an object");
    insta::assert_snapshot!(structured_error(json!({"unsafeDiscardReferences": {"out": 1}})), @"attribute 'unsafeDiscardReferences.out' must be a Boolean");
    insta::assert_snapshot!(structured_error(json!({"unsafeDiscardReferences": {"a/b": true}})), @"attribute 'unsafeDiscardReferences' names the impossible output 'a/b'");
    insta::assert_snapshot!(structured_error(json!({"outputChecks": []})), @"attribute 'outputChecks' must be an object");
    insta::assert_snapshot!(structured_error(json!({"outputChecks": {"out": 1}})), @"attribute 'outputChecks.out' must be an object");
    insta::assert_snapshot!(structured_error(json!({"outputChecks": {"out": {"maxSize": -1}}})), @"attribute 'outputChecks.out.maxSize' must be a non-negative integer");
    insta::assert_snapshot!(structured_error(json!({"outputChecks": {"out": {"maxClosureSize": 1.5}}})), @"attribute 'outputChecks.out.maxClosureSize' must be a non-negative integer");
    insta::assert_snapshot!(structured_error(json!({"outputChecks": {"out": {"allowedReferences": "x"}}})), @"attribute 'outputChecks.out.allowedReferences' must be a list of strings");
    insta::assert_snapshot!(structured_error(json!({"outputChecks": {"out": {"disallowedRequisites": ["/x"]}}})), @"attribute 'outputChecks.out.disallowedRequisites' has an illegal reference specifier '/x'");
    insta::assert_snapshot!(structured_error(json!({"outputChecks": {"out": {"ignoreSelfRefs": 0}}})), @"attribute 'outputChecks.out.ignoreSelfRefs' must be a Boolean");
    insta::assert_snapshot!(structured_error(json!({"exportReferencesGraph": {"a": [[1]]}})), @"attribute 'exportReferencesGraph.a' must be a path or a list of paths");
    insta::assert_snapshot!(structured_error(json!({"exportReferencesGraph": {"a": "x"}})), @"attribute 'exportReferencesGraph.a' has an illegal reference specifier 'x'");
    insta::assert_snapshot!(structured_error(json!([])), @"JSON field 'structuredAttrs' should be an object");
    insta::assert_snapshot!(error(&[("__json", "{")]), @"cannot parse JSON");
    insta::assert_snapshot!(error(&[("exportReferencesGraph", "a")]), @"odd number of tokens in 'exportReferencesGraph': 'a'");
    insta::assert_snapshot!(error(&[("exportReferencesGraph", "1a /nix/store/x")]), @"invalid file name '1a' in 'exportReferencesGraph'");
    insta::assert_snapshot!(error(&[("exportReferencesGraph", "a /etc")]), @"attribute 'exportReferencesGraph' has an illegal reference specifier '/etc'");
    insta::assert_snapshot!(error(&[("allowedReferences", "/etc")]), @"attribute 'allowedReferences' has an illegal reference specifier '/etc'");
}

#[test]
fn files_of_variables_are_named_by_hash() {
    assert_eq!(
        pass_as_file_name(b"buildCommand"),
        ".attr-0l2nkwhif96f51f4amnlf414lhl4rv9vh8iffyp431v6s28gsr90"
    );
}
