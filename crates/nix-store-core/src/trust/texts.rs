//! Texts of derivations, each kept once and known to those who have shown it.

use std::collections::BTreeSet;

use nix_drv::proof::ProofText;
use rusqlite::{Connection, OptionalExtension, params};

use super::{TrustDb, find_key, from_column, key_id, to_column};
use crate::error::Result;

pub use nix_drv::proof::TextHash;

/// Most bytes of texts that are kept for one key; those that it has shown first go first.
pub const TEXT_BYTES_PER_KEY: u64 = 256 << 20;

impl TrustDb {
    /// Keeps texts that `key` has shown in a request that was found to be right.
    ///
    /// # Errors
    /// Those of the database.
    pub fn add_texts<'t>(
        &self,
        key: &str,
        texts: impl IntoIterator<Item = &'t ProofText>,
    ) -> Result<()> {
        self.add_texts_within(key, texts, TEXT_BYTES_PER_KEY)
    }

    pub(super) fn add_texts_within<'t>(
        &self,
        key: &str,
        texts: impl IntoIterator<Item = &'t ProofText>,
        limit: u64,
    ) -> Result<()> {
        // Those that are known are left out before others have to wait.
        let texts: Vec<&ProofText> = texts.into_iter().collect();
        let hashes = texts.iter().map(|text| *text.hash()).collect();
        let missing = self.missing_texts(key, &hashes)?;
        if missing.is_empty() {
            return Ok(());
        }
        self.write("add texts to", |conn| {
            let key = key_id(conn, key)?;
            let mut added = 0;
            for text in texts.iter().filter(|text| missing.contains(text.hash())) {
                let (hash, text) = (text.hash(), text.as_bytes());
                conn.prepare_cached(ADD_TEXT)?
                    .execute(params![hash.as_slice(), text])?;
                let known = conn
                    .prepare_cached(KNOW_TEXT)?
                    .execute(params![key, hash.as_slice()])?;
                if known > 0 {
                    added += text.len() as u64;
                }
            }
            conn.prepare_cached(ADD_TEXT_BYTES)?
                .execute(params![key, to_column(added)])?;
            forget_oldest(conn, key, limit)
        })
    }

    /// The text with this hash, if `key` has shown it.
    ///
    /// # Errors
    /// Those of the database.
    pub fn text(&self, key: &str, hash: &TextHash) -> Result<Option<Vec<u8>>> {
        self.read(|conn| {
            conn.prepare_cached(TEXT_OF)?
                .query_row(params![key, hash.as_slice()], |row| row.get(0))
                .optional()
        })
    }

    /// Those of `hashes` whose texts `key` hasn't shown, whoever else has.
    ///
    /// # Errors
    /// Those of the database.
    pub fn missing_texts(
        &self,
        key: &str,
        hashes: &BTreeSet<TextHash>,
    ) -> Result<BTreeSet<TextHash>> {
        self.read(|conn| {
            let Some(key) = find_key(conn, key)? else {
                return Ok(hashes.clone());
            };
            let mut find = conn.prepare_cached(IS_KNOWN)?;
            let mut missing = BTreeSet::new();
            for hash in hashes {
                if !find.exists(params![key, hash.as_slice()])? {
                    missing.insert(*hash);
                }
            }
            Ok(missing)
        })
    }
}

/// Forgets what `key` has shown first until the rest is within `limit`.
fn forget_oldest(conn: &Connection, key: i64, limit: u64) -> rusqlite::Result<()> {
    let bytes: i64 = conn
        .prepare_cached(TEXT_BYTES)?
        .query_row([key], |row| row.get(0))?;
    let mut excess = from_column(bytes).saturating_sub(limit);
    if excess == 0 {
        return Ok(());
    }
    let mut forgotten = 0;
    let mut oldest = conn.prepare_cached(OLDEST_TEXT)?;
    while excess > 0 {
        let found: Option<(i64, i64, i64)> = oldest
            .query_row([key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((known, text, len)) = found else {
            break;
        };
        conn.prepare_cached(FORGET_TEXT)?.execute([known])?;
        conn.prepare_cached(DROP_UNKNOWN)?.execute([text])?;
        forgotten += len;
        excess = excess.saturating_sub(from_column(len));
    }
    conn.prepare_cached(ADD_TEXT_BYTES)?
        .execute(params![key, -forgotten])?;
    Ok(())
}

const ADD_TEXT: &str = "insert or ignore into Texts (hash, text) values (?1, ?2)";
const KNOW_TEXT: &str = "insert or ignore into KnownTexts (key, text) \
     select ?1, id from Texts where hash = ?2";
const TEXT_OF: &str = "select t.text from Keys k join KnownTexts n on n.key = k.id \
     join Texts t on t.id = n.text where k.name = ?1 and t.hash = ?2";
const IS_KNOWN: &str = "select 1 from Texts t join KnownTexts n on n.text = t.id \
     where t.hash = ?2 and n.key = ?1";
const TEXT_BYTES: &str = "select textBytes from Keys where id = ?1";
const ADD_TEXT_BYTES: &str = "update Keys set textBytes = max(0, textBytes + ?2) where id = ?1";
const OLDEST_TEXT: &str = "select n.id, t.id, length(t.text) from KnownTexts n \
     join Texts t on t.id = n.text where n.key = ?1 order by n.id limit 1";
const FORGET_TEXT: &str = "delete from KnownTexts where id = ?1";
const DROP_UNKNOWN: &str = "delete from Texts where id = ?1 \
     and not exists (select 1 from KnownTexts where text = ?1)";
