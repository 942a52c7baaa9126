//! Why one attempt failed, and the words for builders that failed by themselves.

use nix_base::BuildStatus;

use super::Job;
use super::run::Limit;
use crate::failure::BuildFailure;
use crate::helper::ExitStatus;

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// Namespaces and mounts can't be had; nothing ran.
    NoSandbox(String),
    /// Anything else.
    Failed(BuildFailure),
}

impl From<BuildFailure> for Fault {
    fn from(failure: BuildFailure) -> Self {
        Self::Failed(failure)
    }
}

impl From<nix_store_core::Error> for Fault {
    fn from(error: nix_store_core::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Fault> for BuildFailure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Failed(failure) => failure,
            Fault::NoSandbox(message) => Self::misc(format!(
                "{message}; 'nix-serve doctor' says what this machine lacks"
            )),
        }
    }
}

/// A builder that ended with something else than success.
pub(super) fn builder_failed(
    job: &Job<'_>,
    status: ExitStatus,
    disk_is_full: bool,
) -> BuildFailure {
    let how = match status {
        ExitStatus::Code(code) => format!("failed with exit code {code}"),
        ExitStatus::Signal(signal) => match signal_name(signal) {
            Some(name) => format!("failed due to signal {signal} ({name})"),
            None => format!("failed due to signal {signal}"),
        },
    };
    let mut message = format!("builder for '{}' {how}", job.drv_path);
    // Nix compat: what went wrong with the network or the disk may go right the next time.
    let is_transient = disk_is_full || !job.kind.is_sandboxed();
    if disk_is_full {
        message.push_str("\nnote: build failure may have been caused by lack of free disk space");
    }
    BuildFailure::new(
        match is_transient {
            true => BuildStatus::TransientFailure,
            false => BuildStatus::PermanentFailure,
        },
        message,
    )
}

/// A build that was killed at a limit.
pub(super) fn limit_hit(job: &Job<'_>, limit: Limit) -> BuildFailure {
    let status = match limit {
        Limit::Silence(_) | Limit::Time(_) => BuildStatus::TimedOut,
        Limit::LogSize(_) => BuildStatus::LogLimitExceeded,
        // Another machine, or the same at another time, may have more of it.
        Limit::Memory(_) | Limit::Processes(_) | Limit::Disk(_) => BuildStatus::TransientFailure,
    };
    BuildFailure::new(status, format!("building of '{}' {limit}", job.drv_path))
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGHUP => "Hangup",
        libc::SIGINT => "Interrupt",
        libc::SIGQUIT => "Quit",
        libc::SIGILL => "Illegal instruction",
        libc::SIGTRAP => "Trace/breakpoint trap",
        libc::SIGABRT => "Aborted",
        libc::SIGBUS => "Bus error",
        libc::SIGFPE => "Floating point exception",
        libc::SIGKILL => "Killed",
        libc::SIGUSR1 => "User defined signal 1",
        libc::SIGSEGV => "Segmentation fault",
        libc::SIGUSR2 => "User defined signal 2",
        libc::SIGPIPE => "Broken pipe",
        libc::SIGALRM => "Alarm clock",
        libc::SIGTERM => "Terminated",
        libc::SIGXCPU => "CPU time limit exceeded",
        libc::SIGXFSZ => "File size limit exceeded",
        libc::SIGSYS => "Bad system call",
        _ => return None,
    })
}
