//! Running `pasta`.
//!
//! It confines itself once it is set up: namespaces of its own with an empty root directory, a
//! filter of system calls, no new privileges. Run by root for a namespace of root's it keeps
//! `CAP_SYS_ADMIN` inside of that; run by others it has capabilities in the build's user
//! namespace only.
//!
//! One of the few modules with `unsafe`: the death signal must be set between fork and exec.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::pipe::PipeFlags;
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// A running stack, which is killed when this value is dropped.
#[derive(Debug)]
#[must_use]
pub struct RunningNetwork {
    pub(super) child: Child,
}

impl RunningNetwork {
    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for RunningNetwork {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) fn start(program: &Path, pid: u32) -> io::Result<RunningNetwork> {
    let (ready, its_end) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    // Words go to memory: nobody reads along, and a full pipe would stop it.
    let words = rustix::fs::memfd_create(c"pasta", MemfdFlags::CLOEXEC)?;
    let mut words = File::from(words);

    let mut command = Command::new(program);
    command
        .args(["--foreground", "--quiet", "--config-net"])
        // No way to the host's loopback interface, and no ports either way.
        .args([
            "--no-map-gw",
            "-t",
            "none",
            "-u",
            "none",
            "-T",
            "none",
            "-U",
            "none",
        ])
        .args(["--dns-forward", RESOLVER])
        // It is killed with the build; looking for the namespace's path would mislead it.
        .arg("--no-netns-quit")
        // It writes its number there once it is ready.
        .args(["--pid", "/proc/self/fd/1"])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(its_end)
        .stderr(words.try_clone()?);
    name_namespaces(&mut command, pid)?;
    die_with_this_thread(&mut command);
    let mut network = RunningNetwork {
        child: command.spawn()?,
    };
    // The pipe's other end is closed here, so that its death is seen.
    drop(command);
    if wait_until_ready(ready)? {
        return Ok(network);
    }
    let end = match end_of(&mut network.child)? {
        Some(status) => format!("it ended with {status}"),
        None => format!("it isn't ready after {} s", READY_TIME.as_secs()),
    };
    Err(io::Error::other(describe(&end, &mut words)))
}

/// Tells it where to go.
///
/// Root's builds have a network namespace that belongs to the host's user namespace, whether
/// they have entered one of their own by now or not; those of others belong to the build's.
fn name_namespaces(command: &mut Command, pid: u32) -> io::Result<()> {
    let of = |kind: &str| format!("/proc/{pid}/ns/{kind}");
    if rustix::process::geteuid().is_root() {
        // It couldn't open the path: first of all it gives up the capability to look at
        // processes that have more than itself. Its standard input stays.
        command
            .args(["--runas", "0:0", "--netns-only"])
            .args(["--netns", "/proc/self/fd/0"])
            .stdin(File::open(of("net"))?);
    } else {
        command.args(["--userns", &of("user"), "--netns", &of("net")]);
    }
    Ok(())
}

/// Has the kernel kill it when this thread ends, however that comes.
fn die_with_this_thread(command: &mut Command) {
    let own = getpid();
    let arm = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        match getppid() == Some(own) {
            true => Ok(()),
            // Too late: the parent has gone in between.
            false => Err(io::ErrorKind::BrokenPipe.into()),
        }
    };
    // SAFETY: between fork and exec `arm` makes two system calls, allocates nothing and takes no
    // lock.
    unsafe {
        command.pre_exec(arm);
    }
}

/// False if it ends, or time is up.
fn wait_until_ready(ready: OwnedFd) -> io::Result<bool> {
    let deadline = Instant::now() + READY_TIME;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut waited = [PollFd::new(&ready, PollFlags::IN)];
        match poll(&mut waited, Some(&timeout)) {
            Ok(0) => return Ok(false),
            Err(rustix::io::Errno::INTR) => continue,
            done => done?,
        };
        let mut number = [0; 32];
        return Ok(rustix::io::retry_on_intr(|| rustix::io::read(&ready, &mut number))? > 0);
    }
}

/// Its pipe is closed a moment before it has ended.
fn end_of(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + Duration::from_secs(1);
    loop {
        match child.try_wait()? {
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
            end => return Ok(end),
        }
    }
}

fn describe(end: &str, words: &mut File) -> String {
    let mut text = Vec::new();
    let _ = words.rewind();
    let _ = words.take(MAX_WORDS).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text
        .lines()
        // It complains about the missing logger of the system.
        .filter(|line| !line.is_empty() && !line.contains("syslog"))
        .collect();
    match lines.is_empty() {
        true => end.to_owned(),
        false => format!("{end}: {}", lines.join("; ")),
    }
}

/// Where it answers for the host's resolver: a link-local address that nobody routes.
pub(super) const RESOLVER: &str = "169.254.1.1";

const READY_TIME: Duration = Duration::from_secs(10);
const MAX_WORDS: u64 = 4096;
