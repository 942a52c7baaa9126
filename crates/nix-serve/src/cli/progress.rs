//! How far a copy is: a bar on a terminal, lines elsewhere.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nix_base::{StoreDir, StorePath};

use super::context::Context;
use super::log_format::LogFormat;
use crate::client::CopyProgress;

/// Tells the user of a copy.
#[derive(Debug)]
pub(crate) struct Report {
    store_dir: StoreDir,
    /// Behind the path: ` to 'ADDRESS'`.
    where_to: String,
    bar: Option<ProgressBar>,
}

impl Report {
    /// A report of copies `where_to`, such as `to 'ssh://host'`.
    pub(crate) fn new(context: &Context, store_dir: &StoreDir, where_to: String) -> Self {
        Self {
            store_dir: store_dir.clone(),
            where_to,
            bar: wants_bar(context).then(|| start_bar(COPY)),
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl CopyProgress for Report {
    fn started(&self, paths: u64, bytes: u64) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(bytes);
                bar.set_prefix(format!("0/{paths}"));
                bar.enable_steady_tick(TICK);
            }
            // Nix compat: its words.
            None if paths > 0 => tracing::info!("copying {paths} paths..."),
            None => {}
        }
    }

    fn path_started(&self, path: &StorePath, _: u64) {
        match &self.bar {
            Some(bar) => bar.set_message(path.name().to_string()),
            None => tracing::info!(
                "copying path '{}' {}...",
                self.store_dir.display(path),
                self.where_to
            ),
        }
    }

    fn bytes(&self, count: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(count);
        }
    }

    fn path_done(&self, _: &StorePath) {
        let Some(bar) = &self.bar else { return };
        let prefix = bar.prefix();
        if let Some((done, all)) = prefix.split_once('/')
            && let Ok(done) = done.parse::<u64>()
        {
            bar.set_prefix(format!("{}/{all}", done + 1));
        }
    }
}

/// A bar that counts builds.
#[derive(Debug)]
pub(crate) struct Counter {
    bar: ProgressBar,
}

impl Counter {
    /// A bar, if the terminal and the options are for one.
    pub(crate) fn start(context: &Context) -> Option<Self> {
        let bar = wants_bar(context).then(|| start_bar(COUNTER))?;
        bar.enable_steady_tick(TICK);
        Some(Self { bar })
    }

    /// A bar that counts deleted paths.
    pub(crate) fn of_deletions(context: &Context) -> Option<Self> {
        let bar = wants_bar(context).then(|| start_bar(DELETIONS))?;
        bar.enable_steady_tick(TICK);
        Some(Self { bar })
    }

    /// How many are done.
    pub(crate) fn set_position(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// How many builds there are.
    pub(crate) fn set_length(&self, builds: u64) {
        self.bar.set_length(builds);
    }

    /// A build called `name` begins.
    pub(crate) fn begin(&self, name: &str) {
        self.bar.set_message(name.to_owned());
    }

    /// A build has ended.
    pub(crate) fn end(&self) {
        self.bar.inc(1);
    }

    /// Removes the bar.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Does `print` with the bar out of the way.
pub(crate) fn aside<T>(print: impl FnOnce() -> T) -> T {
    match BAR.get() {
        Some(bar) => bar.suspend(print),
        None => print(),
    }
}

fn wants_bar(context: &Context) -> bool {
    let is_quiet = context.global().verbosity < super::low_args::DEFAULT_VERBOSITY;
    match context.log_format() {
        LogFormat::Bar => !is_quiet,
        LogFormat::Auto => {
            !is_quiet && !context.environment().plain_terminal && io::stderr().is_terminal()
        }
        LogFormat::Raw | LogFormat::InternalJson => false,
    }
}

/// The bar, empty again.
fn start_bar(template: &str) -> ProgressBar {
    let bar =
        BAR.get_or_init(|| ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()));
    bar.set_style(style(template));
    bar.reset();
    bar.clone()
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates are constants that a test looks at")
        .progress_chars("=> ")
}

/// There is one terminal, so one bar.
static BAR: OnceLock<ProgressBar> = OnceLock::new();
const COPY: &str = "[{prefix} paths] [{bar:30}] {binary_bytes}/{binary_total_bytes} \
    {binary_bytes_per_sec}, {eta} left  {wide_msg}";
const COUNTER: &str = "[{pos}/{len} built] [{bar:30}] {elapsed}  {wide_msg}";
const DELETIONS: &str = "[{pos}/{len} deleted] [{bar:30}] {elapsed}  {wide_msg}";
const TICK: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    #[test]
    fn the_templates_are_well_formed() {
        for template in [super::COPY, super::COUNTER, super::DELETIONS] {
            let _ = super::style(template);
        }
    }
}
