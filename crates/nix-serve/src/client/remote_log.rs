//! The remote's stderr: drained all the time, passed on line by line, and remembered a
//! little, since a server that refuses something says why only there.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::text::{plain, printable};

/// Takes the lines of a remote's stderr, made printable and without line break.
pub(crate) type LogSink = Box<dyn FnMut(&str) + Send>;

/// The last lines of a remote.
#[derive(Debug, Clone, Default)]
pub(crate) struct RemoteLog {
    shared: Arc<(Mutex<Tail>, Condvar)>,
}

#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<String>,
    ended: bool,
}

impl RemoteLog {
    /// The log of a server without stderr.
    pub(crate) fn silent() -> Self {
        let log = Self::default();
        log.lock().ended = true;
        log
    }

    /// Drains `stderr` into `sink` on a thread of its own, which ends with the stream.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn drain(stderr: impl Read + Send + 'static, mut sink: LogSink) -> io::Result<Self> {
        let log = Self::default();
        let shared = log.clone();
        std::thread::Builder::new()
            .name("remote-stderr".into())
            .spawn(move || {
                for_each_line(BufReader::new(stderr), |line| {
                    sink(&printable(line));
                    shared.remember(plain(line));
                });
                shared.lock().ended = true;
                shared.shared.1.notify_all();
            })?;
        Ok(log)
    }

    /// The line that looks most like a reason, once the stream has ended or `patience` is over.
    pub(crate) fn last_words(&self, patience: Duration) -> Option<String> {
        let waited = self
            .shared
            .1
            .wait_timeout_while(self.lock(), patience, |tail| !tail.ended);
        let (tail, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let lines = || tail.lines.iter().rev();
        lines()
            .find(|line| line.starts_with("error:"))
            .or_else(|| lines().next())
            .cloned()
    }

    fn remember(&self, line: String) {
        if line.trim().is_empty() {
            return;
        }
        let mut tail = self.lock();
        if tail.lines.len() == KEPT_LINES {
            tail.lines.pop_front();
        }
        tail.lines
            .push_back(line.chars().take(KEPT_CHARS).collect());
    }

    fn lock(&self) -> MutexGuard<'_, Tail> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls `each` with every line; one that is longer than a line may be comes in pieces.
fn for_each_line(mut stream: impl BufRead, mut each: impl FnMut(&[u8])) {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut stream).take(MAX_LINE).read_until(b'\n', &mut line);
        match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
            Ok(_) => each(line.strip_suffix(b"\n").unwrap_or(&line)),
        }
    }
}

const MAX_LINE: u64 = 64 * 1024;
const KEPT_LINES: usize = 20;
const KEPT_CHARS: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(stderr: &'static [u8]) -> (Vec<String>, Option<String>) {
        let (sender, receiver) = std::sync::mpsc::channel();
        let sink = Box::new(move |line: &str| sender.send(line.to_owned()).unwrap());
        let log = RemoteLog::drain(stderr, sink).unwrap();
        let words = log.last_words(Duration::from_secs(10));
        (receiver.into_iter().collect(), words)
    }

    #[test]
    fn lines_are_passed_on_harmless_and_the_reason_is_remembered() {
        let (lines, words) =
            drained(b"warning: x\n\x1b[31;1merror:\x1b[0m no\x07 space\ngoodbye\n\n");
        assert_eq!(
            lines,
            [
                "warning: x",
                "\\u{1b}[31;1merror:\\u{1b}[0m no\\u{7} space",
                "goodbye",
                ""
            ]
        );
        assert_eq!(words.as_deref(), Some("error: no\\u{7} space"));
    }

    #[test]
    fn without_an_error_the_last_line_counts() {
        let (_, words) = drained(b"bash: nix-store: command not found");
        assert_eq!(words.as_deref(), Some("bash: nix-store: command not found"));
        assert_eq!(drained(b"").1, None);
    }

    #[test]
    fn a_line_without_end_comes_in_pieces() {
        let endless: &'static [u8] = vec![b'x'; 200_000].leak();
        let (lines, words) = drained(endless);
        assert_eq!(lines.len(), 4);
        assert_eq!(words.map(|w| w.len()), Some(KEPT_CHARS));
    }
}
