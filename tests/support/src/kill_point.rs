//! Watches the system calls of a program, and kills it at the n-th.
//!
//! The program is started stopped, seized with ptrace, and run from system call to system
//! call. All its threads are watched and counted together, from its `exec` on; processes that
//! it starts are not.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use posix::sys::ptrace::{self, Event, Options};
use posix::sys::signal::{Signal, kill};
use posix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use posix::unistd::Pid;

/// How a traced program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traced {
    /// By itself, with this status, after so many system calls.
    Ended {
        /// Its exit status.
        status: i32,
        /// System calls begun.
        calls: u64,
    },
    /// Killed as it began the system call asked for.
    Killed,
}

/// Runs `program` with `arguments`, `input` as its standard input and its output thrown
/// away, and kills it when it begins its `at`-th system call, counted from 1.
///
/// # Panics
/// If the program can't be traced.
pub fn run_and_kill_at<S: AsRef<OsStr>>(
    program: &OsStr,
    arguments: &[S],
    input: File,
    at: u64,
) -> Traced {
    trace(start(program, arguments, input), at, &mut |_| {})
}

/// A system call as it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its number, one of the constants of this machine.
    pub number: i64,
    /// What the first argument names, if that is a descriptor.
    pub file: PathBuf,
}

/// Runs a program as [`run_and_kill_at`] does, to its end, and gives all its system calls in
/// the order in which they begin.
///
/// # Panics
/// If the program can't be traced, or fails.
pub fn calls_of<S: AsRef<OsStr>>(program: &OsStr, arguments: &[S], input: File) -> Vec<Call> {
    let pid = start(program, arguments, input);
    let mut calls = Vec::new();
    let ended = trace(pid, u64::MAX, &mut |thread| calls.extend(call(thread)));
    assert!(
        matches!(ended, Traced::Ended { status: 0, .. }),
        "{ended:?}"
    );
    calls
}

/// What the kernel tells of a thread that begins a system call.
fn call(thread: Pid) -> Option<Call> {
    let text = std::fs::read_to_string(format!("/proc/{thread}/syscall")).ok()?;
    let mut words = text.split_ascii_whitespace();
    let number = words.next()?.parse().ok()?;
    let first = words.next()?.strip_prefix("0x")?;
    let descriptor = u64::from_str_radix(first, 16).ok()?;
    let file = std::fs::read_link(format!("/proc/{thread}/fd/{descriptor}"));
    Some(Call {
        number,
        file: file.unwrap_or_default(),
    })
}

/// The program, stopped before it has run.
#[allow(
    clippy::zombie_processes,
    reason = "`trace` waits for it by its number"
)]
fn start<S: AsRef<OsStr>>(program: &OsStr, arguments: &[S], input: File) -> Pid {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "kill -STOP $$; exec \"$@\"", "sh"])
        .arg(program)
        .args(arguments)
        .stdin(input)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Threads are waited for by their group: other tests have children, too.
        .process_group(0);
    let child = command.spawn().expect("the shell starts");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("process ids are small"));
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).expect("the child stops");
    assert_eq!(stopped, WaitStatus::Stopped(pid, Signal::SIGSTOP));
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(pid, options).expect("the child can be traced");
    kill(pid, Signal::SIGCONT).expect("the child goes on");
    pid
}

fn trace(pid: Pid, at: u64, begins: &mut dyn FnMut(Pid)) -> Traced {
    let group = Pid::from_raw(-pid.as_raw());
    let mut calls = 0;
    let mut counting = false;
    // Threads within a system call.
    let mut inside = HashSet::new();
    loop {
        let status = waitpid(group, Some(WaitPidFlag::__WALL)).expect("it can be waited for");
        let thread = status.pid().expect("the status is some thread's");
        let signal = match status {
            WaitStatus::Exited(ended, status) if ended == pid => {
                return Traced::Ended { status, calls };
            }
            WaitStatus::Signaled(ended, signal, _) if ended == pid => match signal {
                Signal::SIGKILL => return Traced::Killed,
                signal => panic!("the program died of {signal}"),
            },
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => continue,
            WaitStatus::PtraceEvent(_, _, event) if event == Event::PTRACE_EVENT_EXEC as i32 => {
                // The stop at the end of execve itself follows.
                counting = true;
                inside.insert(thread);
                None
            }
            WaitStatus::PtraceSyscall(_) if counting => {
                if !inside.remove(&thread) {
                    inside.insert(thread);
                    calls += 1;
                    begins(thread);
                    if calls == at {
                        kill(pid, Signal::SIGKILL).expect("the child can be killed");
                    }
                }
                None
            }
            WaitStatus::Stopped(_, signal) => Some(signal),
            _ => None,
        };
        // It may have been killed in the meantime; the wait tells.
        let _ = ptrace::syscall(thread, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(at: u64) -> Traced {
        let input = File::open("/dev/null").unwrap();
        run_and_kill_at(OsStr::new("/bin/cat"), &["/dev/null"], input, at)
    }

    #[test]
    fn counts_and_kills() {
        let Traced::Ended { status: 0, calls } = run(u64::MAX) else {
            panic!("cat does not end");
        };
        assert!(calls > 5, "{calls}");
        assert_eq!(run(1), Traced::Killed);
        assert_eq!(run(calls), Traced::Killed);
        assert!(matches!(run(calls + 1), Traced::Ended { .. }));
    }

    #[test]
    fn leaves_what_the_program_starts_alone() {
        let input = File::open("/dev/null").unwrap();
        let script = ["-c", "/bin/true; /bin/true"];
        let traced = run_and_kill_at(OsStr::new("/bin/sh"), &script, input, u64::MAX);
        assert!(
            matches!(traced, Traced::Ended { status: 0, .. }),
            "{traced:?}"
        );
    }
}
