//! Each forgery that a server must refuse, on each derivation of a graph.

use std::collections::BTreeSet;

use bstr::BString;
use nix_base::{StoreDir, StorePath, StorePathSet};

use super::graph::{Graph, Request};
use crate::derivation::{BasicDerivation, DerivationOutput, DerivationType};
use crate::proof::{
    Classification, ProofError, ProofInput, ProofText, Verified, classify, text_hash, text_outputs,
    verify,
};

/// What a server does with a request, where no path refers to another one.
pub(super) fn accept(request: &Request, store_dir: &StoreDir) -> Result<Verified, String> {
    let verified =
        verify(&request.drv, &request.proof, store_dir).map_err(|error| error.to_string())?;
    if verified.inputs != request.drv.input_srcs {
        return Err("the closure of the inputs is another one".into());
    }
    Ok(verified)
}

fn some_path(name: &str) -> StorePath {
    format!("00bgd045z0d4icpbc2yyz4gx48ak44la-{name}")
        .parse()
        .unwrap()
}

/// A name and the forged requests of that kind, if the request can be forged so.
type Forgeries = Vec<(&'static str, Request)>;

fn of_fields(honest: &Request, forged: &mut Forgeries) {
    let mut forge = |name, change: &dyn Fn(&mut BasicDerivation)| {
        let mut request = honest.clone();
        change(&mut request.drv);
        forged.push((name, request));
    };
    forge("changed argument", &|drv| drv.args[0] = "-x".into());
    forge("argument added", &|drv| drv.args.push("more".into()));
    forge("argument dropped", &|drv| drv.args.clear());
    forge("changed variable", &|drv| {
        drv.env.insert("name".into(), "other".into());
    });
    forge("variable added", &|drv| {
        drv.env.insert("LD_PRELOAD".into(), "/x.so".into());
    });
    forge("variable dropped", &|drv| {
        drv.env.remove(b"builder".as_slice());
    });
    forge("changed builder", &|drv| drv.builder = "/bin/false".into());
    forge("changed platform", &|drv| {
        drv.platform = "aarch64-linux".into()
    });
    forge("platform with quotes", &|drv| {
        drv.platform = r#"x86_64-linux","/bin/sh"#.into();
    });
    forge("changed name", &|drv| drv.name = "other".parse().unwrap());
    forge("extra input", &|drv| {
        drv.input_srcs.insert(some_path("extra"));
    });
    for path in &honest.drv.input_srcs {
        forge("missing input", &|drv| {
            drv.input_srcs.remove(path);
        });
        forge("foreign input", &|drv| {
            drv.input_srcs.remove(path);
            drv.input_srcs.insert(some_path("foreign"));
        });
    }
}

fn of_outputs(honest: &Request, store_dir: &StoreDir, forged: &mut Forgeries) {
    for (name, output) in &honest.drv.outputs {
        let mut forge = |kind, path: Option<StorePath>, value: Option<BString>| {
            let mut request = honest.clone();
            if let Some(path) = path {
                let output = DerivationOutput::InputAddressed(path);
                request.drv.outputs.insert(name.clone(), output);
            }
            let variable: BString = name.as_str().into();
            match value {
                Some(value) => request.drv.env.insert(variable, value),
                None => request.drv.env.remove(variable.as_slice()),
            };
            forged.push((kind, request));
        };
        let DerivationOutput::InputAddressed(own) = output else {
            panic!("only input-addressed outputs are forged");
        };
        let foreign = some_path(own.name().as_str());
        let printed = store_dir.print(&foreign);
        let own_printed = store_dir.print(own);
        forge(
            "foreign output path",
            Some(foreign.clone()),
            Some(own_printed.clone().into()),
        );
        forge(
            "foreign output path and variable",
            Some(foreign),
            Some(printed.clone().into()),
        );
        forge(
            "variable of an output: other path",
            None,
            Some(printed.into()),
        );
        forge(
            "variable of an output: below it",
            None,
            Some(format!("{own_printed}/sub").into()),
        );
        forge(
            "variable of an output: empty",
            None,
            Some(BString::default()),
        );
        forge("variable of an output: dropped", None, None);
        let mut request = honest.clone();
        request.drv.outputs.remove(name);
        forged.push(("output dropped", request));
    }
    let mut request = honest.clone();
    let output = DerivationOutput::InputAddressed(some_path("x"));
    request.drv.outputs.insert("zzz".parse().unwrap(), output);
    forged.push(("output added", request));
    let mut request = honest.clone();
    let name = honest.drv.outputs.keys().next().unwrap().clone();
    let deferred = DerivationOutput::Deferred;
    request.drv.outputs.insert(name, deferred);
    forged.push(("output of another kind", request));
}

fn of_proof(honest: &Request, store_dir: &StoreDir, forged: &mut Forgeries) {
    for n in 0..honest.proof.inputs.len() {
        let mut forge = |kind, change: &dyn Fn(&mut Request)| {
            let mut request = honest.clone();
            change(&mut request);
            forged.push((kind, request));
        };
        let input = &honest.proof.inputs[n];
        forge("input of the proof dropped", &|request| {
            request.proof.inputs.remove(n);
        });
        forge("nothing wanted", &|request| {
            request.proof.inputs[n].wanted.clear()
        });
        forge("output that isn't there wanted", &|request| {
            request.proof.inputs[n]
                .wanted
                .insert("nothing".parse().unwrap());
        });
        let outputs = text_outputs(input.text.as_bytes(), store_dir).unwrap();
        for name in outputs.keys().filter(|name| !input.wanted.contains(*name)) {
            forge("more wanted", &|request| {
                request.proof.inputs[n].wanted.insert(name.clone());
                request.drv.input_srcs.insert(outputs[name].clone());
            });
        }
        for name in &input.wanted {
            let path = &outputs[name];
            forge("input path replaced in text and inputs", &|request| {
                replace_input(request, n, path, store_dir);
            });
        }
        forge("text cut", &|request| {
            change_text(&mut request.proof.inputs[n], |text| {
                text.truncate(text.len() - 1)
            });
        });
        forge("text longer", &|request| {
            change_text(&mut request.proof.inputs[n], |text| text.push(b'\n'));
        });
        forge("empty text", &|request| {
            change_text(&mut request.proof.inputs[n], Vec::clear);
        });
    }
    let mut request = honest.clone();
    request.proof.sources.insert(some_path("source"));
    request.drv.input_srcs.insert(some_path("source"));
    forged.push(("source added", request));
    for source in &honest.proof.sources {
        let mut request = honest.clone();
        request.proof.sources.remove(source);
        forged.push(("source dropped from proof", request.clone()));
        request.drv.input_srcs.remove(source);
        forged.push(("source dropped", request));
    }
    let mut request = honest.clone();
    request.proof.inputs.clear();
    request.proof.sources = request.drv.input_srcs.clone();
    forged.push(("all inputs called sources", request));
}

fn change_text(input: &mut ProofInput, change: impl FnOnce(&mut Vec<u8>)) {
    let mut text = input.text.as_bytes().to_vec();
    change(&mut text);
    input.text = ProofText::new(text);
}

/// Puts another path in place of `path`, wherever the request has it.
fn replace_input(request: &mut Request, n: usize, path: &StorePath, store_dir: &StoreDir) {
    let other = some_path(path.name().as_str());
    let (from, to) = (store_dir.print(path), store_dir.print(&other));
    change_text(&mut request.proof.inputs[n], |text| {
        *text = replaced(text, &from, &to);
    });
    for value in request.drv.env.values_mut() {
        *value = replaced(value, &from, &to).into();
    }
    request.drv.input_srcs.remove(path);
    request.drv.input_srcs.insert(other);
}

fn replaced(text: &[u8], from: &str, to: &str) -> Vec<u8> {
    bstr::ByteSlice::replace(text, from, to)
}

fn all(honest: &Request, store_dir: &StoreDir) -> Forgeries {
    let mut forged = Vec::new();
    of_fields(honest, &mut forged);
    of_outputs(honest, store_dir, &mut forged);
    of_proof(honest, store_dir, &mut forged);
    forged
}

fn check(graph: &Graph) {
    let store_dir = &graph.store_dir;
    let requests = graph.requests();
    let mut kinds = BTreeSet::new();
    for honest in &requests {
        assert_eq!(
            classify(&honest.drv, store_dir).unwrap(),
            Classification::NeedsProof
        );
        let verified = accept(honest, store_dir).unwrap();
        assert_eq!(verified.inputs, honest.drv.input_srcs);
        for (kind, forged) in all(honest, store_dir) {
            let accepted = accept(&forged, store_dir);
            assert!(accepted.is_err(), "{kind} of '{}'", honest.drv.name);
            let alone = classify(&forged.drv, store_dir).ok();
            assert_ne!(
                alone,
                Some(Classification::SelfContained),
                "{kind} of '{}'",
                honest.drv.name
            );
            kinds.insert(kind);
        }
    }
    assert!(
        requests.len() >= 30 && kinds.len() >= 30,
        "{} {kinds:?}",
        requests.len()
    );
}

#[test]
fn each_forgery_on_each_derivation_is_refused() {
    check(&Graph::small(90));
}

#[test]
fn each_forgery_on_derivations_of_a_package_set_is_refused() {
    check(&Graph::of_package_set(60));
}

#[test]
fn derivations_without_inputs_are_computed_again() {
    let graph = Graph::small(90);
    let store_dir = &graph.store_dir;
    let mut drv = graph.drvs[0].1.basic.clone();
    assert_eq!(
        classify(&drv, store_dir).unwrap(),
        Classification::ContentAddressed(DerivationType::CaFixed)
    );
    drv.outputs.clear();
    drv.outputs
        .insert(super::graph::out(), DerivationOutput::Deferred);
    assert!(matches!(
        classify(&drv, store_dir),
        Err(ProofError::Deferred)
    ));
    drv.fill_in_outputs(store_dir).unwrap();
    assert_eq!(
        classify(&drv, store_dir).unwrap(),
        Classification::SelfContained
    );
    let own = drv.env_var("out").unwrap().to_vec();
    for value in [&b""[..], b"/nix/store/x", &[&own[..], b"/sub"].concat()] {
        drv.env.insert("out".into(), value.into());
        let refused = classify(&drv, store_dir);
        assert!(
            matches!(refused, Err(ProofError::WrongVariable { .. })),
            "{refused:?}"
        );
    }
    drv.env.insert("out".into(), own.into());
    drv.args.clear();
    assert_eq!(
        classify(&drv, store_dir).unwrap(),
        Classification::NeedsProof
    );
    drv.platform = "a\"b".into();
    assert!(matches!(
        classify(&drv, store_dir),
        Err(ProofError::UnsafePlatform(_))
    ));
}

/// A proof may list derivations of equal text one by one, as upstream's hash unites them.
#[test]
fn inputs_of_equal_text_are_united() {
    let graph = Graph::small(90);
    let store_dir = &graph.store_dir;
    let mut split = 0;
    for honest in graph.requests() {
        let mut apart = honest.clone();
        apart.proof.inputs = honest
            .proof
            .inputs
            .iter()
            .flat_map(|input| {
                input.wanted.iter().map(|name| ProofInput {
                    text: input.text.clone(),
                    wanted: BTreeSet::from([name.clone()]),
                })
            })
            .rev()
            .collect();
        split += usize::from(apart.proof.inputs.len() > honest.proof.inputs.len());
        assert_eq!(accept(&apart, store_dir), accept(&honest, store_dir));
    }
    assert!(split > 0);
}

#[test]
fn equal_texts_stand_for_different_derivations() {
    let graph = Graph::small(90);
    let texts: BTreeSet<_> = graph.texts.values().map(|text| text_hash(text)).collect();
    assert!(texts.len() < graph.texts.len());
}

#[test]
fn more_inputs_than_proven_are_left_to_the_closure() {
    let graph = Graph::small(40);
    let mut request = graph.requests().remove(0);
    let proven: StorePathSet = request.drv.input_srcs.clone();
    request
        .drv
        .input_srcs
        .insert(some_path("reference-of-an-input"));
    let verified = verify(&request.drv, &request.proof, &graph.store_dir).unwrap();
    assert_eq!(verified.inputs, proven);
}

#[test]
fn a_proof_gives_the_text_for_the_next_one() {
    let graph = Graph::small(90);
    let texts: BTreeSet<_> = graph.texts.values().map(Vec::as_slice).collect();
    for request in graph.requests() {
        let text = request
            .proof
            .text_of(&request.drv, &graph.store_dir)
            .unwrap();
        assert!(texts.contains(text.as_bytes()), "{text:?}");
    }
}
