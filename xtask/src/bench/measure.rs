//! Measuring one run of a command: wall time, CPU time of it and its children, instructions.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use posix::sys::resource::{UsageWho, getrusage};
use posix::sys::time::TimeValLike;

use crate::process;

/// What one run took.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sample {
    pub(super) wall: Duration,
    /// User and system time together, of all processes that the command waited for.
    pub(super) cpu: Duration,
    /// In user space and in the kernel; only in a run with [`Mode::Count`].
    pub(super) instructions: Option<u64>,
}

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Times; nothing stands between the clock and the command.
    Time,
    /// Instructions, with `perf stat`, whose own work would show in the times.
    Count,
}

/// Runs a command to its end and measures it; fails if it fails.
pub(super) fn measure(command: &mut Command, mode: Mode, scratch: &Path) -> Result<Sample> {
    match mode {
        Mode::Time => {
            let clock = Clock::start()?;
            process::run(command)?;
            clock.stop()
        }
        Mode::Count => {
            let report = scratch.join("perf-stat");
            process::run(&mut under_perf(command, &report))?;
            let text = fs::read_to_string(&report).context("cannot read what perf wrote")?;
            Ok(Sample {
                instructions: Some(sum_counts(&text)?),
                ..Sample::default()
            })
        }
    }
}

/// A measurement under way, for runs that are more than one command.
pub(super) struct Clock {
    start: Instant,
    cpu: Duration,
}

impl Clock {
    pub(super) fn start() -> Result<Self> {
        Ok(Self {
            cpu: children_cpu()?,
            start: Instant::now(),
        })
    }

    /// Ends the measurement. CPU time is that of processes that have been waited for.
    pub(super) fn stop(self) -> Result<Sample> {
        let wall = self.start.elapsed();
        self.stop_at(wall)
    }

    /// As [`Self::stop`], with a wall time that was read earlier.
    pub(super) fn stop_at(self, wall: Duration) -> Result<Sample> {
        Ok(Sample {
            wall,
            cpu: children_cpu()?.saturating_sub(self.cpu),
            instructions: None,
        })
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Whether this kernel counts instructions for us: virtual machines often don't.
pub(super) fn can_count(scratch: &Path) -> bool {
    crate::env::find_program("perf").is_some()
        && measure(&mut Command::new("true"), Mode::Count, scratch).is_ok()
}

fn under_perf(command: &Command, report: &Path) -> Command {
    let mut perf = Command::new("perf");
    perf.args([
        "stat",
        "-x",
        ",",
        "-e",
        "instructions:u,instructions:k",
        "-o",
    ])
    .arg(report)
    .arg("--")
    .arg(command.get_program())
    .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => perf.env(name, value),
            None => perf.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        perf.current_dir(dir);
    }
    perf
}

/// Adds the counts of lines `COUNT,UNIT,EVENT,…`.
fn sum_counts(text: &str) -> Result<u64> {
    let mut sum = 0;
    let mut lines = 0;
    for line in text.lines().filter(|line| line.contains("instructions")) {
        let count = line.split(',').next().unwrap_or_default();
        let Ok(count) = count.parse::<u64>() else {
            bail!("perf doesn't count instructions here: {line}");
        };
        sum += count;
        lines += 1;
    }
    if lines == 0 {
        bail!("perf wrote no counts");
    }
    Ok(sum)
}

fn children_cpu() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage")?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(micros.try_into().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_both_rings_are_added() {
        let text = "# started on a day\n\n\
                    1000,,instructions:u,5,100.00,,\n\
                    234,,instructions:k,5,100.00,,\n";
        assert_eq!(sum_counts(text).unwrap(), 1234);
        assert!(sum_counts("<not supported>,,instructions:u,0,100.00,,\n").is_err());
        assert!(sum_counts("").is_err());
    }

    #[test]
    fn a_command_that_fails_is_no_sample() {
        let dir = tempfile::tempdir().unwrap();
        let error = measure(&mut Command::new("false"), Mode::Time, dir.path()).unwrap_err();
        assert_eq!(error.to_string(), "'false' ended with exit status: 1");
    }
}
