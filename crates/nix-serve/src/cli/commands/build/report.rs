//! What the user sees of builds: what is to be done, how far it is, logs, and one clear word
//! about each failure.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, BufReader, PipeReader, Read};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix_base::{BuildResult, BuildStatus, StoreDir, StorePath};
use nix_build::active::LogTarget;
use nix_build::goal::{Event, Plan};

use crate::cli::build_args::BuildArgs;
use crate::cli::context::Context;
use crate::cli::progress::Counter;
use crate::cli::report::{Colour, RED, print_line, visible};
use crate::text::{plain, printable};

/// Tells the user of builds.
pub(super) struct Report {
    dir: StoreDir,
    colour: Colour,
    shows_log: bool,
    is_check: bool,
    tail_lines: usize,
    counter: Option<Counter>,
    state: Mutex<State>,
    /// Ends when the threads that read logs have.
    readers: Mutex<Readers>,
}

#[derive(Default)]
struct State {
    /// Whether several builds' logs mix, so that lines say whose they are.
    is_mixed: bool,
    tails: BTreeMap<StorePath, VecDeque<String>>,
    failures: Vec<Failure>,
}

struct Failure {
    drv: StorePath,
    status: BuildStatus,
    message: String,
}

struct Readers {
    alive: Sender<()>,
    ended: Receiver<()>,
}

impl Report {
    /// A report of builds in a store with this directory; with failures come the last
    /// `tail_lines` lines of their logs.
    pub(super) fn new(
        context: &Context,
        args: &BuildArgs,
        dir: &StoreDir,
        tail_lines: usize,
    ) -> Self {
        let (alive, ended) = channel();
        Self {
            dir: dir.clone(),
            colour: Colour::of_stderr(context.environment()),
            shows_log: args.show_log,
            is_check: args.check,
            tail_lines,
            counter: Counter::start(context),
            state: Mutex::default(),
            readers: Mutex::new(Readers { alive, ended }),
        }
    }

    /// Where the log of a derivation goes.
    pub(super) fn log_target(self: &Arc<Self>, drv: &StorePath) -> Option<Arc<LogTarget>> {
        let (reader, writer) = io::pipe().ok()?;
        let (report, drv) = (Arc::clone(self), drv.clone());
        let alive = self.readers().alive.clone();
        let thread = std::thread::Builder::new().name("build-log".into());
        let reading = thread.spawn(move || {
            report.read_log(&drv, reader);
            drop(report);
            drop(alive);
        });
        reading.ok()?;
        Some(Arc::new(LogTarget::new(writer.into())))
    }

