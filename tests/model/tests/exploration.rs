//! All that can happen within the bounds, and none of it does harm.
//!
//! `SOAK` widens the bounds.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "the sizes are worth a line, and SOAK is for tests alone"
)]

use std::time::Instant;

use stateright::{Checker, Model};
use store_model::{Bounds, StoreModel, sorted};

fn explore(model: StoreModel) {
    let start = Instant::now();
    let bounds = model.bounds;
    let checker = model.checker().threads(2).symmetry_fn(sorted);
    let checker = checker.spawn_dfs().join();
    println!(
        "{bounds:?}: {} states, {} steps, {} in a row at most, {} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        start.elapsed().as_secs(),
    );
    checker.assert_properties();
}

fn bounds() -> Bounds {
    let is_soak = std::env::var_os("SOAK").is_some();
    let wide = Bounds {
        more_clients: 2,
        kills: 3,
        ..Bounds::default()
    };
    if is_soak { wide } else { Bounds::default() }
}

/// REL-53.
#[test]
fn two_clients_and_two_collectors_do_no_harm() {
    let bounds = bounds();
    explore(StoreModel {
        bounds,
        ..StoreModel::default()
    });
}

/// Real Nix reads links before temporary roots.
#[test]
fn nor_do_collectors_that_read_roots_in_the_other_order() {
    let bounds = bounds();
    explore(StoreModel {
        bounds,
        links_first: true,
        ..StoreModel::default()
    });
}
