//! A pipe with a round-trip time.

use std::fs::File;
use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

/// One direction of a slow link: what goes in comes out after `delay`, at
/// full rate. Any amount may be on its way.
#[derive(Debug)]
pub struct DelayedLink {
    delay: Duration,
}

impl DelayedLink {
    /// A link that takes `delay` from one end to the other.
    pub fn new(delay: Duration) -> Self {
        Self { delay }
    }

    /// Carries everything until the reader ends, then drops the writer, so
    /// that the end arrives late as well. The end of the writer stops it.
    ///
    /// # Errors
    /// When reading fails, or writing for another reason than a closed pipe.
    pub fn carry(&self, mut from: impl Read + Send, mut to: impl Write + Send) -> io::Result<()> {
        let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
        thread::scope(|scope| {
            let writer = scope.spawn(move || -> io::Result<()> {
                for (due, bytes) in receiver {
                    // The delay is what this exists for.
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    to.write_all(&bytes)?;
                    to.flush()?;
                }
                Ok(())
            });
            let mut block = vec![0_u8; 64 << 10];
            loop {
                let count = match from.read(&mut block) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    other => other?,
                };
                // The empty block of the end travels like any other.
                let sent = sender.send((Instant::now() + self.delay, block[..count].to_vec()));
                if count == 0 || sent.is_err() {
                    break;
                }
            }
            drop(sender);
            match writer.join().expect("the writer doesn't panic") {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                other => other,
            }
        })
    }
}

/// A serving program at the far end of a slow link, for one client.
///
/// The near end is a pair of named pipes, which a shell command joins to its
/// stdin and stdout.
#[derive(Debug)]
pub struct DistantServer {
    pipes: TempDir,
    threads: Vec<JoinHandle<io::Result<()>>>,
    child: Child,
}

impl DistantServer {
    /// Starts the program behind a link with the given round-trip time.
    ///
    /// # Panics
    /// If the program can't be started, or the pipes made.
    pub fn start(mut command: Command, round_trip: Duration) -> Self {
        let pipes = tempfile::tempdir().expect("a temporary directory can be made");
        for name in ["to", "from"] {
            let mode = Mode::RUSR | Mode::WUSR;
            mknodat(CWD, pipes.path().join(name), FileType::Fifo, mode, 0)
                .expect("a named pipe can be made");
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let input = child.stdin.take().expect("stdin is piped");
        let output = child.stdout.take().expect("stdout is piped");
        let [to, from] = ["to", "from"].map(|name| pipes.path().join(name));
        let link = || DelayedLink::new(round_trip / 2);
        let (there, back) = (link(), link());
        // Opening waits for the other end, so each has a thread.
        let threads = vec![
            thread::spawn(move || there.carry(File::open(to)?, input)),
            thread::spawn(move || back.carry(output, File::create(from)?)),
        ];
        Self {
            pipes,
            threads,
            child,
        }
    }

    /// The shell command that a client runs to reach the server.
    pub fn command(&self) -> String {
        let place = self.pipes.path().display();
        format!("cat {place}/from & exec cat > {place}/to")
    }

    /// Waits for the end of the server, whose client has gone.
    ///
    /// # Panics
    /// If the link or the server failed.
    pub fn finish(mut self) {
        let status = self.child.wait().expect("our child can be waited for");
        assert!(status.success(), "the distant server: {status}");
        for thread in self.threads.drain(..) {
            let carried = thread.join().expect("a carrier doesn't panic");
            carried.expect("the link carries everything");
        }
    }
}

impl Drop for DistantServer {
    fn drop(&mut self) {
        // It may have ended, or may be waiting for a client that never came.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_arrives_in_order_and_not_early() {
        let delay = Duration::from_millis(30);
        let sent: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut arrived = Vec::new();
        let start = Instant::now();
        DelayedLink::new(delay)
            .carry(sent.as_slice(), &mut arrived)
            .expect("no I/O error");
        assert!(start.elapsed() >= delay);
        assert_eq!(arrived, sent);
    }
}
