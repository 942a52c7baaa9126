//! SEC-30, SEC-31, SEC-32, and builds of what is hidden.

use std::collections::BTreeMap;

use nix_base::{BuildOptions, BuildStatus, OutputName, StorePath, StorePathSet};
use nix_build::NetworkRight;
use nix_drv::proof::{PackedProof, Proof, input_text};
use nix_drv::{BasicDerivation, Derivation, DerivationOutput, HashMemo, InputNode};

use super::machine::{Machine, Talk, key, number, path, text};
use crate::policy::{Capability, Role};
use crate::proto::ServeCommand;
use crate::proto::proof::{read_text_hashes, write_text_hashes};
use crate::server::Rule;

/// A source, `dep` that needs it, and `top` that needs `dep`.
struct Graph {
    source: (Vec<u8>, nix_base::ValidPathInfo),
    dep: Derivation,
    top: Derivation,
    proof: Proof,
}

fn out() -> OutputName {
    OutputName::new("out").unwrap()
}

fn derivation(m: &Machine, name: &str, source: Option<&StorePath>) -> Derivation {
    let mut drv = Derivation::from(BasicDerivation {
        name: name.parse().unwrap(),
        outputs: BTreeMap::from([(out(), DerivationOutput::Deferred)]),
        input_srcs: source.cloned().into_iter().collect(),
        platform: "x86_64-linux".into(),
        builder: "/bin/sh".into(),
        args: vec![name.into()],
        env: BTreeMap::from([("out".into(), "".into())]),
    });
    if source.is_some() {
        settle(m, &mut drv, &HashMemo::new());
    }
    drv
}

/// Gives the output its path.
fn settle(m: &Machine, drv: &mut Derivation, memo: &HashMemo) {
    let masked = drv.masked_hash(&m.dir, memo).unwrap();
    let path = nix_drv::outputs::output_path(&m.dir, &drv.name, &out(), &masked).unwrap();
    drv.env.insert("out".into(), m.dir.print(&path).into());
    drv.outputs
        .insert(out(), DerivationOutput::InputAddressed(path));
}

fn graph(m: &Machine) -> Graph {
    let source = text("source", b"source", &[]);
    let dep = derivation(m, "dep", Some(&source.1.path));
    let dep_path = dep.store_path(&m.dir).unwrap();
    let mut top = derivation(m, "top", None);
    let node = InputNode {
        outputs: [out()].into(),
        ..InputNode::default()
    };
    top.input_drvs.insert(dep_path.clone(), node);
    let mut memo = HashMemo::new();
    memo.insert(&dep_path, dep.input_hash(&m.dir, &memo).unwrap());
    settle(m, &mut top, &memo);
    let proof = Proof::of(&top, |_| input_text(&dep, &m.dir, &memo)).unwrap();
    Graph {
        source,
        dep,
        top,
        proof,
    }
}

impl Graph {
    /// The request for `top`, with the inputs that it needs.
    fn request(&self) -> BasicDerivation {
        self.top.with_inputs([output(&self.dep)].into())
    }

    fn top_path(&self, m: &Machine) -> StorePath {
        self.top.store_path(&m.dir).unwrap()
    }

    /// Builds `dep` from the source for `role`.
    fn build_dep(&self, m: &Machine, role: &Role) {
        let (nar, info) = &self.source;
        m.talk(role.clone(), &Talk::add(info, nar)).done();
        let drv_path = self.dep.store_path(&m.dir).unwrap();
        let (result, talk) = m.build(role.clone(), &Talk::build(&drv_path, &self.dep));
        assert!(result.status.is_success(), "{}", result.error_msg);
        assert_eq!(talk.records[0].reason.as_deref(), Some("self-contained"));
        assert!(m.last().requester.is_vouched_for);
    }

    /// Copies the derivation files for `role`.
    fn copy_files(&self, m: &Machine, role: &Role) {
        for drv in [&self.dep, &self.top] {
            let contents = drv.to_aterm(&m.dir).unwrap();
            let references: Vec<_> = drv.references().into_iter().collect();
            let references: Vec<&StorePath> = references.iter().collect();
            let (nar, info) = text(&format!("{}.drv", drv.name), &contents, &references);
            assert_eq!(info.path, drv.store_path(&m.dir).unwrap());
            m.talk(role.clone(), &Talk::add(&info, &nar)).done();
        }
    }
}

