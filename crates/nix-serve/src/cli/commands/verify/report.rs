//! What a check found, for people and for programs.

use std::error::Error;

use nix_store_core::{VerifyProblem, VerifyReport};
use serde_json::{Value, json};

use crate::cli::report::visible;

/// An error with its causes in one line.
pub(super) fn in_one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(&format!(": {error}"));
        cause = error.source();
    }
    visible(&line)
}

/// A report that everything is in order now.
pub(super) fn summary(report: &VerifyReport) -> String {
    let mut text = format!("{} paths, ", report.paths);
    if report.skipped > 0 {
        text.push_str(&format!("{} more were checked before, ", report.skipped));
    }
    match (report.repaired.len(), report.forgotten.len()) {
        (0, 0) => text.push_str("nothing is wrong"),
        (repaired, 0) => text.push_str(&format!("{repaired} errors were repaired")),
        (repaired, forgotten) => text.push_str(&format!(
            "{repaired} errors were repaired, {forgotten} paths that nothing needs are gone"
        )),
    }
    text
}

/// Everything, as one JSON object.
pub(super) fn json(report: &VerifyReport) -> String {
    let mut problems: Vec<Value> = Vec::new();
    for (i, problem) in report.problems.iter().enumerate() {
        let failure = report.failures.iter().find(|failure| failure.problem == i);
        let mut value = entry(problem, "wrong");
        if let Some(failure) = failure {
            value["error"] = in_one_line(&failure.error).into();
        }
        problems.push(value);
    }
    problems.extend(
        report
            .repaired
            .iter()
            .map(|problem| entry(problem, "repaired")),
    );
    problems.extend(
        report
            .forgotten
            .iter()
            .map(|problem| entry(problem, "forgotten")),
    );
    let json = json!({
        "paths": report.paths,
        "skipped": report.skipped,
        "links": report.links,
        "bytes": report.bytes,
        "complete": !report.cancelled,
        "problems": problems,
    });
    format!("{json:#}")
}

fn entry(problem: &VerifyProblem, state: &str) -> Value {
    json!({
        "kind": problem.kind(),
        "path": problem.path().map(ToString::to_string),
        "message": in_one_line(problem),
        "state": state,
    })
}
