//! Every forgery on every derivation of a closure, at the wire.

use std::collections::BTreeSet;

use test_support::{Machine, Message, PathToAdd, say, verify_with};

use crate::closure::{Merged, Size, attributes};
use crate::imports::paths_of;
use crate::proofs::{Client, RawInput, Request, requests, sources};
use crate::site::{confined, newest, stocked};

/// A forged request, and what was changed.
pub(crate) struct Forgery {
    pub(crate) what: &'static str,
    pub(crate) request: Request,
}

/// What a forger has at hand: paths that are valid and belong to nothing here.
pub(crate) struct Foreign {
    pub(crate) path: String,
}

#[test]
fn no_forgery_on_any_derivation_is_built() {
    let Some(peer) = newest() else { return };
    let (here, drvs) = stocked(peer, &attributes(Size::FULL, Merged::Yes));
    let there = confined();
    let requests = requests(&here, &drvs["top"]);
    let mut client = Client::new(&there, "mallory");
    bring_sources(&mut client, &here, &requests);
    let foreign = PathToAdd::added_file("foreign", b"it is valid here");
    client.add(&foreign.request()).unwrap();
    let foreign = Foreign { path: foreign.path };
    let mut refused = 0;
    let mut valid = BTreeSet::new();
    for request in &requests {
        refused += try_all(&mut client, request, &foreign, &valid);
        let built = client.build(&request.with_proof());
        assert!(built.is_ok(), "'{}': {built:?}", request.drv_path);
        valid.extend(request.outputs());
    }
    verify_with(peer, &there);
    say(&format!(
        "{} derivations built, {refused} forgeries refused",
        requests.len()
    ));
}

/// Copies the sources of derivations over there.
pub(crate) fn bring_sources(client: &mut Client<'_>, here: &Machine, requests: &[Request]) {
    for source in paths_of(here, &sources(requests)) {
        client.add(&source.request()).unwrap();
    }
}

/// How many forgeries were refused, of which none may have made anything valid.
fn try_all(
    client: &mut Client<'_>,
    honest: &Request,
    foreign: &Foreign,
    before: &BTreeSet<String>,
) -> usize {
    let mut claimed = honest.outputs();
    let mut refused = 0;
    let mut attempt = |what: &str, request: &Request, message: &Message| {
        let outcome = client.build(message);
        let said = outcome.expect_err(&format!("'{}' with {what}", honest.drv_path));
        assert!(
            said.contains("SEC-3") || said.contains("cannot read derivation"),
            "'{}' with {what} is refused without a reason: {said}",
            honest.drv_path
        );
        claimed.extend(request.outputs());
        refused += 1;
    };
    for Forgery { what, request } in forgeries(honest, foreign) {
        attempt(what, &request, &request.with_proof());
    }
    if honest.has_inputs() && !honest.is_fixed() {
        attempt("no proof", honest, &honest.plain());
    }
    claimed.remove(&foreign.path);
    let valid = client.session().query_valid_paths(true, false, &claimed);
    // A request that fails makes none of its outputs valid.
    assert_eq!(
        valid,
        &claimed & before,
        "after forgeries on '{}'",
        honest.drv_path
    );
    refused
}

/// All that can be changed about a request.
pub(crate) fn forgeries(honest: &Request, foreign: &Foreign) -> Vec<Forgery> {
    let mut made = Vec::new();
    let mut forge = |what: &'static str, change: &dyn Fn(&mut Request) -> bool| {
        let mut request = honest.clone();
        if change(&mut request) {
            made.push(Forgery { what, request });
        }
    };
    forge("a foreign output path", &|request| {
        let old = request.drv.outputs[0][1].clone();
        replace_everywhere(request, &old, &foreign.path);
        request.drv.outputs[0][1].clone_from(&foreign.path);
        true
    });
    if honest.is_fixed() {
        // What builds it is free to change: the contents are checked.
        forge("another hash for a fixed output", &|request| {
            request.drv.outputs[0][3] = "0".repeat(64);
            true
        });
        return made;
    }
    forge("a changed argument", &|request| {
        request.drv.args.push("more".to_owned());
        true
    });
    forge("a changed entry of the environment", &|request| {
        request.drv.env.push(("zzz".to_owned(), "more".to_owned()));
        true
    });
    forge("another builder", &|request| {
        request.drv.builder.push_str("/other");
        true
    });
    forge("another platform", &|request| {
        request.drv.platform = "i686-linux".to_owned();
        true
    });
    forge("a platform with quotes", &|request| {
        request.drv.platform.push_str("\",\"/bin/sh");
        true
    });
    forge("an extra input", &|request| {
        request.drv.input_srcs.push(foreign.path.clone());
        request.drv.input_srcs.sort();
        true
    });
    forge("a missing input", &|request| {
        request.drv.input_srcs.pop().is_some()
    });
    forge("another name", &|request| {
        request.drv_path = request.drv_path.replace(".drv", "x.drv");
        true
    });
    forge_inputs(&mut forge, foreign);
    forge_outputs(&mut forge, foreign);
    made
}

