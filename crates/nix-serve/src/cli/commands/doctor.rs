//! `doctor`: whether builds can run here, and what to do about what is missing.

use std::process::ExitCode;

use nix_build::doctor::{State, examine, render_json, render_text};

use crate::cli::context::Context;
use crate::cli::output::Output;

/// Looks at each layer of the sandbox. The exit status is 1 if builds can't run.
pub(crate) fn run(json: bool, context: &Context) -> anyhow::Result<ExitCode> {
    let config = context.build_config()?;
    let layout = context.layout("doctor")?;
    let checks = examine(&config, &layout.state, &layout.real_store);
    let mut output = Output::of_process()?;
    match json {
        true => output.line(&format!("{:#}", render_json(&checks)))?,
        false => output.print(&render_text(&checks))?,
    }
    Ok(
        match checks.iter().any(|check| check.state == State::Missing) {
            true => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        },
    )
}
