//! Graphs in memory.

mod fake;
mod machine;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use nix_base::{BuildStatus, StorePath};
use proptest::prelude::*;

use super::*;
use crate::goal::Wanted;
use fake::{Fake, out};

fn built(drv: &StorePath) -> Target {
    Target::Built {
        drv: drv.clone(),
        outputs: Wanted::All,
    }
}

fn statuses(outcome: &Outcome) -> Vec<BuildStatus> {
    outcome
        .results
        .iter()
        .map(|(_, result)| result.status)
        .collect()
}

#[test]
fn a_deep_graph_is_built_from_the_bottom() {
    let store = Fake::new();
    let mut drv = store.add("n0", &[]);
    for i in 1..5000 {
        drv = store.add(&format!("n{i}"), &[&drv]);
    }
    let outcome = store.build_paths(&[built(&drv)], |_| {});
    assert_eq!(
        (outcome.status, outcome.built, outcome.failed),
        (0, 5000, 0)
    );
    let expected: Vec<String> = (0..5000).map(|i| format!("n{i}")).collect();
    assert_eq!(store.built(), expected);
    assert_eq!(outcome.outputs[0][&out()], store.output("n4999"));
    let again = store.build_paths(&[built(&drv)], |_| {});
    assert_eq!(statuses(&again), [BuildStatus::AlreadyValid]);
    assert_eq!((again.built, store.built().len()), (0, 5000));
}

#[test]
fn a_wide_graph_is_built_by_all_threads_and_no_more() {
    let store = Fake::new();
    let leaves: Vec<StorePath> = (0..2000)
        .map(|i| store.add(&format!("leaf{i}"), &[]))
        .collect();
    let top = store.add("top", &leaves.iter().collect::<Vec<_>>());
    let outcome = store.build_paths(&[built(&top)], |scheduler| scheduler.max_jobs = 3);
    assert_eq!((outcome.status, outcome.built), (0, 2001));
    assert!((1..=3).contains(&store.0.most.load(Ordering::SeqCst)));
    assert_eq!(store.built().last().unwrap(), "top");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The builder itself checks that inputs come first.
    #[test]
    fn each_is_built_once_after_its_inputs_and_never_too_many_at_once(
        edges in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..4), 1..120),
        there in prop::collection::vec(any::<bool>(), 120),
        max_jobs in 1u32..6,
    ) {
        let store = Fake::new();
        let mut drvs: Vec<StorePath> = Vec::new();
        let mut inputs: Vec<BTreeSet<usize>> = Vec::new();
        for (i, edges) in edges.iter().enumerate() {
            let below = if i == 0 { &[][..] } else { &edges[..] };
            let below: BTreeSet<usize> = below.iter().map(|edge| edge.index(i)).collect();
            let paths: Vec<&StorePath> = below.iter().map(|&n| &drvs[n]).collect();
            drvs.push(store.add(&format!("n{i}"), &paths));
            inputs.push(below);
            if there[i] {
                store.0.valid.lock().unwrap().insert(store.output(&format!("n{i}")));
            }
        }
        let top = drvs.len() - 1;
        let mut needed = BTreeSet::new();
        let mut left = vec![top];
        while let Some(n) = left.pop() {
            if !there[n] && needed.insert(n) {
                left.extend(&inputs[n]);
            }
        }
        let outcome = store.build_paths(&[built(&drvs[top])], |s| s.max_jobs = max_jobs);
        prop_assert_eq!(outcome.status, 0);
        let mut names = store.built();
        names.sort();
        let mut expected: Vec<String> = needed.iter().map(|n| format!("n{n}")).collect();
        expected.sort();
        prop_assert_eq!(names, expected);
        prop_assert!(store.0.most.load(Ordering::SeqCst) <= max_jobs as usize);
    }
}

