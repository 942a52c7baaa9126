//! A pipe with a round-trip time.

use std::io::{self, Read, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

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

/// Runs a command at the far end of a link with the given round-trip time;
/// the near end is this process's stdin and stdout.
///
/// # Errors
/// When the command can't be started or waited for.
pub fn relay_command(mut command: Command, round_trip: Duration) -> io::Result<ExitStatus> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let input = child.stdin.take().expect("stdin is piped");
    let output = child.stdout.take().expect("stdout is piped");
    // Not joined: when the command has ended, nobody waits for more input.
    thread::spawn(move || DelayedLink::new(round_trip / 2).carry(io::stdin(), input));
    DelayedLink::new(round_trip / 2).carry(output, io::stdout())?;
    child.wait()
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
