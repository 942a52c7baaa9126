//! Messages on stderr.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use super::log_format::LogFormat;
use super::low_args::{DEFAULT_VERBOSITY, GlobalArgs};
use super::progress;
use super::report::{Colour, MAGENTA, RED, visible};
use super::stderr_queue;

/// Sends what libraries report to stderr from now on.
pub(crate) fn install(global: &GlobalArgs, colour: Colour) {
    let format = LineFormat {
        colour,
        json: global.log_format == LogFormat::InternalJson,
    };
    let subscriber = tracing_subscriber::fmt()
        // Telling on stderr that stderr is gone is a panic.
        .log_internal_errors(false)
        .with_max_level(level(global.verbosity))
        .event_format(format)
        .with_writer(Stderr)
        .finish();
    // It fails if there is one already, as in tests that share a process.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Says nothing but errors from now on, unless the user wants to hear more than usual.
// Nix compat: what servers do once a client has sent options of builds.
pub(crate) fn only_errors(global: &GlobalArgs) {
    if global.verbosity <= DEFAULT_VERBOSITY {
        ONLY_ERRORS.store(true, Ordering::Relaxed);
    }
}

static ONLY_ERRORS: AtomicBool = AtomicBool::new(false);

/// Nix's levels: 0 error, 1 warning, 2 notice, 3 info, 4 talkative, 5 chatty, 6 debug.
fn level(verbosity: u8) -> LevelFilter {
    match verbosity {
        0 => LevelFilter::ERROR,
        1 | 2 => LevelFilter::WARN,
        3 => LevelFilter::INFO,
        4 | 5 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

/// One line for each event.
struct LineFormat {
    colour: Colour,
    json: bool,
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        if level != Level::ERROR && ONLY_ERRORS.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut text = Text::default();
        event.record(&mut text);
        let message = visible(&(text.message + &text.fields));
        if self.json {
            return writeln!(out, "@nix {}", json_message(level, &message));
        }
        match level {
            Level::ERROR => out.write_str(&self.colour.label(RED, "error"))?,
            Level::WARN => out.write_str(&self.colour.label(MAGENTA, "warning"))?,
            _ => {}
        }
        writeln!(out, "{message}")
    }
}

/// A message as Nix's `internal-json` has it.
pub(crate) fn json_message(level: Level, message: &str) -> serde_json::Value {
    let number = match level {
        Level::ERROR => 0,
        Level::WARN => 1,
        Level::INFO => 3,
        Level::DEBUG => 6,
        Level::TRACE => 7,
    };
    serde_json::json!({ "action": "msg", "level": number, "msg": message })
}

/// The parts of an event.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string can't fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// Writes lines to stderr without tearing a progress bar that is there.
struct Stderr;

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !line.is_empty() && !stderr_queue::take(line) {
            progress::aside(|| io::stderr().lock().write_all(line))?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