#[test]
fn a_failure_is_reported_with_what_depended_on_it() {
    let store = Fake::new();
    let bad = store.add("bad", &[]);
    let middle = store.add("middle", &[&bad]);
    let top = store.add("top", &[&middle]);
    store.fail("bad", BuildStatus::PermanentFailure);
    let seen = Mutex::new(Vec::new());
    let on_event = |event: Event<'_>| {
        if let Event::Finished {
            drv,
            outcome,
            is_target,
        } = event
        {
            let message = outcome.result.error_msg.clone();
            seen.lock()
                .unwrap()
                .push((drv.name().to_string(), message, is_target));
        }
    };
    let outcome = store.build_paths(&[built(&top)], |s| s.on_event = Some(&on_event));
    assert_eq!(statuses(&outcome), [BuildStatus::DependencyFailed]);
    assert_eq!((outcome.status, outcome.failed), (100, 1));
    let failed = |path: &StorePath| {
        let path = store.store_dir().print(path);
        format!("1 dependencies of derivation '{path}' failed to build")
    };
    assert_eq!(outcome.message, failed(&top));
    let expected = [
        ("bad.drv".to_owned(), "bad failed".to_owned(), false),
        ("middle.drv".to_owned(), failed(&middle), false),
        ("top.drv".to_owned(), failed(&top), true),
    ];
    assert_eq!(seen.into_inner().unwrap(), expected);
}

#[test]
fn the_first_failure_ends_the_rest_unless_it_is_to_go_on() {
    for keep_going in [false, true] {
        let store = Fake::new();
        let bad = store.add("a-bad", &[]);
        let good = store.add("b-good", &[]);
        let above = store.add("c-above", &[&bad]);
        store.fail("a-bad", BuildStatus::PermanentFailure);
        let outcome = store.build_paths(&[built(&above), built(&good)], |scheduler| {
            scheduler.keep_going = keep_going;
            scheduler.max_jobs = 1;
        });
        assert_eq!(outcome.status, 100);
        let rest = match keep_going {
            true => BuildStatus::Built,
            false => BuildStatus::MiscFailure,
        };
        assert_eq!(statuses(&outcome), [BuildStatus::DependencyFailed, rest]);
        assert_eq!(store.built().len(), if keep_going { 2 } else { 1 });
    }
}

#[test]
fn the_first_failure_cancels_what_is_running() {
    let store = Fake::new();
    let (bad, slow) = (store.add("bad", &[]), store.add("slow", &[]));
    let both_run = std::sync::Barrier::new(2);
    let build = |_: &Fake, job: Job<'_>| {
        both_run.wait();
        if job.request.drv.name.as_str() == "bad" {
            return BuildFailure::new(BuildStatus::PermanentFailure, "bad").into();
        }
        use rustix::event::{PollFd, PollFlags, poll};
        poll(&mut [PollFd::new(job.cancel, PollFlags::IN)], None).unwrap();
        BuildFailure::misc("killed").into()
    };
    let outcome = store.build_paths(&[built(&bad), built(&slow)], |s| s.build = Some(&build));
    assert_eq!(outcome.status, 100);
    assert_eq!(outcome.failed, 1);
    assert_eq!(outcome.results[0].1.error_msg, "bad");
}

#[test]
fn statuses_of_several_failures_are_put_together() {
    use BuildStatus::{LogLimitExceeded, NotDeterministic, PermanentFailure, TimedOut};
    let cases = [
        (vec![LogLimitExceeded], 1),
        (vec![TimedOut], 101),
        (vec![NotDeterministic], 104),
        (vec![PermanentFailure, LogLimitExceeded], 100),
        (vec![PermanentFailure, TimedOut], 101),
        (vec![TimedOut, NotDeterministic], 109),
    ];
    for (failures, status) in cases {
        let store = Fake::new();
        let mut targets = Vec::new();
        for (i, failure) in failures.iter().enumerate() {
            targets.push(built(&store.add(&format!("n{i}"), &[])));
            store.fail(&format!("n{i}"), *failure);
        }
        let outcome = store.build_paths(&targets, |s| s.keep_going = true);
        assert_eq!(outcome.status, status, "{failures:?}");
        let names_all = outcome.message.starts_with("build of '/nix/store/");
        assert_eq!(names_all, failures.len() > 1, "{}", outcome.message);
        assert_eq!(
            outcome.messages.len(),
            if names_all { failures.len() } else { 0 }
        );
    }
}

