//! The bounds of one client, and when they are exceeded.

use std::time::Duration;

use nix_base::BuildStatus;

use super::owned::Phase;
use super::status::Progress;
use crate::failure::BuildFailure;
use crate::request::BuildLimits;

/// Why a client leaves a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    /// The builder wrote nothing for this many seconds.
    Silence(u64),
    /// The build took more than this many seconds.
    Time(u64),
    /// The log is larger than this many bytes.
    Log(u64),
}

impl Exceeded {
    /// The failure of the derivation, whose full path is `drv`.
    #[must_use]
    pub fn failure(self, drv: &str) -> BuildFailure {
        let building = format!("building of '{drv}'");
        match self {
            Self::Silence(seconds) => BuildFailure::new(
                BuildStatus::TimedOut,
                format!("{building} timed out after {seconds} seconds of silence"),
            ),
            Self::Time(seconds) => BuildFailure::new(
                BuildStatus::TimedOut,
                format!("{building} timed out after {seconds} seconds"),
            ),
            Self::Log(bytes) => BuildFailure::new(
                BuildStatus::LogLimitExceeded,
                format!("{building} killed after writing more than {bytes} bytes of log output"),
            ),
        }
    }
}

/// Watches the limits of one client.
#[derive(Debug)]
pub(super) struct LimitWatch {
    limits: BuildLimits,
    log_size: u64,
    /// When the log grew, in nanoseconds of the monotonic clock.
    last_output: u64,
}

impl LimitWatch {
    /// For a client that asks `now`; what was before it knows nothing of.
    pub(super) fn new(limits: BuildLimits, now: u64) -> Self {
        Self {
            limits,
            log_size: 0,
            last_output: now,
        }
    }

    /// The limit that is exceeded, if one is.
    pub(super) fn check(
        &mut self,
        progress: Progress,
        log_size: u64,
        now: u64,
    ) -> Option<Exceeded> {
        if log_size != self.log_size {
            self.log_size = log_size;
            self.last_output = now;
        }
        let limits = self.limits;
        if limits.max_log_size != 0 && log_size > limits.max_log_size {
            return Some(Exceeded::Log(limits.max_log_size));
        }
        if progress.phase != Phase::Running {
            return None;
        }
        let over = |seconds: u64, since: u64| {
            seconds != 0
                && Duration::from_nanos(now.saturating_sub(since)) >= Duration::from_secs(seconds)
        };
        if over(limits.timeout, progress.since) {
            return Some(Exceeded::Time(limits.timeout));
        }
        let quiet_since = self.last_output.max(progress.since);
        over(limits.max_silent_time, quiet_since)
            .then_some(Exceeded::Silence(limits.max_silent_time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn running(since: u64) -> Progress {
        Progress {
            phase: Phase::Running,
            since: since * SECOND,
            place: 0,
        }
    }

    #[test]
    fn time_counts_from_the_start_of_the_builder() {
        let limits = BuildLimits {
            timeout: 10,
            ..BuildLimits::default()
        };
        let mut watch = LimitWatch::new(limits, 0);
        let waiting = Progress {
            phase: Phase::Waiting,
            ..running(0)
        };
        assert_eq!(watch.check(waiting, 0, 100 * SECOND), None);
        assert_eq!(watch.check(running(100), 0, 110 * SECOND - 1), None);
        let hit = watch.check(running(100), 0, 110 * SECOND);
        assert_eq!(hit, Some(Exceeded::Time(10)));
    }

    #[test]
    fn silence_ends_with_every_byte() {
        let limits = BuildLimits {
            max_silent_time: 10,
            ..BuildLimits::default()
        };
        let mut watch = LimitWatch::new(limits, 0);
        assert_eq!(watch.check(running(0), 1, 9 * SECOND), None);
        assert_eq!(watch.check(running(0), 2, 18 * SECOND), None);
        assert_eq!(watch.check(running(0), 2, 28 * SECOND - 1), None);
        let hit = watch.check(running(0), 2, 28 * SECOND);
        assert_eq!(hit, Some(Exceeded::Silence(10)));
    }

    #[test]
    fn the_log_may_be_as_large_as_its_limit() {
        let limits = BuildLimits {
            max_log_size: 10,
            ..BuildLimits::default()
        };
        let mut watch = LimitWatch::new(limits, 0);
        assert_eq!(watch.check(running(0), 10, 0), None);
        assert_eq!(watch.check(running(0), 11, 0), Some(Exceeded::Log(10)));
    }
}
