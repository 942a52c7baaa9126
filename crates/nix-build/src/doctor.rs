//! What this machine has of what builds need, layer by layer, and how to get the rest.

use std::path::Path;

use crate::config::BuildConfig;

/// How it stands with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is there.
    Ok,
    /// Builds run, with less than they could have.
    Warning,
    /// Builds don't start.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Check {
    /// What, as the name of a layer or of a thing.
    pub name: &'static str,
    /// How it stands.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do about it; empty if nothing is to be done.
    pub fix: String,
}

/// Looks at everything.
#[must_use]
pub fn examine(config: &BuildConfig, state_dir: &Path, store_dir: &Path) -> Vec<Check> {
    let _ = (config, state_dir, store_dir);
    Vec::new()
}

/// The checks as lines for a terminal.
#[must_use]
pub fn render_text(checks: &[Check]) -> String {
    let _ = checks;
    String::new()
}

/// The checks as JSON.
#[must_use]
pub fn render_json(checks: &[Check]) -> serde_json::Value {
    serde_json::json!({ "checks": checks })
}
