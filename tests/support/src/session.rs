//! A serving program on pipes.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::bytes::{Message, PathToAdd};
use crate::drv::{RawBuildResult, RawDrv, RawLimits};
use crate::transcript::{Side, Transcript};

/// The first word that a client sends.
pub const CLIENT_MAGIC: u64 = 0x390c_9deb;
/// The first word that a server sends.
pub const SERVER_MAGIC: u64 = 0x5452_eecb;

/// A spawned program that speaks the serve protocol on stdin and stdout.
///
/// Sending never deadlocks: what the program answers meanwhile is taken up
/// and kept. Whatever is expected must come within a minute.
#[derive(Debug)]
pub struct ServeSession {
    child: Child,
    input: Option<File>,
    output: File,
    output_ended: bool,
    pending: Vec<u8>,
    taken: usize,
    stderr: Option<JoinHandle<Vec<u8>>>,
    transcript: Transcript,
    deadline: Duration,
    /// Of the protocol that both sides speak.
    minor: u8,
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    /// The exit status.
    pub status: ExitStatus,
    /// What it wrote on stdout and nobody had read.
    pub stdout: Vec<u8>,
    /// All that it wrote on stderr.
    pub stderr: String,
}

/// What QueryPathInfos says about a path, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawPathInfo {
    /// The full path.
    pub path: String,
    /// The deriver's full path, or the empty string.
    pub deriver: String,
    /// Full paths.
    pub references: BTreeSet<String>,
    /// The size of the archive in bytes.
    pub nar_size: u64,
    /// As sent, normally `sha256:` and nix32.
    pub nar_hash: String,
    /// Rendered content address, or the empty string.
    pub ca: String,
    /// Signatures.
    pub sigs: BTreeSet<String>,
}

impl ServeSession {
    /// Starts the program; nothing is sent yet.
    ///
    /// # Panics
    /// If it can't be started.
    pub fn spawn(command: Command) -> Self {
        let (mut session, mut stderr) = Self::spawn_unheard(command);
        session.stderr = Some(std::thread::spawn(move || {
            let mut text = Vec::new();
            // A read error ends the text; what came before it is kept.
            let _ = stderr.read_to_end(&mut text);
            text
        }));
        session
    }

    /// Starts the program, and gives its stderr, which nobody reads.
    ///
    /// # Panics
    /// If it can't be started.
    pub fn spawn_unheard(mut command: Command) -> (Self, ChildStderr) {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let input = File::from(OwnedFd::from(child.stdin.take().expect("stdin is piped")));
        let output = File::from(OwnedFd::from(child.stdout.take().expect("stdout is piped")));
        for pipe in [&input, &output] {
            let flags = fcntl_getfl(pipe).expect("a pipe has flags");
            fcntl_setfl(pipe, flags | OFlags::NONBLOCK).expect("a pipe can be non-blocking");
        }
        let stderr = child.stderr.take().expect("stderr is piped");
        let session = Self {
            child,
            input: Some(input),
            output,
            output_ended: false,
            pending: Vec::new(),
            taken: 0,
            stderr: None,
            transcript: Transcript::default(),
            deadline: Duration::from_secs(60),
            minor: 7,
        };
        (session, stderr)
    }

    /// Starts the program and shakes hands as a client of protocol 2.`minor`.
    ///
    /// # Panics
    /// If it doesn't answer as a server.
    pub fn open(command: Command, minor: u8) -> Self {
        let mut session = Self::spawn(command);
        session.handshake(minor);
        session
    }

    /// Shakes hands as a client of protocol 2.`minor`, and gives the version
    /// word of the server.
    ///
    /// # Panics
    /// If the server's magic is wrong.
    pub fn handshake(&mut self, minor: u8) -> u64 {
        self.greet(0x200 | u64::from(minor))
    }