#[test]
fn a_wrong_hash_is_102() {
    let store = Fake::new();
    let drv = store.add("fetched", &[]);
    let mut failure = BuildFailure::new(BuildStatus::OutputRejected, "hash mismatch");
    failure.hash_mismatch = true;
    let mut failing = store.0.failing.lock().unwrap();
    failing.insert("fetched".to_owned(), failure.into());
    drop(failing);
    assert_eq!(store.build_paths(&[built(&drv)], |_| {}).status, 102);
}

#[test]
fn a_path_that_nothing_makes_fails_with_status_1() {
    let store = Fake::new();
    let (here, gone) = (store.output("here"), store.output("gone"));
    store.0.valid.lock().unwrap().insert(here.clone());
    let outcome = store.build_paths(&[Target::Opaque(here.clone())], |_| {});
    assert_eq!(
        (outcome.status, statuses(&outcome)),
        (0, vec![BuildStatus::AlreadyValid])
    );
    let outcome = store.build_paths(
        &[Target::Opaque(here), Target::Opaque(gone.clone())],
        |_| {},
    );
    assert_eq!(outcome.status, 1);
    let gone = store.store_dir().print(&gone);
    assert_eq!(outcome.message, format!("build of '{gone}' failed"));
}

#[test]
fn an_output_that_isn_t_there_to_be_wanted_fails() {
    let store = Fake::new();
    let drv = store.add("a", &[]);
    let target = Target::Built {
        drv: drv.clone(),
        outputs: Wanted::Names(["dev".parse().unwrap()].into()),
    };
    let outcome = store.build_paths(&[target], |_| {});
    assert_eq!(outcome.status, 1);
    assert!(
        outcome
            .message
            .ends_with("does not have wanted outputs 'dev'")
    );
    assert!(store.built().is_empty());
}

#[test]
fn floating_outputs_are_resolved_and_found_again() {
    let store = Fake::new();
    let bottom = store.add_floating("bottom", &[]);
    let top = store.add_floating("top", &[&bottom]);
    let requests = Mutex::new(Vec::new());
    let build = |store: &Fake, job: Job<'_>| {
        requests.lock().unwrap().push(job.request.clone());
        let outcome = store.build(&job.request);
        // The builder records what it built under the hash of what it was given.
        let hash = Hashes::default()
            .of(store, &job.request.drv.clone().into())
            .unwrap();
        for realisation in outcome.result.built_outputs.values() {
            let mut realisation = realisation.clone();
            realisation.id.drv_hash = hash;
            store.add_realisation(&realisation).unwrap();
        }
        outcome
    };
    let outcome = store.build_paths(&[built(&top)], |s| s.build = Some(&build));
    assert_eq!((outcome.status, outcome.built), (0, 2));
    let requests = requests.into_inner().unwrap();
    let bottom_path = store.store_dir().print(&store.output("bottom"));
    assert_eq!(requests[1].drv.args, [bottom_path.as_str()]);
    assert_ne!(
        requests[1].drv_path, top,
        "it is the resolved one that is built"
    );
    // Both are known by now, and so is another one that resolves to the same.
    let again = store.build_paths(&[built(&top)], |_| {});
    assert_eq!(statuses(&again), [BuildStatus::AlreadyValid]);
    assert_eq!(again.outputs[0][&out()], store.output("top"));
    store.0.realisations.lock().unwrap().retain(|id, _| {
        let top = nix_drv::Derivation::parse_file(
            &store.read_derivation(&top).unwrap().unwrap(),
            store.store_dir(),
            &top,
            nix_drv::Strictness::Strict,
        );
        id.drv_hash != Hashes::default().of(&store, &top.unwrap()).unwrap()
    });
    let resolved = store.build_paths(&[built(&top)], |_| {});
    assert_eq!(statuses(&resolved), [BuildStatus::ResolvesToAlreadyValid]);
    assert_eq!(store.built(), ["bottom", "top"]);
}

