//! Pipes to a server, and the process behind them.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::address::{AddressError, SshAddress, StoreAddress};
use super::remote_log::{LogSink, RemoteLog};
use super::ssh::ssh_command;
use super::{ClientError, RemoteEnd, Result};

/// How to reach a server.
pub struct TransportOptions {
    /// The program to connect with.
    pub ssh_program: OsString,
    /// Options for it, such as those in `NIX_SSHOPTS`.
    pub ssh_options: Vec<String>,
    /// Compress the connection, as the parameter `compress` does.
    pub compress: bool,
    /// Takes the lines of the remote's stderr, made printable, with `[host] ` in front.
    pub log: Box<dyn FnMut(&str) + Send>,
}

impl Default for TransportOptions {
    /// The system's `ssh` without options; the remote's stderr is only used in errors.
    fn default() -> Self {
        Self {
            ssh_program: "ssh".into(),
            ssh_options: Vec::new(),
            compress: false,
            log: Box::new(|_| {}),
        }
    }
}

impl fmt::Debug for TransportOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportOptions")
            .field("ssh_program", &self.ssh_program)
            .field("ssh_options", &self.ssh_options)
            .field("compress", &self.compress)
            .finish_non_exhaustive()
    }
}

/// A pair of streams to a server and, mostly, the process that carries them.
#[derive(Debug)]
pub struct Transport {
    pub(crate) to_server: File,
    pub(crate) from_server: File,
    pub(crate) remote: Remote,
}

impl Transport {
    /// Starts what leads to the server at `address`. Nothing is sent yet.
    ///
    /// # Errors
    /// The address is not that of a server, or its program can't be started.
    pub fn open(address: &StoreAddress, options: TransportOptions) -> Result<Self> {
        match address {
            StoreAddress::Ssh(ssh) => Self::open_ssh(ssh, options),
            StoreAddress::Exec(command) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", command]);
                Self::spawn(shell, address.to_string(), options.log)
            }
            other => Err(AddressError::Unknown(other.to_string()).into()),
        }
    }

    fn open_ssh(address: &SshAddress, options: TransportOptions) -> Result<Self> {
        let command = ssh_command(
            address,
            &options.ssh_program,
            &options.ssh_options,
            options.compress,
        )?;
        Self::spawn(command, address.to_string(), options.log)
    }

    /// Starts `command`, which speaks the protocol on its stdin and stdout.
    ///
    /// # Errors
    /// The program can't be started.
    pub fn spawn(mut command: Command, name: String, mut log: LogSink) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let failed = |source| ClientError::Spawn { program, source };
        let spawned = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => return Err(failed(error)),
        };
        let stdin = child.stdin.take().expect("stdin was asked to be a pipe");
        let stdout = child.stdout.take().expect("stdout was asked to be a pipe");
        let stderr = child.stderr.take().expect("stderr was asked to be a pipe");
        let prefix = name.rsplit('/').next().unwrap_or_default().to_owned();
        let sink = Box::new(move |line: &str| log(&format!("[{prefix}] {line}")));
        let remote_log = RemoteLog::drain(stderr, sink).map_err(failed)?;
        let to_server = OwnedFd::from(stdin);
        let from_server = OwnedFd::from(stdout);
        widen(&to_server);
        widen(&from_server);
        Ok(Self {
            to_server: to_server.into(),
            from_server: from_server.into(),
            remote: Remote {
                name,
                log: remote_log,
                child: Some(Arc::new(Mutex::new(child))),
            },
        })
    }

    /// Ends the process from another thread, so that whoever waits for the server goes on.
    #[must_use]
    pub fn terminator(&self) -> Terminator {
        Terminator(self.remote.child.clone())
    }

    /// A server behind descriptors that exist already, such as a socket's.
    #[must_use]
    pub fn from_descriptors(to_server: OwnedFd, from_server: OwnedFd, name: &str) -> Self {
        Self {
            to_server: to_server.into(),
            from_server: from_server.into(),
            remote: Remote {
                name: name.into(),
                log: RemoteLog::silent(),
                child: None,
            },
        }
    }
}

/// Fewer changes between us and the other process; the kernel may say no.
fn widen(pipe: &OwnedFd) {
    #[cfg(target_os = "linux")]
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE_SIZE);
    #[cfg(not(target_os = "linux"))]
    let _ = pipe;
}

/// A hold on the process of a [`Transport`], to end it.
#[derive(Debug, Clone)]
pub struct Terminator(Option<Arc<Mutex<Child>>>);

impl Terminator {
    /// Asks the process to end. Does nothing if it has, or if there is none.
    pub fn terminate(&self) {
        if let Some(child) = &self.0 {
            let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
            terminate(&mut child);
        }
    }
}

/// The server's name, its process and its last words. Dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Remote {
    name: String,
    log: RemoteLog,
    child: Option<Arc<Mutex<Child>>>,
}

impl Remote {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What there is to know after the server closed its end: waits a little for its reason.
    pub(crate) fn end(&self) -> RemoteEnd {
        let status = self.wait(PATIENCE);
        RemoteEnd {
            status,
            last_words: self.log.last_words(AFTERTHOUGHT),
        }
    }

    /// Asks the process to end, so that neither direction blocks any longer.
    pub(crate) fn terminate(&self) {
        if let Some(mut child) = self.child() {
            terminate(&mut child);
        }
    }

    /// The exit status, or `None` if there is no process or it takes longer than `limit`.
    pub(crate) fn wait(&self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            // The lock is not held while waiting: another thread may want to terminate.
            let end = {
                let mut child = self.child()?;
                if let Ok(Some(status)) = child.try_wait() {
                    return Some(status);
                }
                // Not waited for yet, so the id is still the child's.
                pid_of(&child).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
            };
            let left = deadline.checked_duration_since(Instant::now())?;
            match end {
                Some(end) => await_readable(&end, left),
                None => std::thread::sleep(PAUSE.min(left)),
            }
        }
    }

    fn child(&self) -> Option<MutexGuard<'_, Child>> {
        let child = self.child.as_ref()?;
        Some(child.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // Its input is closed already, so mostly it goes by itself.
        if self.wait(PATIENCE / 4).is_some() {
            return;
        }
        self.terminate();
        if self.wait(PATIENCE).is_none()
            && let Some(mut child) = self.child()
        {
            // It may be gone in this very moment.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A request to end rather than a kill, so that `ssh` and wrappers can pass it on.
fn terminate(child: &mut Child) {
    if !matches!(child.try_wait(), Ok(None)) {
        return;
    }
    if let Some(pid) = pid_of(child) {
        // Not waited for yet, so the id is still the child's.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// Waits until `file` can be read, but no longer than `limit`.
fn await_readable(file: &OwnedFd, limit: Duration) {
    let Ok(limit) = Timespec::try_from(limit) else {
        return;
    };
    // Whatever ends it early: the caller looks again.
    let _ = poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&limit));
}

#[cfg(target_os = "linux")]
const PIPE_SIZE: usize = 1024 * 1024;
/// Between two looks at a process, on a kernel that can't tell when it ends.
const PAUSE: Duration = Duration::from_millis(5);
/// How long a server that has closed its end may take to exit.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long its stderr may stay open after that: a process behind it may hold it for ever.
const AFTERTHOUGHT: Duration = Duration::from_millis(500);
