//! The options of `build`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::cli::build_args::{BuildArgs, Links, Print};

#[derive(Debug, Args)]
pub(super) struct BuildOptions {
    /// Build on this machine: ssh://[USER@]HOST, exec:COMMAND. Inputs are copied there, and
    /// results back.
    #[arg(long, value_name = "ADDRESS")]
    on: Option<String>,
    /// Build what is there again, and compare.
    #[arg(long, alias = "check")]
    rebuild: bool,
    /// Go on with what is left after a failure.
    #[arg(long, short = 'k')]
    keep_going: bool,
    /// Keep the build directories of failed builds.
    #[arg(long, short = 'K')]
    keep_failed: bool,
    /// Builds at a time: a number, or auto.
    #[arg(long, short = 'j', value_name = "N")]
    max_jobs: Option<String>,
    /// Processors for each build.
    #[arg(long, value_name = "N")]
    cores: Option<String>,
    /// End builds after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<String>,
    /// End builds that write nothing for so many seconds.
    #[arg(long, value_name = "SECONDS")]
    max_silent_time: Option<String>,
    /// Don't show what builders write.
    #[arg(long, short = 'Q')]
    no_build_output: bool,
    /// The name of the links to results.
    #[arg(long, short = 'o', value_name = "NAME", default_value = "result", value_hint = ValueHint::AnyPath)]
    out_link: PathBuf,
    /// Make no links.
    #[arg(long, conflicts_with = "out_link")]
    no_link: bool,
    /// Say what would be built, and build nothing.
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Print the results as JSON.
    #[arg(long)]
    json: bool,
    /// Print the paths of the results.
    #[arg(long)]
    print_out_paths: bool,
    /// Derivations in the store, or links to them; '^' and names choose outputs.
    #[arg(required = true, value_name = "DRV[^OUTPUTS]", value_hint = ValueHint::AnyPath)]
    targets: Vec<PathBuf>,
}

impl BuildOptions {
    /// Whether logs aren't shown.
    pub(super) fn is_silent(&self) -> bool {
        self.no_build_output
    }

    /// Options that are settings.
    pub(super) fn settings(&self) -> Vec<(String, String)> {
        let switch = |is_on: bool| is_on.then(|| "true".to_owned());
        let settings = [
            ("keep-going", switch(self.keep_going)),
            ("keep-failed", switch(self.keep_failed)),
            ("max-jobs", self.max_jobs.clone()),
            ("cores", self.cores.clone()),
            ("timeout", self.timeout.clone()),
            ("max-silent-time", self.max_silent_time.clone()),
        ];
        settings
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }
}

impl From<BuildOptions> for BuildArgs {
    fn from(options: BuildOptions) -> Self {
        Self {
            targets: options.targets,
            on: options.on,
            repair: false,
            check: options.rebuild,
            dry_run: options.dry_run,
            links: match options.no_link {
                true => Links::None,
                false => Links::Named(options.out_link),
            },
            print: match (options.json, options.print_out_paths) {
                (true, _) => Print::Json,
                (false, true) => Print::Paths,
                (false, false) => Print::Nothing,
            },
            ignore_unknown: false,
            show_log: !options.no_build_output,
            warn_of_no_root: false,
        }
    }
}

/// Seconds from `90`, `90s`, `10m`, `2h` or `1d`.
pub(super) fn parse_time(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 60 * 60),
        Some(b'd') => (&text[..text.len() - 1], 24 * 60 * 60),
        _ => (text, 1),
    };
    let number: Option<u64> = digits.parse().ok();
    number
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| "expected seconds, or a number with 's', 'm', 'h' or 'd'".to_owned())
}

pub(super) const BUILD_EXAMPLES: &str = "\
Examples:
  nix-serve build /nix/store/…-hello-2.12.drv
  nix-serve build --on ssh://builder ./hello.drv^out,dev -o hello
  nix-serve build --on 'ssh://builder?remote-program=nix-serve' --print-out-paths ./hello.drv
  nix-serve build --rebuild --no-link ./hello.drv

The exit status is 100 if a builder failed, 101 after a time-out, 102 for a wrong hash and
104 if builds differ.";