#[test]
fn a_fixed_output_with_a_floating_input_is_given_its_path() {
    for ca_derivations in [false, true] {
        let store = Fake::new();
        let tool = store.add_floating("tool", &[]);
        let fetched = store.add_fixed("fetched", &[&tool]);
        let requests = Mutex::new(Vec::new());
        let build = |store: &Fake, job: Job<'_>| {
            requests.lock().unwrap().push(job.request.clone());
            store.build(&job.request)
        };
        let outcome = store.build_paths(&[built(&fetched)], |wishes| {
            wishes.build = Some(&build);
            wishes.ca_derivations = ca_derivations;
        });
        assert_eq!((outcome.status, outcome.built), (0, 2));
        let requests = requests.into_inner().unwrap();
        let tool_path = store.store_dir().print(&store.output("tool"));
        assert_eq!(requests[1].drv.args, [tool_path.as_str()]);
        // Nix compat: it is the resolved one that becomes the deriver.
        assert_eq!(requests[1].drv_path != fetched, ca_derivations);
    }
}

#[test]
fn inputs_replaced_by_paths_keep_the_hash_for_realisations() {
    let store = Fake::new();
    let below = store.add("below", &[]);
    let top = store.add("top", &[&below]);
    let requests = Mutex::new(Vec::new());
    let build = |store: &Fake, job: Job<'_>| {
        requests.lock().unwrap().push(job.request.clone());
        store.build(&job.request)
    };
    store.build_paths(&[built(&top)], |s| s.build = Some(&build));
    let requests = requests.into_inner().unwrap();
    assert_eq!(requests[0].realisation_hash, None);
    assert_eq!(requests[1].drv.input_srcs, [store.output("below")].into());
    let text = store.read_derivation(&top).unwrap().unwrap();
    let strictness = nix_drv::Strictness::Strict;
    let drv = nix_drv::Derivation::parse_file(&text, store.store_dir(), &top, strictness);
    let hash = Hashes::default().of(&store, &drv.unwrap()).unwrap();
    assert_eq!(requests[1].realisation_hash, Some(hash));
    let basic = requests[1].drv.masked_hash(store.store_dir()).unwrap();
    assert_ne!(basic.hash, hash);
}

#[test]
fn a_client_that_goes_ends_everything() {
    let store = Fake::new();
    let drv = store.add("a", &[]);
    let above = store.add("b", &[&drv]);
    let client = Cancel::new().unwrap();
    let build = |_: &Fake, job: Job<'_>| {
        client.cancel();
        use rustix::event::{PollFd, PollFlags, poll};
        poll(&mut [PollFd::new(job.cancel, PollFlags::IN)], None).unwrap();
        BuildFailure::misc("killed").into()
    };
    let cancel = client.clone();
    let outcome = store.build_paths(&[built(&above)], |scheduler| {
        scheduler.build = Some(&build);
        scheduler.cancel = Some(&cancel);
    });
    assert!(outcome.cancelled);
    assert_eq!(outcome.built, 0);
}

#[test]
fn the_plan_has_inputs_first_and_knows_what_is_missing() {
    let store = Fake::new();
    let valid = store.add("valid", &[]);
    store.0.valid.lock().unwrap().insert(store.output("valid"));
    let below = store.add("z-below", &[&valid]);
    let top = store.add("a-top", &[&below, &valid]);
    let gone = store.output("gone");
    let targets = [built(&top), built(&valid), Target::Opaque(gone.clone())];
    let plan = must_build(&store, &targets).unwrap();
    assert_eq!(plan.to_build, [below, top]);
    assert_eq!(plan.valid, [valid].into());
    assert_eq!(plan.unknown, [gone].into());
    assert!(store.built().is_empty());
}

#[test]
fn checks_build_targets_again_but_not_their_inputs() {
    let store = Fake::new();
    let below = store.add("below", &[]);
    let top = store.add("top", &[&below]);
    assert_eq!(store.build_paths(&[built(&top)], |_| {}).built, 2);
    let modes = Mutex::new(Vec::new());
    let build = |store: &Fake, job: Job<'_>| {
        modes.lock().unwrap().push(job.request.mode);
        store.build(&job.request)
    };
    let outcome = store.build_paths(&[built(&top)], |scheduler| {
        scheduler.mode = BuildMode::Check;
        scheduler.build = Some(&build);
    });
    assert_eq!(outcome.status, 0);
    assert_eq!(modes.into_inner().unwrap(), [BuildMode::Check]);
    assert_eq!(store.built(), ["below", "top", "top"]);
}
