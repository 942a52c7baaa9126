//! Running a hook: its descriptors, its output, its end.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::cancel::Cancel;

use super::HookError;
use super::descriptors::close_others;

/// Where a hook's standard output goes.
pub(super) enum Output<'a> {
    /// Into the log, like its standard error.
    Log,
    /// Here, up to [`ANSWER_LIMIT`] bytes.
    Answer(&'a mut Vec<u8>),
}

/// Runs `command`, whose program, arguments, environment and user are set, to its end. Its
/// lines go to `log`, without the newline.
///
/// A process that the hook leaves behind isn't waited for.
pub(super) fn run(
    mut command: Command,
    mut output: Output<'_>,
    cancel: &Cancel,
    log: &mut dyn FnMut(&[u8]),
) -> Result<(), HookError> {
    let program = PathBuf::from(command.get_program());
    let start = |source| HookError::Start {
        program: program.clone(),
        source,
    };
    let (log_end, log_writer) = pipe().map_err(start)?;
    let mut log_stream = Stream::new(log_end);
    let mut answer_stream = None;
    let answer_writer = match output {
        Output::Log => log_writer.try_clone().map_err(start)?,
        Output::Answer(_) => {
            let (reader, writer) = pipe().map_err(start)?;
            answer_stream = Some(Stream::new(reader));
            writer
        }
    };
    command
        .stdin(Stdio::null())
        .stdout(answer_writer)
        .stderr(log_writer)
        .process_group(0);
    close_others(&mut command);
    let child = command.spawn().map_err(start)?;
    // It holds our copies of the writers.
    drop(command);
    let mut running = Running::new(child).map_err(start)?;

    let failed = |source| HookError::Run {
        program: program.clone(),
        source,
    };
    loop {
        let ready = wait_for(&running, &log_stream, answer_stream.as_ref(), cancel);
        let ready = ready.map_err(failed)?;
        if ready.cancelled {
            running.end().map_err(failed)?;
            return Err(HookError::Cancelled { program });
        }
        log_stream.read_lines(log).map_err(failed)?;
        if let (Some(stream), Output::Answer(answer)) = (&mut answer_stream, &mut output) {
            stream.read_into(answer).map_err(failed)?;
            if answer.len() > ANSWER_LIMIT {
                running.end().map_err(failed)?;
                return Err(HookError::TooMuch {
                    program,
                    limit: ANSWER_LIMIT,
                });
            }
        }
        // What it wrote before its end has been read just now.
        if ready.ended {
            break;
        }
    }
    log_stream.last_line(log);
    let status = running.wait().map_err(failed)?;
    match status.success() {
        true => Ok(()),
        false => Err(HookError::Failed { program, status }),
    }
}

/// A command for `program` with nothing in its environment but `environment`.
pub(super) fn command<'a>(
    program: &Path,
    environment: impl IntoIterator<Item = (&'a std::ffi::OsString, &'a std::ffi::OsString)>,
) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(environment);
    command
}

/// How a program ended, in Nix's words.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("failed with exit code {code}"),
        (None, Some(signal)) => format!("failed due to signal {signal}"),
        (None, None) => "died abnormally".to_owned(),
    }
}

/// A child that is gone when this is dropped.
struct Running {
    child: Child,
    ended: OwnedFd,
}

impl Running {
    fn new(mut child: Child) -> io::Result<Self> {
        match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(ended) => Ok(Self { child, ended }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error.into())
            }
        }
    }

    /// Asks it to end, and makes it after a moment.
    fn end(&mut self) -> io::Result<()> {
        let group = Pid::from_child(&self.child);
        // It may have ended just now, which is as well.
        let _ = kill_process_group(group, Signal::TERM);
        let grace = Timespec::try_from(GRACE).map_err(io::Error::other)?;
        retry(|| poll(&mut [PollFd::new(&self.ended, PollFlags::IN)], Some(&grace)))?;
        let _ = kill_process_group(group, Signal::KILL);
        self.child.wait()?;
        Ok(())
    }

    fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

struct Ready {
    ended: bool,
    cancelled: bool,
}

fn wait_for(
    running: &Running,
    log: &Stream,
    answer: Option<&Stream>,
    cancel: &Cancel,
) -> io::Result<Ready> {
    let mut fds = vec![
        PollFd::new(&running.ended, PollFlags::IN),
        PollFd::new(cancel, PollFlags::IN),
    ];
    for stream in [Some(log), answer].into_iter().flatten() {
        // One that has ended would be ready for ever.
        if !stream.at_end {
            fds.push(PollFd::new(stream, PollFlags::IN));
        }
    }
    retry(|| poll(&mut fds, None))?;
    Ok(Ready {
        ended: !fds[0].revents().is_empty(),
        cancelled: !fds[1].revents().is_empty(),
    })
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

/// The reading end of a pipe, which never blocks.
struct Stream {
    file: File,
    line: Vec<u8>,
    at_end: bool,
}

impl Stream {
    fn new(reader: OwnedFd) -> Self {
        Self {
            file: reader.into(),
            line: Vec::new(),
            at_end: false,
        }
    }

    /// Reads what is there and passes whole lines on.
    fn read_lines(&mut self, log: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let mut line = std::mem::take(&mut self.line);
        let result = self.read_blocks(|block| {
            for piece in block.split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(piece);
                if line.last() == Some(&b'\n') {
                    line.pop();
                } else if line.len() < LINE_LIMIT {
                    continue;
                }
                log(&line);
                line.clear();
            }
            true
        });
        self.line = line;
        result
    }

    /// Passes on what came after the last newline.
    fn last_line(&mut self, log: &mut dyn FnMut(&[u8])) {
        if !self.line.is_empty() {
            log(&self.line);
            self.line.clear();
        }
    }

    /// Reads what is there, and little more than the limit.
    fn read_into(&mut self, answer: &mut Vec<u8>) -> io::Result<()> {
        self.read_blocks(|block| {
            answer.extend_from_slice(block);
            answer.len() <= ANSWER_LIMIT
        })
    }

    fn read_blocks(&mut self, mut each: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
        let mut block = [0; 16 * 1024];
        // A hook that writes faster than we read must not keep us here: there are others
        // to be looked at.
        for _ in 0..BLOCKS_AT_A_TIME {
            match self.file.read(&mut block) {
                Ok(0) => {
                    self.at_end = true;
                    break;
                }
                Ok(count) => {
                    if !each(&block[..count]) {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&reader, fcntl_getfl(&reader)? | OFlags::NONBLOCK)?;
    Ok((reader, writer))
}

/// More than any answer of a hook is long.
pub(super) const ANSWER_LIMIT: usize = 1 << 20;

/// Longer lines are cut.
const LINE_LIMIT: usize = 64 * 1024;

/// A full pipe is four of them.
const BLOCKS_AT_A_TIME: usize = 8;

/// What a hook gets to clean up.
const GRACE: Duration = Duration::from_secs(2);