fn output(drv: &Derivation) -> StorePath {
    match &drv.outputs[&out()] {
        DerivationOutput::InputAddressed(path) => path.clone(),
        other => panic!("{other:?}"),
    }
}

fn whole(proof: &Proof) -> PackedProof {
    PackedProof::pack(proof, |_| false)
}

#[test]
fn without_evidence_nothing_with_inputs_is_built() {
    let m = Machine::new();
    let g = graph(&m);
    g.build_dep(&m, &key("a"));
    let request = Talk::build(&g.top_path(&m), &g.request());
    let (result, talk) = m.build(key("a"), &request);
    assert_eq!(result.status, BuildStatus::InputRejected);
    assert!(result.error_msg.contains("SEC-31") && result.error_msg.contains("'build-any'"));
    assert_eq!(talk.refused().rule, Rule::Evidence);
    assert!(!m.store().is_valid(&output(&g.top)).unwrap());
    let mut role = key("a");
    role.capabilities.insert(Capability::BuildAny);
    let (result, _) = m.build(role, &request);
    assert_eq!(result.status, BuildStatus::Built);
    assert_eq!(m.last().requester.restrictions, None);
}

#[test]
fn a_proof_is_evidence_and_its_texts_are_sent_once() {
    let m = Machine::new();
    let g = graph(&m);
    g.build_dep(&m, &key("a"));
    let request = Talk::build_proven(&g.top_path(&m), &g.request(), &whole(&g.proof));
    let (result, talk) = m.build(key("a"), &request);
    assert!(result.status.is_success(), "{}", result.error_msg);
    assert_eq!(
        talk.records[0].reason.as_deref(),
        Some("proven by the client")
    );
    assert!(m.sees(key("a"), &output(&g.top)));
    assert!(!m.last().requester.is_vouched_for);
    // The second time the hashes are enough, but not for somebody else.
    let packed = PackedProof::pack(&g.proof, |_| true);
    let request = Talk::build_proven(&g.top_path(&m), &g.request(), &packed);
    assert!(m.build(key("a"), &request).0.status.is_success());
    g.build_dep(&m, &key("b"));
    let mut asked = std::collections::BTreeSet::from([[7; 32]]);
    asked.extend(g.proof.inputs.iter().map(|input| *input.text.hash()));
    let mut question = number(ServeCommand::QueryProofTexts);
    write_text_hashes(&asked, &mut question).unwrap();
    let missing = |role| {
        let talk = m.talk(role, &question);
        talk.done();
        read_text_hashes("", &mut &talk.replies[..]).unwrap()
    };
    // 'b' has built 'dep', whose text it could have sent.
    assert_eq!(missing(key("a")), [[7; 32]].into());
    assert_eq!(missing(key("b")), [[7; 32]].into());
    assert_eq!(missing(key("c")), asked);
    let (result, talk) = m.build(key("c"), &request);
    assert_eq!(result.status, BuildStatus::InputRejected);
    assert_eq!(talk.refused().rule, Rule::View);
}

#[test]
fn a_proof_that_lacks_texts_names_them() {
    let m = Machine::new();
    let g = graph(&m);
    g.build_dep(&m, &key("a"));
    let mut packed = PackedProof::pack(&g.proof, |_| true);
    packed.inputs[0].hash = [0xab; 32];
    let request = Talk::build_proven(&g.top_path(&m), &g.request(), &packed);
    let (result, talk) = m.build(key("a"), &request);
    assert!(
        result.error_msg.contains("abababab"),
        "{}",
        result.error_msg
    );
    assert_eq!(talk.refused().rule, Rule::Evidence);
}

