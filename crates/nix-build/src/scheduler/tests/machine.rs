//! Several clients on one machine: graphs, joined builds and slots together.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix_base::{BuildResult, BuildStatus};

use super::super::*;
use super::fake::Fake;
use super::{built, statuses};
use crate::active::{Active, Client, Own};
use crate::slots::Slots;

/// What a server process does for its client.
fn serve(store: &Fake, state_dir: &Path, targets: &[Target]) -> Outcome {
    let active = Active::new(state_dir, store.store_dir()).unwrap();
    let slots = Arc::new(Slots::new(state_dir, 2).unwrap());
    let build = |store: &Fake, job: Job<'_>| {
        let (of_build, slots, request) = (store.clone(), Arc::clone(&slots), job.request.clone());
        let own: Own = Box::new(move |build| {
            let path = of_build.output(request.drv.name.as_str());
            if of_build.0.valid.lock().unwrap().contains(&path) {
                return BuildResult::failure(BuildStatus::AlreadyValid, "").into();
            }
            let mut tell = |place| build.set_place(place);
            let _slot = slots.acquire(build.cancel(), &mut tell).unwrap();
            of_build.build(&request)
        });
        let mut client = Client {
            cancel: job.cancel,
            limits: job.request.limits,
            log: None,
            supervisor: None,
            accept: &|_| true,
            on_wait: &mut |_| {},
        };
        active.run(&mut client, &job.request, own)
    };
    store.build_paths(targets, |wishes| wishes.build = Some(&build))
}

#[test]
fn four_clients_of_overlapping_graphs_share_two_slots_and_build_each_once() {
    let store = Fake::new();
    let mut drvs = Vec::new();
    for i in 0..50_usize {
        let below: Vec<&nix_base::StorePath> = match i {
            0..10 => Vec::new(),
            _ => vec![&drvs[i - 10], &drvs[i / 2]],
        };
        let drv = store.add(&format!("n{i}"), &below);
        drvs.push(drv);
    }
    let state = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let targets: Vec<Target> = drvs.iter().skip(client).map(built).collect();
                let (store, state) = (&store, state.path());
                scope.spawn(move || serve(store, state, &targets))
            })
            .collect();
        for client in clients {
            let outcome = client.join().unwrap();
            assert_eq!(
                (outcome.status, outcome.failed),
                (0, 0),
                "{:?}",
                statuses(&outcome)
            );
        }
    });
    let mut names = store.built();
    assert_eq!(names.len(), 50);
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 50, "each is built once");
    assert!((1..=2).contains(&store.0.most.load(Ordering::SeqCst)));
}
