//! The last word: one line on stderr, and the exit status.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use super::env::Environment;
use super::options::UsageError;
use super::output::{Output, OutputClosed};
use super::progress;
use super::signals::Interrupted;
use super::stderr_queue;
use crate::text::printable;

/// How messages look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    /// With escape sequences of a terminal.
    On,
    /// Plain text.
    Off,
}

impl Colour {
    /// Colour, if stderr is a terminal that has it and whose user wants it.
    pub(crate) fn of_stderr(environment: &Environment) -> Self {
        if !environment.plain_terminal && io::stderr().is_terminal() {
            Self::On
        } else {
            Self::Off
        }
    }

    /// `word` with a colon behind it, in bold and the colour numbered `code`.
    pub(crate) fn label(self, code: u8, word: &str) -> String {
        match self {
            Self::On => format!("\x1b[{code};1m{word}:\x1b[0m "),
            Self::Off => format!("{word}: "),
        }
    }
}

/// The exit status of a result; says what is wrong.
pub(crate) fn finish(result: anyhow::Result<ExitCode>, colour: Colour) -> ExitCode {
    let error = match result {
        Ok(code) => return code,
        Err(error) => error,
    };
    // Whoever closed our output knows, as with `nix-store --dump PATH | head`.
    if has_cause::<OutputClosed>(&error) {
        return ExitCode::FAILURE;
    }
    if let Some(usage) = error.downcast_ref::<UsageError>() {
        return finish_usage(usage, colour);
    }
    print_line(&format!(
        "{}{}",
        colour.label(RED, "error"),
        one_line(&error)
    ));
    stderr_queue::flush();
    ExitCode::FAILURE
}

/// The exit status of a command line that clap refused, or answers itself.
pub(crate) fn finish_clap(error: &clap::Error, colour: Colour) -> ExitCode {
    if !error.use_stderr() {
        let printed = Output::of_process().and_then(|mut out| out.print(&error.to_string()));
        return finish(printed.map(|()| ExitCode::SUCCESS), colour);
    }
    let rendered = error.render();
    let text = match colour {
        Colour::On => rendered.ansi().to_string(),
        // It repeats what was typed.
        Colour::Off => printable(rendered.to_string().as_bytes()),
    };
    print_line(text.trim_end());
    // Nix compat: clap's own would be 2.
    ExitCode::FAILURE
}

/// The exit status of a command line that one of the other faces refused.
pub(crate) fn finish_usage(error: &UsageError, colour: Colour) -> ExitCode {
    let text = printable(error.to_string().as_bytes());
    print_line(&format!("{}{text}", colour.label(RED, "error")));
    ExitCode::FAILURE
}

/// The chain of causes in one line.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    if has_cause::<Interrupted>(error) {
        // Nix compat: its words.
        return Interrupted.to_string();
    }
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        // Some libraries repeat their cause.
        if line.ends_with(&text) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&text);
    }
    visible(&line)
}

/// `text` in one line, with its control characters visible.
pub(crate) fn visible(text: &str) -> String {
    printable(text.as_bytes()).replace('\n', "\\n")
}

/// Writes a line to stderr; nothing can be done if that fails.
pub(crate) fn print_line(line: &str) {
    let line = format!("{line}\n");
    if !stderr_queue::take(line.as_bytes()) {
        let _ = progress::aside(|| io::stderr().lock().write_all(line.as_bytes()));
    }
}

/// Whether a `T` is among the causes, perhaps inside of an I/O error.
fn has_cause<T: std::error::Error + 'static>(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let inner = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        cause.is::<T>() || inner.is_some_and(|inner| inner.is::<T>())
    })
}

/// Terminal colours.
pub(crate) const RED: u8 = 31;
/// Magenta, for warnings.
pub(crate) const MAGENTA: u8 = 35;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_joined_and_controls_visible() {
        let error = anyhow::anyhow!("no such \x1b[2Jfile")
            .context("cannot open 'x'")
            .context("cannot add 'x'");
        insta::assert_snapshot!(one_line(&error), @r"cannot add 'x': cannot open 'x': no such \u{1b}[2Jfile");
    }

    #[test]
    fn a_repeated_cause_is_said_once() {
        let cause = io::Error::other(io::Error::other("disk on fire"));
        let error = anyhow::Error::new(cause).context("cannot write");
        assert_eq!(one_line(&error), "cannot write: disk on fire");
    }

    #[test]
    fn a_signal_is_the_only_reason_worth_telling() {
        let error = anyhow::Error::new(io::Error::from(Interrupted)).context("cannot read");
        assert_eq!(one_line(&error), "interrupted by the user");
    }

    #[test]
    fn labels_are_coloured_only_on_demand() {
        assert_eq!(Colour::Off.label(RED, "error"), "error: ");
        assert_eq!(Colour::On.label(RED, "error"), "\x1b[31;1merror:\x1b[0m ");
    }
}
