//! How fast archives are scanned for references, beside `memcpy` of the same data.
//!
//! ```text
//! cargo run --profile profiling -p nix-nar --example refscan [MIB]
//! ```

use std::hint::black_box;
use std::io::{self, Write};
use std::time::Duration;

use nix_base::StorePathHash;
use nix_nar::RefScanSink;
use rustix::time::{ClockId, clock_gettime};

fn main() -> io::Result<()> {
    let mib = std::env::args().nth(1).and_then(|arg| arg.parse().ok());
    let len = mib.unwrap_or(1024) << 20;
    let mut out = io::stdout().lock();
    for (kind, data) in [
        ("binary", binary(len)),
        ("text", text(len)),
        ("digits", digits(len)),
    ] {
        let copy = copy_time(&data);
        writeln!(out, "{kind}: memcpy {:.2} GB/s", speed(len, copy))?;
        for count in [50, 500, 5000] {
            let scan = scan_time(&data, count)?;
            let (speed, share) = (speed(len, scan), copy.as_secs_f64() / scan.as_secs_f64());
            writeln!(
                out,
                "  {count} candidates: {speed:.2} GB/s, {share:.2} of memcpy"
            )?;
        }
    }
    Ok(())
}

/// What this thread has had of the processor, whatever else runs on the machine.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(now).unwrap_or_default()
}

/// The best of some runs.
fn best(mut run: impl FnMut() -> io::Result<Duration>) -> io::Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..9 {
        best = best.min(run()?);
    }
    Ok(best)
}

fn copy_time(data: &[u8]) -> Duration {
    let mut target = vec![1; data.len()];
    let timed = best(|| {
        let start = cpu_time();
        target.copy_from_slice(black_box(data));
        black_box(&mut target);
        Ok(cpu_time() - start)
    });
    timed.unwrap_or(Duration::MAX)
}

fn scan_time(data: &[u8], count: u32) -> io::Result<Duration> {
    best(|| {
        let start = cpu_time();
        let mut sink = RefScanSink::new(hashes(count));
        // As it comes from the disk: in pieces.
        for piece in data.chunks(128 * 1024) {
            sink.write_all(black_box(piece))?;
        }
        black_box(sink.finish());
        Ok(cpu_time() - start)
    })
}

fn speed(len: usize, time: Duration) -> f64 {
    len as f64 / time.as_secs_f64() / 1e9
}

fn hashes(count: u32) -> Vec<StorePathHash> {
    let mut random = Random(7);
    let digest = |_| std::array::from_fn(|_| random.byte());
    (0..count)
        .map(digest)
        .map(StorePathHash::from_digest)
        .collect()
}

fn binary(len: usize) -> Vec<u8> {
    let mut random = Random(1);
    (0..len).map(|_| random.byte()).collect()
}

/// Words of English letters by their frequency, and a path of a store in each line.
fn text(len: usize) -> Vec<u8> {
    let letters = b"eeeeeeeeeeeetttttttttaaaaaaaaoooooooiiiiiiinnnnnnnsssssshhhhhhrrrrrrddddlllcccuuummmwwffggyyppbvk";
    let mut random = Random(2);
    let mut text = Vec::with_capacity(len + 100);
    while text.len() < len {
        for _ in 0..12 {
            for _ in 0..2 + random.byte() % 9 {
                text.push(letters[usize::from(random.byte()) % letters.len()]);
            }
            text.push(b' ');
        }
        let digest = std::array::from_fn(|_| random.byte());
        let path = StorePathHash::from_digest(digest);
        text.extend_from_slice(format!("/nix/store/{path}-lib\n").as_bytes());
    }
    text.truncate(len);
    text
}

/// Nothing but digits of hashes: the worst case of scanners that skip by other bytes.
fn digits(len: usize) -> Vec<u8> {
    let alphabet = b"0123456789abcdfghijklmnpqrsvwxyz";
    let mut random = Random(3);
    (0..len)
        .map(|_| alphabet[usize::from(random.byte()) % 32])
        .collect()
}

struct Random(u64);

impl Random {
    fn byte(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.to_le_bytes()[5]
    }
}
