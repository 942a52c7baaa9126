//! The client's half of a serve session, with the requests that are measured.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};

/// A server after the handshake.
pub(super) struct Session {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
}

/// A request as bytes.
#[derive(Default)]
pub(super) struct Request(Vec<u8>);

impl Session {
    /// Starts a server and shakes hands.
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context("cannot start the server")?;
        let mut to = child.stdin.take().context("no pipe to the server")?;
        let mut from = child.stdout.take().context("no pipe from the server")?;
        let mut hello = Request::default();
        hello.number(CLIENT_MAGIC).number(VERSION);
        to.write_all(&hello.0).context("handshake")?;
        let mut answer = [0; 16];
        from.read_exact(&mut answer).context("handshake")?;
        if answer[..8] != SERVER_MAGIC.to_le_bytes() {
            bail!("the server answers {answer:02x?}");
        }
        Ok(Self { child, to, from })
    }

    /// Sends one request and the end of the session; returns the first word of the answer and
    /// how long the answer is, in bytes.
    pub(super) fn ask(self, request: &Request) -> Result<(u64, u64)> {
        let Self {
            child,
            mut to,
            mut from,
        } = self;
        // A server may answer before it has read everything.
        let (first, length) = std::thread::scope(|scope| {
            let sent = scope.spawn(move || to.write_all(&request.0));
            let mut first = [0; 8];
            from.read_exact(&mut first).context("answer")?;
            let rest = std::io::copy(&mut from, &mut std::io::sink()).context("answer")?;
            match sent.join() {
                Ok(sent) => sent.context("request")?,
                Err(_) => bail!("the writer panicked"),
            }
            Ok((u64::from_le_bytes(first), 8 + rest))
        })?;
        wait(child)?;
        Ok((first, length))
    }

    /// Hangs up and waits for the server's end.
    pub(super) fn finish(self) -> Result<()> {
        let Self { child, to, from } = self;
        drop(to);
        drop(from);
        wait(child)
    }
}

impl Request {
    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    /// A set of texts, which are in order.
    pub(super) fn texts<'a>(&mut self, texts: impl ExactSizeIterator<Item = &'a str>) -> &mut Self {
        self.number(texts.len() as u64);
        for text in texts {
            self.number(text.len() as u64);
            self.0.extend(text.as_bytes());
            self.0.resize(self.0.len().next_multiple_of(8), 0);
        }
        self
    }
}

fn wait(mut child: Child) -> Result<()> {
    let status = child.wait()?;
    if !status.success() {
        bail!("the server ended with {status}");
    }
    Ok(())
}

const CLIENT_MAGIC: u64 = 0x390c_9deb;
const SERVER_MAGIC: u64 = 0x5452_eecb;
const VERSION: u64 = 0x207;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_padded() {
        let mut request = Request::default();
        request.number(1).texts(["abc", ""].into_iter());
        assert_eq!(
            request.0,
            *b"\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0abc\0\0\0\0\0\0\0\0\0\0\0\0\0"
        );
    }
}