    /// Shakes hands with this version word, flags and all, and gives the server's.
    ///
    /// # Panics
    /// If the server's magic is wrong.
    pub fn greet(&mut self, word: u64) -> u64 {
        self.send(&Message::new().u64(CLIENT_MAGIC).u64(word));
        let magic = self.read_u64();
        assert_eq!(magic, SERVER_MAGIC, "the server's magic");
        let version = self.read_u64();
        self.minor = (word & 0xff).min(version & 0xff) as u8;
        version
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How long an answer may take before the test fails; a minute at first.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Sends a message whole.
    ///
    /// # Panics
    /// If the program no longer reads.
    pub fn send(&mut self, message: &Message) {
        self.send_bytes(message.as_bytes());
    }

    /// Sends bytes whole.
    ///
    /// # Panics
    /// If the program no longer reads.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        if let Err(error) = self.try_send(bytes) {
            self.fail(&format!("cannot send {} bytes: {error}", bytes.len()));
        }
    }

    /// Sends bytes whole, or says why not: the program may have ended.
    ///
    /// # Errors
    /// When the pipe is closed.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.transcript.record(Side::Client, bytes);
        let mut rest = bytes;
        let deadline = Instant::now() + self.deadline;
        while !rest.is_empty() {
            let Some(input) = &self.input else {
                return Err(io::ErrorKind::BrokenPipe.into());
            };
            match (&*input).write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !self.wait(true, deadline)? {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    self.fill()?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads exactly as many bytes as `expected` has and compares them.
    ///
    /// # Panics
    /// If they differ or don't come.
    pub fn expect(&mut self, expected: &Message) {
        let got = self.read_exact(expected.as_bytes().len());
        if got != expected.as_bytes() {
            let (mut left, mut right) = (Transcript::default(), Transcript::default());
            left.record(Side::Server, expected.as_bytes());
            right.record(Side::Server, &got);
            self.fail(&format!(
                "expected\n{}got\n{}",
                left.render(),
                right.render()
            ));
        }
    }

    /// Reads exactly `count` bytes.
    ///
    /// # Panics
    /// If they don't come.
    pub fn read_exact(&mut self, count: usize) -> Vec<u8> {
        let deadline = Instant::now() + self.deadline;
        while self.pending.len() - self.taken < count {
            if self.output_ended {
                let got = self.pending.len() - self.taken;
                self.fail(&format!(
                    "wanted {count} bytes, the output ended after {got}"
                ));
            }
            self.advance(deadline);
        }
        let bytes = self.pending[self.taken..self.taken + count].to_vec();
        self.taken += count;
        if self.taken == self.pending.len() || self.taken > 1 << 20 {
            self.pending.drain(..self.taken);
            self.taken = 0;
        }
        self.transcript.record(Side::Server, &bytes);
        bytes
    }

    /// Reads a number.
    pub fn read_u64(&mut self) -> u64 {
        u64::from_le_bytes(
            self.read_exact(8)
                .try_into()
                .expect("eight bytes were read"),
        )
    }

    /// Reads a string.
    ///
    /// # Panics
    /// If its padding isn't zero.
    pub fn read_bytes(&mut self) -> Vec<u8> {
        let length = usize::try_from(self.read_u64()).expect("a length fits");
        assert!(length < 1 << 30, "a string of {length} bytes");
        let mut bytes = self.read_exact(length.next_multiple_of(8));
        assert!(
            bytes[length..].iter().all(|&byte| byte == 0),
            "padding is zero"
        );
        bytes.truncate(length);
        bytes
    }

    /// Reads a string that is UTF-8.
    pub fn read_string(&mut self) -> String {
        String::from_utf8(self.read_bytes()).expect("the string is UTF-8")
    }

    /// Reads a list or set of strings, in the order sent.
    pub fn read_strings(&mut self) -> Vec<String> {
        (0..self.read_u64()).map(|_| self.read_string()).collect()
    }

    /// Whether the output has ended, with nothing left to read. Waits for
    /// either data or the end.
    pub fn at_end(&mut self) -> bool {
        let deadline = Instant::now() + self.deadline;
        while self.taken == self.pending.len() && !self.output_ended {
            self.advance(deadline);
        }
        self.taken == self.pending.len()
    }

    /// Whether an answer is there already; never waits.
    pub fn has_output(&mut self) -> bool {
        self.fill().expect("the output can be read");
        self.taken < self.pending.len()
    }

    /// Asks which paths are valid.
    pub fn query_valid_paths<T: AsRef<[u8]>>(
        &mut self,
        lock: bool,
        substitute: bool,
        paths: impl IntoIterator<Item = T>,
    ) -> BTreeSet<String> {
        self.send(&Message::query_valid_paths(lock, substitute, paths));
        self.read_strings().into_iter().collect()
    }

    /// Asks for the closure of paths.
    pub fn query_closure<T: AsRef<[u8]>>(
        &mut self,
        include_outputs: bool,
        paths: impl IntoIterator<Item = T>,
    ) -> BTreeSet<String> {
        self.send(&Message::query_closure(include_outputs, paths));
        self.read_strings().into_iter().collect()
    }

    /// Asks for what is known of paths, as a client of 2.4 or later.
    pub fn query_path_infos<T: AsRef<[u8]>>(
        &mut self,
        paths: impl IntoIterator<Item = T>,
    ) -> Vec<RawPathInfo> {
        self.send(&Message::query_path_infos(paths));
        let mut infos = Vec::new();
        loop {
            let path = self.read_string();
            if path.is_empty() {
                return infos;
            }
            let deriver = self.read_string();
            let references = self.read_strings().into_iter().collect();
            let _download_size = self.read_u64();
            infos.push(RawPathInfo {
                path,
                deriver,
                references,
                nar_size: self.read_u64(),
                nar_hash: self.read_string(),
                ca: self.read_string(),
                sigs: self.read_strings().into_iter().collect(),
            });
        }
    }

    /// Adds a path and waits for the acknowledgement.
    pub fn add(&mut self, path: &PathToAdd) {
        self.send(&path.request());
        assert_eq!(self.read_u64(), 1, "acknowledgement of '{}'", path.path);
    }

    /// Has a derivation built.
    pub fn build(&mut self, drv_path: &str, drv: &RawDrv, limits: &RawLimits) -> RawBuildResult {
        self.send(&drv.request(drv_path, limits, self.minor));
        self.read_build_result()
    }

    /// Reads the answer to BuildDerivation, as a client of 2.3 or later.
    pub fn read_build_result(&mut self) -> RawBuildResult {
        let status = self.read_u64();
        let error = String::from_utf8_lossy(&self.read_bytes()).into_owned();
        let times_built = self.read_u64();
        let _is_non_deterministic = self.read_u64();
        RawBuildResult {
            status,
            error,
            times_built,
            times: (self.read_u64(), self.read_u64()),
            built_outputs: (0..if self.minor < 6 { 0 } else { self.read_u64() })
                .map(|_| (self.read_string(), self.read_string()))
                .collect(),
        }
    }

    /// Has paths built; the status, and the message that comes unless it is 0.
    pub fn build_paths<T: AsRef<[u8]>>(
        &mut self,
        paths: impl IntoIterator<Item = T>,
        limits: &RawLimits,
    ) -> (u64, String) {
        self.send(&limits.build_paths(paths, self.minor));
        match self.read_u64() {
            0 => (0, String::new()),
            status => (
                status,
                String::from_utf8_lossy(&self.read_bytes()).into_owned(),
            ),
        }
    }

    /// Goes away as a killed client does: stdin and stdout are closed at once, unread.
    ///
    /// # Panics
    /// If there is no null device.
    pub fn abandon(&mut self) {
        self.input = None;
        self.output = File::open("/dev/null").expect("the null device can be opened");
        self.output_ended = true;
    }

    /// The exit status, if the program has ended.
    ///
    /// # Panics
    /// If it can't be asked for.
    pub fn try_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our child can be waited for")
    }

    /// What went over the pipes so far; input of snapshots.
    pub fn transcript(&self) -> String {
        self.transcript.render()
    }

    /// Closes the program's stdin.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Kills the program with SIGKILL and waits for its end.
    pub fn kill(mut self) -> Ended {
        self.child.kill().expect("our child can be killed");
        self.end()
    }

    /// Closes stdin and waits for the end.
    pub fn finish(mut self) -> Ended {
        self.end()
    }

    /// Closes stdin, waits for the end and demands that it was clean.
    ///
    /// # Panics
    /// If the exit status isn't 0 or output was left over.
    pub fn finish_ok(self) -> Ended {
        let ended = self.finish();
        assert!(ended.status.success(), "{}: {}", ended.status, ended.stderr);
        assert_eq!(ended.stdout, b"", "output that nobody asked for");
        ended
    }

    fn end(&mut self) -> Ended {
        self.input = None;
        let deadline = Instant::now() + self.deadline;
        while !self.output_ended {
            self.advance(deadline);
        }
        let status = self.child.wait().expect("our child can be waited for");
        Ended {
            status,
            stdout: self.pending.split_off(self.taken),
            stderr: self.take_stderr(),
        }
    }

    fn take_stderr(&mut self) -> String {
        let bytes = self.stderr.take().and_then(|thread| thread.join().ok());
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    }

    /// Waits for output and takes it up.
    fn advance(&mut self, deadline: Instant) {
        match self.wait(false, deadline) {
            Ok(true) => self.fill().expect("the output can be read"),
            Ok(false) => self.fail("no answer in time"),
            Err(error) => self.fail(&format!("cannot poll: {error}")),
        }
    }

    /// Takes up the output that is there.
    fn fill(&mut self) -> io::Result<()> {
        let mut block = vec![0_u8; 64 << 10];
        while !self.output_ended {
            match self.output.read(&mut block) {
                Ok(0) => self.output_ended = true,
                Ok(count) => self.pending.extend_from_slice(&block[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until the output, or with `sending` the input, is ready.
    fn wait(&self, sending: bool, deadline: Instant) -> io::Result<bool> {
        let mut fds = Vec::with_capacity(2);
        if !self.output_ended {
            fds.push(PollFd::from_borrowed_fd(self.output.as_fd(), PollFlags::IN));
        }
        if let Some(input) = self.input.as_ref().filter(|_| sending) {
            fds.push(PollFd::from_borrowed_fd(input.as_fd(), PollFlags::OUT));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = rustix::time::Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Fails the test with what the program said on stderr.
    fn fail(&mut self, why: &str) -> ! {
        // The child may live on, with stderr open: it has to go first.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let stderr = self.take_stderr();
        panic!("{why}\nthe program's stderr: {stderr}");
    }
}

impl Drop for ServeSession {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