    fn read_log(&self, drv: &StorePath, reader: PipeReader) {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return,
                Ok(_) => self.log_line(drv, &line),
            }
        }
    }

    fn log_line(&self, drv: &StorePath, line: &[u8]) {
        let line = printable(line.strip_suffix(b"\n").unwrap_or(line));
        let mut state = self.state();
        if self.shows_log {
            match state.is_mixed {
                true => print_line(&format!("{}> {line}", short_name(drv))),
                false => print_line(&line),
            }
        }
        let tail = state.tails.entry(drv.clone()).or_default();
        tail.push_back(line);
        if tail.len() > self.tail_lines {
            tail.pop_front();
        }
    }

    /// Tells what happens.
    pub(super) fn event(&self, event: &Event<'_>) {
        match event {
            Event::Plan(plan) => {
                self.state().is_mixed = plan.to_build.len() > 1;
                say_plan(&self.dir, plan);
                self.count(plan.to_build.len());
            }
            Event::Started(drv) => self.started(drv),
            Event::Waiting { drv, place } => tracing::info!(
                "waiting for a build slot for '{}', number {place} in the queue",
                self.dir.display(drv)
            ),
            Event::Finished { drv, outcome, .. } => self.finished(drv, &outcome.result),
        }
    }

    /// How many builds there will be.
    pub(super) fn count(&self, builds: usize) {
        if let Some(counter) = &self.counter {
            counter.set_length(builds as u64);
        }
    }

    /// A build begins.
    pub(super) fn started(&self, drv: &StorePath) {
        match &self.counter {
            Some(counter) => counter.begin(short_name(drv)),
            // Nix compat: its words.
            None if self.is_check => {
                tracing::info!("checking outputs of '{}'...", self.dir.display(drv));
            }
            None => tracing::info!("building '{}'...", self.dir.display(drv)),
        }
    }

    /// A build has ended.
    pub(super) fn finished(&self, drv: &StorePath, result: &BuildResult) {
        if let Some(counter) = &self.counter {
            counter.end();
        }
        let mut state = self.state();
        if result.status.is_success() {
            state.tails.remove(drv);
        } else {
            state.failures.push(Failure {
                drv: drv.clone(),
                status: result.status,
                // Other releases colour their messages for any client.
                message: plain(result.error_msg.as_bytes()),
            });
        }
    }

    /// Says what failed, the causes before their consequences; `summary` if there is nothing
    /// better.
    pub(super) fn say_failures(self: Arc<Self>, summary: &str) {
        self.wait_for_logs();
        if let Some(counter) = &self.counter {
            counter.clear();
        }
        let state = self.state();
        let is_consequence = |failure: &&Failure| failure.status == BuildStatus::DependencyFailed;
        for failure in state.failures.iter().filter(|f| !is_consequence(f)) {
            self.say_failure(failure, state.tails.get(&failure.drv));
        }
        let is_said = state.failures.iter().any(|f| summary.contains(&f.message));
        if state.failures.is_empty()
            || !is_said
            || state.failures.iter().any(|f| is_consequence(&f))
        {
            self.say_error(summary);
        }
    }

    fn say_failure(&self, failure: &Failure, tail: Option<&VecDeque<String>>) {
        self.say_error(&failure.message);
        let Some(tail) = tail.filter(|tail| !tail.is_empty()) else {
            return;
        };
        print_line(&format!("       last {} log lines:", tail.len()));
        for line in tail {
            print_line(&format!("       > {line}"));
        }
        print_line(&format!(
            "       for the full log, run 'nix-serve log {}'",
            self.dir.display(&failure.drv)
        ));
    }

    fn say_error(&self, message: &str) {
        let message = plain(message.as_bytes());
        let mut lines = message.lines();
        let first = lines.next().unwrap_or("the build failed");
        let label = self.colour.label(RED, "error");
        print_line(&format!("{label}{}", visible(first)));
        for line in lines {
            print_line(&format!("       {}", visible(line)));
        }
    }

    /// Waits until all that builders wrote is read, if that doesn't take long.
    fn wait_for_logs(&self) {
        let mut readers = self.readers();
        let (alive, ended) = channel();
        let old = std::mem::replace(&mut *readers, Readers { alive, ended });
        drop(old.alive);
        // It says that all senders are gone.
        let _ = old.ended.recv_timeout(PATIENCE);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lists what is to be done.
// Nix compat: its words and its form.
pub(super) fn say_plan(dir: &StoreDir, plan: &Plan) {
    say_list(
        dir,
        plan.to_build.iter(),
        "this derivation will be built:",
        |count| format!("these {count} derivations will be built:"),
    );
    let unknown = "don't know how to build these paths:";
    say_list(dir, plan.unknown.iter(), unknown, |_| unknown.to_owned());
}

fn say_list<'a>(
    dir: &StoreDir,
    paths: impl ExactSizeIterator<Item = &'a StorePath>,
    one: &str,
    many: impl Fn(usize) -> String,
) {
    match paths.len() {
        0 => return,
        1 => tracing::info!("{one}"),
        count => tracing::info!("{}", many(count)),
    }
    for path in paths {
        tracing::info!("  {}", dir.display(path));
    }
}

/// A derivation as it is called among others.
fn short_name(drv: &StorePath) -> &str {
    let name = drv.name().as_str();
    name.strip_suffix(".drv").unwrap_or(name)
}

const MAX_LINE: u64 = 64 * 1024;
/// How long the last lines of logs may take.
const PATIENCE: Duration = Duration::from_secs(2);
