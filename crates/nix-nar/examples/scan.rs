//! `scan MEBIBYTES RUNS` measures how fast references are found, beside a copy of the same
//! bytes, and prints lines `WHAT NANOSECONDS`.
//!
//! Half of the hashes looked for occur; as long as one is missing, all has to be looked at.

use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use nix_base::StorePathHash;
use nix_nar::RefScanSink;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [size, runs] = args.as_slice() else {
        return Err("usage: scan MEBIBYTES RUNS".into());
    };
    let size = size.parse::<usize>()? << 20;
    let runs = runs.parse::<usize>()?.max(1);
    let mut random = Random(4);
    let hashes: Vec<StorePathHash> = (0..5_000).map(|_| random.hash()).collect();
    let mut out = std::io::stdout().lock();

    let mut copy = vec![1_u8; size];
    let mut copied = Vec::new();
    for (kind, mut data) in [
        ("binary", binary(size, &mut random)),
        ("text", text(size, &mut random)),
    ] {
        plant(&mut data, &hashes);
        for (count, hashes) in [(50, &hashes[..50]), (5_000, &hashes[..])] {
            let mut scanned = Vec::new();
            for _ in 0..runs {
                // By turns, so that a slow spell of the machine hits both.
                copied.push(timed(|| copy.copy_from_slice(black_box(&data))));
                black_box(&copy);
                let mut found = 0;
                scanned.push(timed(|| found = scan(&data, hashes)));
                if found * 2 != count {
                    return Err(format!("{kind}: {found} of {count} hashes found").into());
                }
            }
            writeln!(out, "{kind}-{count} {}", median(scanned))?;
        }
    }
    writeln!(out, "memcpy {}", median(copied))?;
    Ok(())
}

fn scan(data: &[u8], hashes: &[StorePathHash]) -> usize {
    let mut sink = RefScanSink::new(hashes.iter().copied());
    for block in data.chunks(BLOCK) {
        sink.write_all(block).expect("a scan takes everything");
    }
    sink.finish().len()
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> u128 {
    times.sort_unstable();
    times[times.len() / 2].as_nanos()
}

/// Every second hash, at places all over the data.
fn plant(data: &mut [u8], hashes: &[StorePathHash]) {
    let step = data.len() / (hashes.len() + 1);
    for (index, hash) in hashes.iter().enumerate().step_by(2) {
        let at = (index + 1) * step;
        data[at..at + 32].copy_from_slice(hash.to_string().as_bytes());
    }
}

/// What compilers write looks like this to a scan: few long runs of letters.
fn binary(size: usize, random: &mut Random) -> Vec<u8> {
    let mut data = Vec::with_capacity(size + 8);
    while data.len() < size {
        data.extend_from_slice(&random.next().to_le_bytes());
    }
    data.truncate(size);
    data
}

/// Words with letters about as often as in English, and now and then the digits of a hash.
fn text(size: usize, random: &mut Random) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"eeeeeeeetttttaaaaaooooonnnnniiiisssshhhhrrrrdddlllccuummwwffggyp";
    const DIGITS: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";
    let mut data = Vec::with_capacity(size + 64);
    while data.len() < size {
        let mut bits = random.next();
        let (alphabet, length) = match bits % 64 {
            0 => (&DIGITS[..], 32),
            other => (&LETTERS[..], 2 + other % 9),
        };
        for _ in 0..length {
            data.push(alphabet[(bits >> 8) as usize % alphabet.len()]);
            bits = bits.rotate_left(7).wrapping_add(0x9e37);
        }
        data.push(match bits % 12 {
            0 => b'\n',
            1 => b'/',
            2 => b'-',
            _ => b' ',
        });
    }
    data.truncate(size);
    data
}

/// As much as a dump gives at a time.
const BLOCK: usize = 256 << 10;

/// splitmix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn hash(&mut self) -> StorePathHash {
        let mut bytes = [0; 20];
        for part in bytes.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            part.copy_from_slice(&word[..part.len()]);
        }
        StorePathHash::from_digest(bytes)
    }
}