#[test]
fn derivation_files_are_evidence_for_stock_clients() {
    let m = Machine::new();
    let g = graph(&m);
    g.build_dep(&m, &key("a"));
    g.copy_files(&m, &key("a"));
    let (result, talk) = m.build(key("a"), &Talk::build(&g.top_path(&m), &g.request()));
    assert!(result.status.is_success(), "{}", result.error_msg);
    let reason = talk.records[0].reason.as_deref();
    assert_eq!(reason, Some("proven by the derivation file"));
    assert!(m.last().requester.is_vouched_for);
    // Files of others are none of its business.
    g.build_dep(&m, &key("b"));
    let (result, _) = m.build(key("b"), &Talk::build(&g.top_path(&m), &g.request()));
    assert_eq!(result.status, BuildStatus::InputRejected);
}

/// What is changed in an honest request.
type Forgery = fn(&mut BasicDerivation, &mut Proof);

#[test]
fn each_forgery_is_refused_whatever_the_evidence() {
    let m = Machine::new();
    let g = graph(&m);
    for role in [key("a"), key("files")] {
        g.build_dep(&m, &role);
        let extra = text("extra", b"extra", &[]);
        m.talk(role.clone(), &Talk::add(&extra.1, &extra.0)).done();
    }
    g.copy_files(&m, &key("files"));
    let forgeries: &[(&str, Forgery)] = &[
        ("argument", |drv, _| drv.args.push("x".into())),
        ("builder", |drv, _| drv.builder = "/bin/bash".into()),
        ("platform", |drv, _| drv.platform = "aarch64-linux".into()),
        ("variable", |drv, _| {
            drv.env.extend([("x".into(), "".into())])
        }),
        ("foreign output", |drv, _| {
            let other = DerivationOutput::InputAddressed(path("top"));
            drv.outputs.insert(out(), other);
        }),
        ("output's variable", |drv, _| {
            let mut value = drv.env[bstr::BStr::new("out")].clone();
            value.extend_from_slice(b"/sub");
            drv.env.insert("out".into(), value);
        }),
        ("extra input", |drv, _| {
            drv.input_srcs.insert(text("extra", b"extra", &[]).1.path);
        }),
        ("missing input", |drv, _| drv.input_srcs.clear()),
        ("dropped proof", |_, proof| proof.inputs.clear()),
        ("unknown output", |_, proof| {
            proof.inputs[0].wanted = [OutputName::new("dev").unwrap()].into();
        }),
    ];
    for (name, forge) in forgeries {
        let (mut drv, mut proof) = (g.request(), g.proof.clone());
        forge(&mut drv, &mut proof);
        let request = Talk::build_proven(&g.top_path(&m), &drv, &whole(&proof));
        let (result, talk) = m.build(key("a"), &request);
        assert_eq!(result.status, BuildStatus::InputRejected, "{name}");
        talk.refused();
        if !name.contains("proof") && *name != "unknown output" {
            let request = Talk::build(&g.top_path(&m), &drv);
            let (result, _) = m.build(key("files"), &request);
            assert_eq!(result.status, BuildStatus::InputRejected, "{name}");
        }
    }
    assert!(!m.store().is_valid(&output(&g.top)).unwrap());
    let honest = Talk::build_proven(&g.top_path(&m), &g.request(), &whole(&g.proof));
    assert!(m.build(key("a"), &honest).0.status.is_success());
}

#[test]
fn inputs_that_are_valid_but_hidden_are_missing() {
    let m = Machine::new();
    let g = graph(&m);
    g.build_dep(&m, &key("a"));
    let request = Talk::build_proven(&g.top_path(&m), &g.request(), &whole(&g.proof));
    let (hidden, talk) = m.build(key("b"), &request);
    assert_eq!(talk.refused().rule, Rule::View);
    let other = Machine::new();
    let (absent, _) = other.build(key("b"), &request);
    assert_eq!(hidden, absent);
    assert!(hidden.error_msg.contains(&m.dir.print(&output(&g.dep))));
}

