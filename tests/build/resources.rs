//! Limits of memory, processes and disk: at each the whole build ends within five seconds, the
//! answer says which limit it was, and nothing is left (SEC-48).

use std::time::{Duration, Instant};

use test_support::say_missing;

use crate::place::{Place, Who};
use crate::processes::wait_until_gone;

/// Statuses of the protocol.
const TRANSIENT_FAILURE: u64 = 6;
const BUILT: u64 = 0;

/// What a limited builder does, and what it is told.
struct Case {
    name: &'static str,
    setting: &'static str,
    script: &'static str,
    message: &'static str,
}

const CASES: &[Case] = &[
    Case {
        name: "memory",
        setting: "build-memory-limit = 48M",
        script: "$b dd if=/dev/zero of=/dev/null bs=200M count=1; $b sleep 100",
        message: "killed after using more than 50331648 bytes of memory",
    },
    Case {
        name: "processes",
        setting: "build-process-limit = 20",
        script: "n=0; while [ $n -lt 40 ]; do $b sleep 100 & n=$((n+1)); done; $b sleep 100",
        message: "killed after starting more than 20 processes",
    },
    Case {
        name: "disk",
        setting: "build-disk-limit = 8M",
        script: "$b dd if=/dev/zero of=$NIX_BUILD_TOP/a bs=1M count=6; \
                 $b dd if=/dev/zero of=$out bs=1M count=6; $b sleep 100",
        message: "killed after writing more than 8388608 bytes to disk",
    },
];

fn place_of(case: &Case, words: &str) -> Option<Place> {
    let Case { name, script, .. } = case;
    // Failures within are the limit's doing; the builder is to live on.
    let shapes = format!(
        r#"
        {name} = raw "{name}" {{
            builder = b;
            args = [ "sh" "-c" "b=${{b}}; : {words}; {script}" "{words}" ];
        }};
        modest = make "modest" {{ }} "$b echo x > $out";
        "#,
        script = script.replace('"', "\\\""),
    );
    Place::with_settings(Who::Root, &shapes, &format!("{}\n", case.setting))
}

fn ends_at_its_limit(case: &Case) {
    let words = format!("resources-{}-{}", case.name, std::process::id());
    let Some(place) = place_of(case, &words) else {
        return;
    };
    let start = Instant::now();
    let built = place.build(case.name);
    if built.result.error.contains("can't be had") {
        say_missing(
            &format!(
                "THIS MACHINE CAN'T LIMIT {}: {}",
                case.name.to_uppercase(),
                built.result.error
            ),
            true,
        );
        return;
    }
    assert_eq!(built.result.status, TRANSIENT_FAILURE, "{built:?}");
    assert!(built.result.error.contains(case.message), "{built:?}");
    assert!(start.elapsed() < Duration::from_secs(20), "{built:?}");
    assert!(wait_until_gone(&words) < Duration::from_secs(5));
    assert!(std::fs::symlink_metadata(place.output(case.name)).is_err());
    assert!(place.build_dirs().is_empty(), "{:?}", place.build_dirs());
    // Others of modest needs are unhurt, under the same limit.
    assert_eq!(place.build("modest").result.status, BUILT);
}

#[test]
fn memory_ends_the_whole_build() {
    ends_at_its_limit(&CASES[0]);
}

#[test]
fn processes_end_the_whole_build() {
    ends_at_its_limit(&CASES[1]);
}

#[test]
fn disk_use_ends_the_whole_build() {
    ends_at_its_limit(&CASES[2]);
}
