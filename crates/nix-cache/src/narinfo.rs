//! `.narinfo` files: what a cache says of one object.
//!
//! ```text
//! file  = line*
//! line  = key ": " value "\n"
//! ```
//!
//! The keys are in `docs/formats/narinfo.md`. Of unknown ones nothing is kept.

use std::str::FromStr;

use nix_base::{
    Hash, HashAlgo, HashFormat, NarHash, Signature, StoreDir, StorePath, UnkeyedValidPathInfo,
    ValidPathInfo,
};

use crate::compress::Compression;

/// What a cache says of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NarInfo {
    /// The path and its metadata. It was neither built here nor registered at any time.
    pub info: ValidPathInfo,
    /// The archive's file, seen from the cache's address.
    pub url: String,
    /// How that file is compressed: a word, since others exist than those that can be read.
    pub compression: String,
    /// The file's hash, if it is told.
    pub file_hash: Option<Hash>,
    /// The file's size in bytes, if it is told.
    pub file_size: Option<u64>,
}

/// Why a text is no description of an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NarInfoError {
    /// A line has no key.
    #[error("line {line} is not of the form 'key: value'")]
    NoKey {
        /// Its number, from 1.
        line: usize,
    },
    /// A key stands there twice.
    #[error("line {line} has '{key}' for the second time")]
    Twice {
        /// Its number, from 1.
        line: usize,
        /// The key.
        key: &'static str,
    },
    /// A value can't be understood.
    #[error("line {line}: '{value}' is no value for '{key}'")]
    BadValue {
        /// Its number, from 1.
        line: usize,
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
    },
    /// A key that must be there isn't.
    #[error("there is no line with '{0}'")]
    Missing(&'static str),
}

#[derive(Default)]
struct Fields<'t> {
    path: Option<StorePath>,
    url: Option<&'t str>,
    compression: Option<&'t str>,
    file_hash: Option<Hash>,
    file_size: Option<u64>,
    nar_hash: Option<NarHash>,
    nar_size: Option<u64>,
    references: Option<Vec<StorePath>>,
    deriver: Option<Option<StorePath>>,
    sigs: Vec<Signature>,
    ca: Option<nix_base::ContentAddress>,
}

impl NarInfo {
    /// Parses the text of a file of a cache for `dir`.
    ///
    /// # Errors
    /// A line or a value can't be understood, or path, file, hash or size is missing.
    pub fn parse(text: &str, dir: &StoreDir) -> Result<Self, NarInfoError> {
        let mut fields = Fields::default();
        for (i, line) in text.split_terminator('\n').enumerate() {
            let number = i + 1;
            let (key, value) = split(line).ok_or(NarInfoError::NoKey { line: number })?;
            fields.read(number, key, value, dir)?;
        }
        fields.finish()
    }

    /// The text of a file, in the order of real Nix.
    #[must_use]
    pub fn print(&self, dir: &StoreDir) -> String {
        let info = &self.info;
        let nix32 = |hash: &Hash| hash.render_prefixed(HashFormat::Nix32);
        let names: Vec<String> = info.references.iter().map(StorePath::base_name).collect();
        let mut lines = vec![
            ("StorePath", dir.print(&info.path)),
            ("URL", self.url.clone()),
            ("Compression", self.compression.clone()),
        ];
        lines.extend(
            self.file_hash
                .as_ref()
                .map(|hash| ("FileHash", nix32(hash))),
        );
        lines.extend(self.file_size.map(|size| ("FileSize", size.to_string())));
        lines.push(("NarHash", info.nar_hash.to_prefixed_nix32()));
        lines.push(("NarSize", info.nar_size.to_string()));
        lines.push(("References", names.join(" ")));
        lines.extend(
            info.deriver
                .as_ref()
                .map(|drv| ("Deriver", drv.base_name())),
        );
        lines.extend(info.sigs.iter().map(|sig| ("Sig", sig.to_string())));
        lines.extend(info.ca.as_ref().map(|ca| ("CA", ca.to_string())));
        let mut text = String::new();
        for (key, value) in lines {
            text.push_str(&format!("{key}: {value}\n"));
        }
        text
    }
}

