//! What a key may use up, and that it is charged for what it used.

use test_support::RawLimits;

use crate::forgeries::bring_sources;
use crate::imports::write_policy;
use crate::proofs::{Client, requests};
use crate::site::{confined, newest, stocked};

/// One builder that says nothing for long, and one that says much.
const ENDLESS: &str = r#"
quiet = make "quiet" { } "$b sleep 1000";
loud = make "loud" { } "$b sleep 1; echo more than ten bytes; $b sleep 1000";
"#;

#[test]
fn a_build_that_is_killed_at_a_limit_is_charged_for() {
    let Some(peer) = newest() else { return };
    let (here, drvs) = stocked(peer, ENDLESS);
    let silent = RawLimits {
        max_silent_time: 1,
        ..RawLimits::default()
    };
    let short = RawLimits {
        max_log_size: 10,
        ..RawLimits::default()
    };
    for (name, limits) in [
        // The quota itself bounds its time.
        ("quiet", RawLimits::default()),
        ("quiet", silent),
        ("loud", short),
    ] {
        let there = confined();
        write_policy(&there, "[key.alice]\nbuild-time = \"3s\"\n");
        let requests = requests(&here, &drvs[name]);
        let mut alice = Client::new(&there, "alice");
        bring_sources(&mut alice, &here, &requests);
        let request = requests.last().unwrap();
        let message = request.drv.request(&request.drv_path, &limits, 7);
        let killed = (0..5)
            .map(|_| alice.build(&message).unwrap_err())
            .take_while(|said| !said.contains("build-time"));
        let killed: Vec<String> = killed.collect();
        assert!((1..=3).contains(&killed.len()), "{name}: {killed:?}");
        let is_limit = |said: &String| said.starts_with("building of");
        assert!(killed.iter().all(is_limit), "{killed:?}");
    }
}
