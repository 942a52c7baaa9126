//! What this machine has of what builds need, layer by layer, and how to get the rest.
//!
//! Where it can the doctor tries things out, in a child process, rather than believe settings.

mod kernel;
mod machine;
mod probe;
#[cfg(test)]
mod tests;

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use crate::config::{BuildConfig, Layer, SandboxMode};

/// How it stands with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What: a layer's name, or a thing's.
    pub name: &'static str,
    /// How it stands.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do about it; empty if nothing is to be done.
    pub fix: String,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            state: State::Ok,
            found: found.into(),
            fix: String::new(),
        }
    }

    fn bad(
        name: &'static str,
        state: State,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            name,
            state,
            found: found.into(),
            fix: fix.into(),
        }
    }
}

/// Looks at everything.
#[must_use]
pub fn examine(config: &BuildConfig, state_dir: &Path, store_dir: &Path) -> Vec<Check> {
    let without = |layer| state_without(config, layer);
    let probed = probe::try_all();
    let mut checks = vec![kernel::version(without(Layer::Mounts))];
    checks.extend(kernel::namespaces(&probed, &without));
    checks.push(kernel::system_call_filter(
        config,
        without(Layer::SyscallFilter),
    ));
    checks.push(kernel::landlock());
    checks.push(kernel::control_groups(
        &config.resources,
        without(Layer::Cgroups),
    ));
    checks.push(machine::users(&config.users, state_dir));
    checks.push(machine::supplementary_groups(config));
    checks.push(machine::fixed_output_network(
        config,
        without(Layer::Network),
    ));
    checks.push(machine::helper(config));
    checks.extend(machine::disks(config, state_dir, store_dir));
    checks.extend(machine::other_platforms(config));
    checks.push(machine::kvm(config));
    checks
}

/// The worst state of all.
#[must_use]
pub fn worst(checks: &[Check]) -> State {
    checks
        .iter()
        .map(|check| check.state)
        .max()
        .unwrap_or(State::Ok)
}

/// The checks as lines for a terminal.
#[must_use]
pub fn render_text(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.len()).max();
    let width = width.unwrap_or_default();
    let mut text = String::new();
    for check in checks {
        let state = match check.state {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Missing => "missing",
        };
        // Writing to a string can't fail.
        let _ = writeln!(text, "{state:<7}  {:<width$}  {}", check.name, check.found);
        if !check.fix.is_empty() {
            let _ = writeln!(text, "{:<7}  {:<width$}  fix: {}", "", "", check.fix);
        }
    }
    text
}

/// The checks as JSON: `{"state": …, "checks": [{"name", "state", "found", "fix"}, …]}`.
#[must_use]
pub fn render_json(checks: &[Check]) -> serde_json::Value {
    serde_json::json!({ "state": worst(checks), "checks": checks })
}

/// What it means for builds that a layer isn't there.
fn state_without(config: &BuildConfig, layer: Layer) -> State {
    let sandbox = &config.sandbox;
    let can_do_without = sandbox.mode == SandboxMode::Never
        || sandbox.fallback
        || sandbox.accept_missing.contains(&layer);
    match can_do_without {
        true => State::Warning,
        false => State::Missing,
    }
}