#[test]
fn what_another_key_has_built_is_built_again_and_seen_then() {
    let m = Machine::new();
    let g = graph(&m);
    g.build_dep(&m, &key("a"));
    let built = output(&g.dep);
    assert!(!m.sees(key("b"), &built));
    g.build_dep(&m, &key("b"));
    let requester = m.last().requester;
    assert_eq!(requester.hidden, StorePathSet::from([built.clone()]));
    assert_eq!(requester.scope.as_deref(), Some("key:b"));
    assert!(m.sees(key("b"), &built));
    g.build_dep(&m, &key("b"));
    assert_eq!(m.last().requester.hidden, StorePathSet::new());
}

#[test]
fn builders_are_told_what_the_policy_allows() {
    let m = Machine::new();
    let g = graph(&m);
    let mut role = key("a");
    g.build_dep(&m, &role);
    let strict = m.last().requester.restrictions.unwrap();
    assert_eq!(strict.network, NetworkRight::None);
    assert!(!strict.weak_hashes && strict.impure_env_vars.is_empty());
    assert!(strict.system_features.is_empty());
    role.capabilities.insert(Capability::Network);
    role.impure_env_vars.insert("http_proxy".to_owned());
    role.weak_hashes = true;
    role.system_features = None;
    g.build_dep(&m, &role);
    let wide = m.last().requester.restrictions.unwrap();
    assert_eq!(wide.network, NetworkRight::Public);
    assert!(wide.weak_hashes && wide.impure_env_vars.contains(&b"http_proxy"[..]));
    assert!(wide.system_features.contains("kvm"));
}

#[test]
fn failed_builds_are_kept_only_for_those_who_may() {
    let m = Machine::new();
    let g = graph(&m);
    let mut role = key("a");
    g.build_dep(&m, &role);
    let options = BuildOptions {
        keep_failed: true,
        ..BuildOptions::default()
    };
    let request = Talk::build_with(&path("dep.drv"), &g.dep, options);
    let (result, talk) = m.build(role.clone(), &request);
    assert_eq!(result.status, BuildStatus::InputRejected);
    assert_eq!(talk.refused().rule, Rule::Confinement);
    role.capabilities.insert(Capability::KeepFailed);
    assert!(m.build(role, &request).0.status.is_success());
    // The path isn't that of the derivation.
    assert!(!m.last().requester.is_vouched_for);
}

#[test]
fn builds_take_no_longer_than_the_quota() {
    let m = Machine::new();
    let g = graph(&m);
    let mut role = key("a");
    role.quotas.build_seconds = Some(15);
    role.quotas.slots = Some(2);
    // Each takes ten seconds.
    g.build_dep(&m, &role);
    assert_eq!(m.last().options.build_timeout, 15);
    assert_eq!(m.last().slots.unwrap().count, 2);
    g.build_dep(&m, &role);
    assert_eq!(m.last().options.build_timeout, 5);
    let request = Talk::build(&g.dep.store_path(&m.dir).unwrap(), &g.dep);
    let (_, talk) = m.build(role, &request);
    assert_eq!(talk.refused().rule, Rule::Quota);
}

#[test]
fn whole_graphs_are_built_from_derivation_files_that_are_seen() {
    let m = Machine::new();
    let g = graph(&m);
    let target = [m.dir.print(&g.top_path(&m))];
    let reply = m.build_paths(key("a"), &target);
    assert!(reply.status == 1 && reply.error_msg.contains("SEC-24"));
    let (nar, info) = &g.source;
    m.talk(key("a"), &Talk::add(info, nar)).done();
    g.copy_files(&m, &key("a"));
    assert_eq!(m.build_paths(key("a"), &target).status, 0);
    let asked = m.asked_paths.lock().unwrap().pop().unwrap();
    let hidden = [output(&g.dep), output(&g.top)].into();
    assert_eq!(asked.requester.hidden, hidden);
    assert!(asked.requester.is_vouched_for && asked.requester.restrictions.is_some());
    let reply = m.build_paths(key("b"), &target);
    assert!(reply.status == 1 && reply.error_msg.contains("SEC-24"));
    // Opaque paths only have to be there.
    let opaque = [m.dir.print(&g.source.1.path)];
    assert_eq!(m.build_paths(key("a"), &opaque).status, 0);
    assert_eq!(m.build_paths(key("b"), &opaque).status, 1);
}
