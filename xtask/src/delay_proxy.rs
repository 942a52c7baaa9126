//! `xtask delay-proxy RTT_MS COMMAND ARG…`: a long link in front of a command.
//!
//! Bytes arrive half a round trip after they were sent, in each direction, the end of the
//! stream too. Throughput is not limited: as many bytes are under way as a fast long link holds.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::args::Args;

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<()> {
    let [millis, program, rest @ ..] = args.values() else {
        bail!("wants RTT_MS COMMAND ARG…");
    };
    let millis: f64 = millis
        .to_str()
        .and_then(|text| text.parse().ok())
        .context("the round-trip time is a number of milliseconds")?;
    let half = Duration::try_from_secs_f64(millis / 2000.0)
        .context("the round-trip time is a number of milliseconds")?;
    let mut child = Command::new(program)
        .args(rest)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start '{}'", program.to_string_lossy()))?;
    let to_child = child.stdin.take().context("no pipe to the command")?;
    let from_child = child.stdout.take().context("no pipe from the command")?;
    // Nobody waits for this direction: the command may end while our input is still open.
    let input = own_handle(std::io::stdin())?;
    thread::spawn(move || forward(input, to_child, half));
    // A peer that hangs up ends this direction, and then the command sees it.
    let output = own_handle(std::io::stdout())?;
    let _ = forward(from_child, output, half);
    let status = child.wait()?;
    if !status.success() {
        bail!("the command behind the link ended with {status}");
    }
    Ok(())
}

/// A block of bytes and when it is due at the other end.
type Parcel = (Instant, Vec<u8>);

/// Copies until the end of `from`, each block no earlier than `delay` after it was read.
fn forward(mut from: impl Read + Send, mut to: impl Write, delay: Duration) -> std::io::Result<()> {
    let (send, receive) = mpsc::sync_channel::<Parcel>(PARCELS);
    thread::scope(|scope| {
        scope.spawn(move || read_parcels(&mut from, &send, delay));
        for (due, bytes) in receive {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            to.write_all(&bytes)?;
            to.flush()?;
        }
        Ok(())
    })
}

fn read_parcels(from: &mut impl Read, send: &mpsc::SyncSender<Parcel>, delay: Duration) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        // A broken pipe ends the stream like its end.
        let n = from.read(&mut buffer).unwrap_or(0);
        let parcel = (Instant::now() + delay, buffer[..n].to_vec());
        // The empty parcel at the end delays the end of the stream as well.
        if send.send(parcel).is_err() || n == 0 {
            return;
        }
    }
}

fn own_handle(fd: impl AsFd) -> Result<File> {
    Ok(File::from(fd.as_fd().try_clone_to_owned()?))
}

/// Most blocks under way in one direction.
const PARCELS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_in_order_after_the_delay_and_not_one_by_one() {
        let data: Vec<u8> = (0..10_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut out = Vec::new();
        let start = Instant::now();
        forward(data.as_slice(), &mut out, Duration::from_millis(50)).unwrap();
        let took = start.elapsed();
        assert_eq!(out, data);
        assert!(took >= Duration::from_millis(50));
        // 153 blocks one after the other would take 7 s.
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
}
