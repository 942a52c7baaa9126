//! Each bug that is put back is found.

use stateright::{Checker, HasDiscoveries, Model};
use store_model::{Bounds, Fault, StoreModel, trace};

fn found(model: StoreModel) -> String {
    let start = std::time::Instant::now();
    let checker = model
        .clone()
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let mut text = String::new();
    for (name, path) in checker.discoveries() {
        if checker
            .model()
            .property(name)
            .expectation
            .discovery_is_failure()
        {
            let steps = path.into_vec();
            text.push_str(&format!(
                "{name} ({} steps)\n{}",
                steps.len() - 1,
                trace(&steps)
            ));
        }
    }
    println!(
        "{:?} {:?}: {} states in {:?}\n{text}",
        model.fault,
        model.bounds,
        checker.unique_state_count(),
        start.elapsed()
    );
    text
}

#[test]
fn all() {
    let faults = [
        Fault::CollectorChecksOnlyTheFirst,
        Fault::CollectorIgnoresReferrers,
        Fault::PendingNotPublished,
        Fault::RootRecordedAfterAnnouncing,
        Fault::LockTakenWithoutStalenessCheck,
        Fault::RootsFileTakenWithoutStalenessCheck,
        Fault::LockFileRemovedLast,
        Fault::RowRemovedLast,
        Fault::RowCommittedBeforeFlush,
        Fault::CleaningWithoutValidityCheck,
        Fault::QueryBeforePin,
        Fault::LinkNotAnnounced,
    ];
    for fault in faults {
        let bounds = Bounds {
            kills: 0,
            power_cuts: u8::from(fault == Fault::RowCommittedBeforeFlush),
            ..Bounds::default()
        };
        let links_first = fault == Fault::LinkNotAnnounced;
        let model = StoreModel {
            bounds,
            fault: Some(fault),
            links_first,
        };
        found(model);
    }
}
