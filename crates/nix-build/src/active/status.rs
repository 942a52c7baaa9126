//! The file that says how far a build is, and how it ended.
//!
//! ```text
//! 0    u64    format
//! 8    u64    phase: 0 waiting, 1 running, 2 finishing
//! 16   u64    since when, in nanoseconds of the monotonic clock
//! 24   u64    place in the queue for slots, 0 for none
//! 32   u64    length of what follows the digest; absent until the end
//! 40   32     SHA-256 of what follows
//! 72   u64    until when the result is kept, in seconds since 1970
//! 80          the outcome
//! ```
//!
//! All numbers are little-endian; the file never leaves the machine. The digest is what makes
//! a result whole: readers may see any part of a write.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use nix_base::{BuildResult, BuildStatus, Hash, HashAlgo, Realisation, StorePath};
use serde::{Deserialize, Serialize};

use super::outcome::BuildOutcome;
use super::owned::Phase;

/// A status file.
#[derive(Debug)]
pub(super) struct Status(pub(super) File);

/// How far a build is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) phase: Phase,
    /// Nanoseconds of the monotonic clock.
    pub(super) since: u64,
    /// 0 for none.
    pub(super) place: u64,
}

/// How a build ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) outcome: BuildOutcome,
    /// Seconds since 1970.
    pub(super) kept_until: u64,
}

impl Status {
    pub(super) fn write_progress(&self, progress: Progress) -> io::Result<()> {
        let phase = match progress.phase {
            Phase::Waiting => 0,
            Phase::Running => 1,
            Phase::Finishing => 2,
        };
        let words = [FORMAT, phase, progress.since, progress.place];
        self.0
            .write_all_at(&words.map(u64::to_le_bytes).concat(), 0)
    }

    /// What was written last; before anything was, it waits.
    pub(super) fn read_progress(&self) -> io::Result<Progress> {
        let mut bytes = [0; 4 * 8];
        let read = self.0.read_at(&mut bytes, 0)?;
        let word = |i: usize| u64::from_le_bytes(std::array::from_fn(|b| bytes[i * 8 + b]));
        let known = read == bytes.len() && word(0) == FORMAT;
        let phase = match word(1) {
            1 if known => Phase::Running,
            2 if known => Phase::Finishing,
            _ => Phase::Waiting,
        };
        Ok(Progress {
            phase,
            since: word(2),
            place: word(3),
        })
    }

    pub(super) fn write_ending(&self, ending: &Ending) -> io::Result<()> {
        let stored = StoredOutcome::new(&ending.outcome);
        let outcome = postcard::to_stdvec(&stored).map_err(io::Error::other)?;
        let mut body = ending.kept_until.to_le_bytes().to_vec();
        body.extend_from_slice(&outcome);
        let mut record = (body.len() as u64).to_le_bytes().to_vec();
        record.extend_from_slice(Hash::of(HashAlgo::Sha256, &body).as_bytes());
        record.extend_from_slice(&body);
        self.0.write_all_at(&record, HEADER)
    }

    /// The ending, once all of it is there.
    pub(super) fn read_ending(&self) -> io::Result<Option<Ending>> {
        let len = self.0.metadata()?.len();
        if !(HEADER + PREFIX..=MAX_FILE).contains(&len) {
            return Ok(None);
        }
        let len = usize::try_from(len - HEADER).expect("it is below the limit");
        let mut record = vec![0; len];
        match self.0.read_exact_at(&mut record, HEADER) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            done => done?,
        }
        Ok(parse_ending(&record))
    }
}