/// A key and its value, which may be empty.
fn split(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    match value {
        "" => Some((key, "")),
        value => Some((key, value.strip_prefix(' ')?)),
    }
}

impl<'t> Fields<'t> {
    fn read(
        &mut self,
        line: usize,
        key: &str,
        value: &'t str,
        dir: &StoreDir,
    ) -> Result<(), NarInfoError> {
        let bad = |key| NarInfoError::BadValue {
            line,
            key,
            value: value.to_owned(),
        };
        let name = |text: &str| StorePath::from_base_name(text).ok();
        match key {
            "StorePath" => set(
                &mut self.path,
                dir.parse(value).ok(),
                line,
                "StorePath",
                bad,
            ),
            "URL" => {
                let url = Some(value).filter(|value| !value.is_empty());
                set(&mut self.url, url, line, "URL", bad)
            }
            "Compression" => set(&mut self.compression, Some(value), line, "Compression", bad),
            "FileHash" => {
                let hash = Hash::parse_any(value, Some(HashAlgo::Sha256)).ok();
                set(&mut self.file_hash, hash, line, "FileHash", bad)
            }
            "FileSize" => set(&mut self.file_size, number(value), line, "FileSize", bad),
            "NarHash" => {
                let hash = NarHash::parse_any(value).ok();
                set(&mut self.nar_hash, hash, line, "NarHash", bad)
            }
            "NarSize" => {
                let size = number(value).filter(|size| *size != 0);
                set(&mut self.nar_size, size, line, "NarSize", bad)
            }
            "References" => {
                let names = value.split(' ').filter(|name| !name.is_empty());
                let paths = names.map(name).collect();
                set(&mut self.references, paths, line, "References", bad)
            }
            "Deriver" => {
                // Nix compat: what it wrote where it knew none.
                let deriver = match value {
                    "" | "unknown-deriver" => Some(None),
                    value => name(value).map(Some),
                };
                set(&mut self.deriver, deriver, line, "Deriver", bad)
            }
            "CA" if value.is_empty() => Ok(()),
            "CA" => set(&mut self.ca, FromStr::from_str(value).ok(), line, "CA", bad),
            "Sig" => {
                self.sigs
                    .push(Signature::verbatim(value).map_err(|_| bad("Sig"))?);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn finish(self) -> Result<NarInfo, NarInfoError> {
        let missing = NarInfoError::Missing;
        let nar_hash = self.nar_hash.ok_or(missing("NarHash"))?;
        let nar_size = self.nar_size.ok_or(missing("NarSize"))?;
        let mut info = UnkeyedValidPathInfo::new(nar_hash, nar_size);
        info.references = self.references.into_iter().flatten().collect();
        info.deriver = self.deriver.flatten();
        info.sigs = self.sigs.into_iter().collect();
        info.ca = self.ca;
        let path = self.path.ok_or(missing("StorePath"))?;
        // Nix compat: caches of old times didn't say.
        let compression = self.compression.filter(|word| !word.is_empty());
        Ok(NarInfo {
            info: ValidPathInfo { path, info },
            url: self.url.ok_or(missing("URL"))?.to_owned(),
            compression: compression
                .unwrap_or(Compression::Bzip2.as_str())
                .to_owned(),
            file_hash: self.file_hash,
            file_size: self.file_size,
        })
    }
}

fn set<T>(
    field: &mut Option<T>,
    value: Option<T>,
    line: usize,
    key: &'static str,
    bad: impl FnOnce(&'static str) -> NarInfoError,
) -> Result<(), NarInfoError> {
    if field.is_some() {
        return Err(NarInfoError::Twice { line, key });
    }
    *field = Some(value.ok_or_else(|| bad(key))?);
    Ok(())
}

fn number(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests;
