//! How a run reads.

use std::fmt::Write;

use crate::model::Happening;
use crate::state::State;

/// A line for each step: who, and the function that it stands for.
#[must_use]
pub fn trace(steps: &[(State, Option<Happening>)]) -> String {
    let mut text = String::new();
    for (state, happening) in steps {
        if let Some(happening) = happening {
            let _ = writeln!(text, "{happening:?} at {state:?}");
        }
    }
    text
}