fn parse_ending(record: &[u8]) -> Option<Ending> {
    let (announced, rest) = record.split_first_chunk()?;
    let (digest, body) = rest.split_first_chunk::<32>()?;
    let whole = u64::from_le_bytes(*announced) == body.len() as u64
        && Hash::of(HashAlgo::Sha256, body).as_bytes() == digest;
    if !whole {
        return None;
    }
    let (kept_until, outcome) = body.split_first_chunk()?;
    let stored: StoredOutcome = postcard::from_bytes(outcome).ok()?;
    Some(Ending {
        outcome: stored.restore()?,
        kept_until: u64::from_le_bytes(*kept_until),
    })
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredOutcome {
    status: u8,
    message: String,
    times_built: u32,
    is_non_deterministic: bool,
    times: (i64, i64),
    outputs: BTreeMap<String, StoredRealisation>,
    hash_mismatch: bool,
    exit_code: u8,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredRealisation {
    id: String,
    path: String,
    signatures: Vec<String>,
    dependent: Vec<(String, String)>,
}

impl StoredOutcome {
    fn new(outcome: &BuildOutcome) -> Self {
        let result = &outcome.result;
        let output = |realisation: &Realisation| StoredRealisation {
            id: realisation.id.to_string(),
            path: realisation.out_path.base_name(),
            signatures: realisation
                .signatures
                .iter()
                .map(|s| s.to_string())
                .collect(),
            dependent: realisation
                .dependent_realisations
                .iter()
                .map(|(id, path)| (id.to_string(), path.base_name()))
                .collect(),
        };
        Self {
            status: result.status.code(),
            message: result.error_msg.clone(),
            times_built: result.times_built,
            is_non_deterministic: result.is_non_deterministic,
            times: (result.start_time, result.stop_time),
            outputs: result
                .built_outputs
                .iter()
                .map(|(name, realisation)| (name.to_string(), output(realisation)))
                .collect(),
            hash_mismatch: outcome.hash_mismatch,
            exit_code: outcome.exit_code,
        }
    }

    fn restore(self) -> Option<BuildOutcome> {
        let mut result =
            BuildResult::failure(BuildStatus::from_code(self.status.into())?, self.message);
        result.times_built = self.times_built;
        result.is_non_deterministic = self.is_non_deterministic;
        (result.start_time, result.stop_time) = self.times;
        for (name, stored) in self.outputs {
            let name = name.parse().ok()?;
            result.built_outputs.insert(name, stored.restore()?);
        }
        Some(BuildOutcome {
            result,
            hash_mismatch: self.hash_mismatch,
            exit_code: self.exit_code,
        })
    }
}

impl StoredRealisation {
    fn restore(self) -> Option<Realisation> {
        let path = |name: &str| StorePath::from_base_name(name).ok();
        let mut realisation = Realisation {
            id: self.id.parse().ok()?,
            out_path: path(&self.path)?,
            signatures: Default::default(),
            dependent_realisations: BTreeMap::new(),
        };
        for signature in self.signatures {
            realisation
                .signatures
                .insert(nix_base::Signature::verbatim(&signature).ok()?);
        }
        for (id, name) in self.dependent {
            let id = id.parse().ok()?;
            realisation.dependent_realisations.insert(id, path(&name)?);
        }
        Some(realisation)
    }
}

/// "nixbuild" and a version.
const FORMAT: u64 = u64::from_le_bytes(*b"nixbld\0\x01");
const HEADER: u64 = 32;
/// Length, digest and time before an outcome.
const PREFIX: u64 = 48;
/// No honest outcome is larger.
const MAX_FILE: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn ending() -> Ending {
        let mut result = BuildResult::failure(BuildStatus::Built, "");
        result.times_built = 1;
        (result.start_time, result.stop_time) = (5, -6);
        let path = StorePath::from_base_name("7h7qgvs4kgzsn8a6rb273saxyqh4jxlz-a").unwrap();
        let id: nix_base::DrvOutput = format!("sha256:{}!out", "1".repeat(64)).parse().unwrap();
        let realisation = Realisation {
            id: id.clone(),
            out_path: path.clone(),
            signatures: [nix_base::Signature::from_parts("key", &[7; 64])].into(),
            dependent_realisations: [(id, path)].into(),
        };
        result
            .built_outputs
            .insert("out".parse().unwrap(), realisation);
        Ending {
            outcome: BuildOutcome {
                result,
                hash_mismatch: true,
                exit_code: 102,
            },
            kept_until: 77,
        }
    }

    #[test]
    fn progress_and_ending_come_back() {
        let status = Status(tempfile::tempfile().unwrap());
        assert_eq!(status.read_progress().unwrap().phase, Phase::Waiting);
        assert_eq!(status.read_ending().unwrap(), None);
        let progress = Progress {
            phase: Phase::Running,
            since: u64::MAX,
            place: 3,
        };
        status.write_progress(progress).unwrap();
        assert_eq!(status.read_ending().unwrap(), None);
        status.write_ending(&ending()).unwrap();
        assert_eq!(status.read_progress().unwrap(), progress);
        assert_eq!(status.read_ending().unwrap(), Some(ending()));
    }

    #[test]
    fn an_ending_counts_only_once_all_of_it_is_there() {
        let whole = Status(tempfile::tempfile().unwrap());
        whole.write_ending(&ending()).unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut &whole.0, &mut bytes).unwrap();
        for len in 0..bytes.len() {
            let part = Status(tempfile::tempfile().unwrap());
            part.0.write_all_at(&bytes[..len], 0).unwrap();
            assert_eq!(part.read_ending().unwrap(), None, "{len}");
        }
        for i in 32..bytes.len() {
            let mut bad = bytes.clone();
            bad[i] ^= 1;
            let part = Status(tempfile::tempfile().unwrap());
            part.0.write_all_at(&bad, 0).unwrap();
            assert_eq!(part.read_ending().unwrap(), None, "{i}");
        }
    }
}