type Change<'c> = &'c dyn Fn(&mut Request) -> bool;

fn forge_inputs(forge: &mut impl FnMut(&'static str, Change<'_>), foreign: &Foreign) {
    forge("a dropped entry of the proof", &|request| {
        request.proof.inputs.pop().is_some()
    });
    forge(
        "an entry of the proof that doesn't belong there",
        &|request| {
            let Some(first) = request.proof.inputs.first().cloned() else {
                return false;
            };
            let text = [first.text, b" ".to_vec()].concat();
            request.proof.inputs.push(RawInput { text, ..first });
            true
        },
    );
    forge("a source of the proof dropped", &|request| {
        request.has_inputs() && request.proof.sources.pop().is_some()
    });
    forge(
        "an input replaced in its text and among the inputs",
        &|request| {
            let Some(input) = request.proof.inputs.first_mut() else {
                return false;
            };
            let text = String::from_utf8(input.text.clone()).unwrap();
            let Some(old) = request
                .drv
                .input_srcs
                .iter()
                .find(|path| text.contains(&format!("\"{path}\"")) || text.ends_with(path.as_str()))
                .cloned()
            else {
                return false;
            };
            input.text = text.replace(&old, &foreign.path).into_bytes();
            request.drv.input_srcs.retain(|path| *path != old);
            request.drv.input_srcs.push(foreign.path.clone());
            request.drv.input_srcs.sort();
            replace_everywhere(request, &old, &foreign.path);
            true
        },
    );
    forge("wanted names with quotes", &|request| {
        let Some(input) = request.proof.inputs.first_mut() else {
            return false;
        };
        input.wanted = vec!["out\",\"x".to_owned()];
        true
    });
    forge("no wanted names", &|request| {
        let Some(input) = request.proof.inputs.first_mut() else {
            return false;
        };
        input.wanted.clear();
        true
    });
}

fn forge_outputs(forge: &mut impl FnMut(&'static str, Change<'_>), foreign: &Foreign) {
    let mut env_of_output = |what: &'static str, value: &dyn Fn(&str) -> String| {
        forge(what, &|request| {
            let [name, path, ..] = request.drv.outputs[0].clone();
            let found = request.drv.env.iter_mut().find(|(key, _)| *key == name);
            match found {
                Some((_, old)) => *old = value(&path),
                None => {
                    request.drv.env.push((name, value(&path)));
                    request.drv.env.sort();
                }
            }
            true
        });
    };
    env_of_output("another path in the variable of an output", &|_| {
        foreign.path.clone()
    });
    env_of_output("a path below in the variable of an output", &|path| {
        format!("{path}/sub")
    });
    env_of_output("an empty variable of an output", &|_| String::new());
    forge("no variable of an output", &|request| {
        let name = request.drv.outputs[0][0].clone();
        let before = request.drv.env.len();
        request.drv.env.retain(|(key, _)| *key != name);
        request.drv.env.len() < before
    });
    forge("one more output", &|request| {
        let path = foreign.path.clone();
        let more = ["more".to_owned(), path, String::new(), String::new()];
        request.drv.outputs.push(more);
        request.drv.outputs.sort();
        true
    });
}

/// Replaces a path in all that the builder gets to see.
fn replace_everywhere(request: &mut Request, old: &str, new: &str) {
    let drv = &mut request.drv;
    let texts = drv
        .args
        .iter_mut()
        .chain(drv.env.iter_mut().map(|(_, value)| value));
    texts.for_each(|text| *text = text.replace(old, new));
}
