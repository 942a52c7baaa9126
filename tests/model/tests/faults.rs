//! Each bug that is put back is found, within the bounds in which nothing is found without it.
//!
//! A snapshot shows the shortest run that ends in harm.

use stateright::{Checker, HasDiscoveries, Model};
use store_model::{Fault, StoreModel, trace};

/// The shortest way to harm, in steps that stand for functions of the code.
fn harm(mut model: StoreModel) -> String {
    // Without sudden ends where none is needed: such runs read better.
    let needs_power_cut = model.fault == Some(Fault::RowCommittedBeforeFlush);
    model.bounds.kills = 0;
    model.bounds.power_cuts = u8::from(needs_power_cut);
    let checker = model.checker();
    let finish = HasDiscoveries::AnyFailures;
    // With one thread the first one found is the shortest.
    let checker = checker.finish_when(finish).spawn_bfs().join();
    let mut harm: Vec<_> = checker
        .discoveries()
        .into_iter()
        .filter(|(name, _)| is_failure(checker.model(), name))
        .map(|(name, path)| (path.into_vec(), name))
        .collect();
    harm.sort_by_key(|(steps, name)| (steps.len(), *name));
    let (steps, name) = harm.first().expect("the bug is found");
    let mut text = trace(steps);
    text.push_str("    BROKEN: ");
    text.push_str(name);
    text
}

fn is_failure(model: &StoreModel, name: &'static str) -> bool {
    model.property(name).expectation.discovery_is_failure()
}

/// REL-54: the collector checks only the current path.
#[test]
fn a_collector_that_looks_for_roots_only_once_is_found() {
    insta::assert_snapshot!(harm(StoreModel::with_fault(
        Fault::CollectorChecksOnlyTheFirst
    )));
}

/// The same, looked at from the other side.
#[test]
fn a_collector_that_does_not_see_referrers_is_found() {
    insta::assert_snapshot!(harm(StoreModel::with_fault(
        Fault::CollectorIgnoresReferrers
    )));
}

#[test]
fn a_collector_that_does_not_say_what_it_deletes_is_found() {
    insta::assert_snapshot!(harm(StoreModel::with_fault(Fault::PendingNotPublished)));
}

/// REL-54: root recorded after announcing.
#[test]
fn a_root_that_is_recorded_after_announcing_is_found() {
    insta::assert_snapshot!(harm(StoreModel::with_fault(
        Fault::RootRecordedAfterAnnouncing
    )));
}

/// REL-54: lock taken without the staleness check.
#[test]
fn a_path_lock_without_staleness_check_is_found() {
    insta::assert_snapshot!(harm(StoreModel::with_fault(
        Fault::LockTakenWithoutStalenessCheck
    )));
}

/// The same for the other file that is locked by its owner and removed by others.
#[test]
fn a_file_of_roots_without_staleness_check_is_found() {
    let fault = Fault::RootsFileTakenWithoutStalenessCheck;
    insta::assert_snapshot!(harm(StoreModel::with_fault(fault)));
}

#[test]
fn a_lock_file_that_is_removed_after_its_lock_is_found() {
    insta::assert_snapshot!(harm(StoreModel::with_fault(Fault::LockFileRemovedLast)));
}

#[test]
fn locks_in_different_orders_are_found() {
    insta::assert_snapshot!(harm(StoreModel::with_fault(Fault::LocksUnordered)));
}

/// REL-54: marker removed last.
#[test]
fn a_row_that_is_removed_after_the_files_is_found() {
    insta::assert_snapshot!(harm(StoreModel::with_fault(Fault::RowRemovedLast)));
}

/// REL-54: row committed before flush.
#[test]
fn a_row_that_is_committed_before_the_flush_is_found() {
    insta::assert_snapshot!(harm(StoreModel::with_fault(Fault::RowCommittedBeforeFlush)));
}

/// REL-54: cleaning without validity check.
#[test]
fn cleaning_without_a_look_at_validity_is_found() {
    insta::assert_snapshot!(harm(StoreModel::with_fault(
        Fault::CleaningWithoutValidityCheck
    )));
}

#[test]
fn a_question_before_the_pin_is_found() {
    insta::assert_snapshot!(harm(StoreModel::with_fault(Fault::QueryBeforePin)));
}

/// Real Nix reads links before temporary roots.
#[test]
fn a_link_that_is_not_announced_is_found_beside_real_collectors() {
    insta::assert_snapshot!(harm(StoreModel {
        links_first: true,
        ..StoreModel::with_fault(Fault::LinkNotAnnounced)
    }));
}
