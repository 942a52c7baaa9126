//! Checks that are stopped, and go on another time.

use super::*;

/// Stops a check as soon as one of its paths was read.
#[derive(Default)]
struct StopsAt {
    path: Option<StorePath>,
    is_stopped: bool,
}

impl VerifyWatch for StopsAt {
    fn looks_at(&mut self, path: &StorePath) {
        self.is_stopped |= self.path.as_ref() == Some(path);
    }

    fn is_cancelled(&mut self) -> bool {
        self.is_stopped
    }
}

fn check(fresh: &Fresh, journal: Journal, stops_at: Option<&StorePath>) -> VerifyReport {
    let options = VerifyOptions {
        contents: CheckContents::Yes,
        threads: 1,
        journal,
        ..VerifyOptions::default()
    };
    let mut watch = StopsAt {
        path: stops_at.cloned(),
        is_stopped: false,
    };
    fresh
        .store
        .verify_with(&options, &mut [], &mut watch)
        .unwrap()
}

#[test]
fn a_second_look_can_be_stopped_and_then_counts_for_nothing() {
    let fresh = Fresh::new();
    fresh.add("a", &[]);
    let b = fresh.add("b", &[]);
    fs::write(fresh.store.layout().real_path(&b), "x").unwrap();
    let cut = check(&fresh, Journal::Fresh, Some(&b));
    assert!(cut.cancelled && cut.is_clean(), "{cut:?}");
    let resumed = check(&fresh, Journal::Resume, None);
    assert_eq!(resumed.problems.len(), 1);
}
