//! All that can happen, and none of it does harm.

use stateright::{Checker, Model};
use store_model::{StoreModel, sorted};

#[test]
fn nothing_goes_wrong_within_the_bounds() {
    let start = std::time::Instant::now();
    let checker = StoreModel::default()
        .checker()
        .threads(2)
        .symmetry_fn(sorted)
        .spawn_dfs()
        .join();
    println!(
        "{} states of {} in {:?}, depth {}",
        checker.unique_state_count(),
        checker.state_count(),
        start.elapsed(),
        checker.max_depth()
    );
    for (name, path) in checker.discoveries() {
        println!("{name}: {}", path.into_vec().len());
    }
    checker.assert_properties();
}
