//! One line of the log.

use nix_base::{StoreDir, StorePath};
use serde::{Deserialize, Serialize};

use super::time::Instant;
use crate::server::AuditRecord;
use crate::text::printable;

/// An operation of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// When it was over, in UTC.
    pub(crate) time: String,
    /// The process that served the connection.
    pub(crate) pid: u32,
    /// The client's name, if it has one.
    pub(crate) key: Option<String>,
    /// The command of the protocol.
    pub(crate) command: String,
    /// The derivation to be built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) derivation: Option<String>,
    /// The first paths that it was about.
    pub(crate) paths: Vec<String>,
    /// How many there were.
    pub(crate) path_count: usize,
    /// Bytes of archives.
    pub(crate) bytes: u64,
    /// Seconds of builds.
    pub(crate) build_seconds: u64,
    /// `allowed`, `refused` or `failed`.
    pub(crate) verdict: String,
    /// The rule by which it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<String>,
    /// Why, or how it was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// What would allow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) would_allow: Option<String>,
}

impl Entry {
    pub(super) fn new(record: &AuditRecord<'_>, dir: &StoreDir, time: Instant) -> Self {
        let full = |path: &StorePath| dir.print(path);
        let reason = record.refusal.map(|refusal| refusal.what.as_str());
        Self {
            time: time.to_string(),
            pid: std::process::id(),
            key: record.key.map(str::to_owned),
            command: record.command.to_owned(),
            derivation: record.derivation.map(full),
            paths: record.paths.iter().take(MAX_PATHS).map(full).collect(),
            path_count: record.paths.len(),
            bytes: record.bytes,
            build_seconds: record.build_seconds,
            verdict: record.verdict.as_str().to_owned(),
            rule: record.refusal.map(|refusal| refusal.rule.id().to_owned()),
            reason: reason.or(record.reason).map(shown),
            would_allow: record
                .refusal
                .and_then(|refusal| refusal.remedy.as_deref())
                .map(shown),
        }
    }

    /// The entry for people, in one line.
    pub(crate) fn summary(&self) -> String {
        // The file is the operator's, and still says what clients sent.
        let clean = |text: &str| printable(text.as_bytes()).replace('\n', " ");
        let key = self.key.as_deref().map_or("-".to_owned(), clean);
        let (time, verdict) = (clean(&self.time), clean(&self.verdict));
        let mut line = format!("{time}  {key}  {}  {verdict}", clean(&self.command));
        let about = self.derivation.iter().chain(&self.paths).next();
        if let Some(path) = about {
            line += &format!("  {}", clean(path));
        }
        let listed = usize::from(self.derivation.is_none() && about.is_some());
        let more = self.path_count.saturating_sub(listed);
        if self.derivation.is_none() && more > 0 {
            line += &format!(" and {more} more");
        }
        if self.bytes > 0 {
            line += &format!("  {} bytes", self.bytes);
        }
        if self.build_seconds > 0 {
            line += &format!("  {} s of building", self.build_seconds);
        }
        if let Some(reason) = &self.reason {
            line += &format!("  {}", clean(reason));
        }
        if let Some(rule) = &self.rule {
            line += &format!(" ({})", clean(rule));
        }
        if let Some(remedy) = &self.would_allow {
            line += &format!("; {} would allow it", clean(remedy));
        }
        line
    }
}

/// A text of bounded length, safe to print.
fn shown(text: &str) -> String {
    let text = printable(text.as_bytes());
    match text.char_indices().nth(MAX_REASON) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Which entries are asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// Those of this key.
    pub(crate) key: Option<String>,
    /// Those that were refused.
    pub(crate) refused: bool,
    /// Those not earlier than this, in milliseconds since 1970.
    pub(crate) since: Option<u64>,
}

impl Wanted {
    pub(super) fn includes(&self, entry: &Entry) -> bool {
        let is_late = |since| Instant::parse(&entry.time).is_none_or(|time| time.0 >= since);
        (self.key.is_none() || self.key == entry.key)
            && (!self.refused || entry.verdict == "refused")
            && self.since.is_none_or(is_late)
    }
}

/// A line stays below what is written at once.
const MAX_PATHS: usize = 64;
const MAX_REASON: usize = 4096;
