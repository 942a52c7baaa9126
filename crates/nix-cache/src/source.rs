//! Caches in directories and on web servers.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use nix_base::{StoreDir, StorePath};

use crate::compress::Decoder;
use crate::error::{CacheError, Result};
use crate::http::Server;
use crate::narinfo::NarInfo;

/// How servers are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheOptions {
    /// Certificates of the authorities that are believed, in PEM; without them no
    /// https:// address can be used.
    pub ca_bundle: Option<Vec<u8>>,
    /// How long a connection may take to be made, if not for ever.
    pub connect_timeout: Option<Duration>,
    /// How long a server may be silent, before it answers and while it does, if not for
    /// ever.
    pub stalled: Option<Duration>,
    /// How often a server is asked that may answer the next time.
    pub attempts: u32,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            ca_bundle: None,
            connect_timeout: Some(Duration::from_secs(15)),
            stalled: Some(Duration::from_secs(60)),
            attempts: 3,
        }
    }
}

/// A binary cache.
#[derive(Debug)]
pub struct CacheSource {
    address: String,
    place: Place,
    dir: StoreDir,
}

#[derive(Debug)]
enum Place {
    Directory(PathBuf),
    Server { base: String, server: Server },
}

impl CacheSource {
    /// Whether `address` is one of a cache, and not of something else.
    #[must_use]
    pub fn is_address(address: &str) -> bool {
        SCHEMES.iter().any(|scheme| address.starts_with(scheme))
    }

    /// Opens the cache at `address`, and sees that it is one for the store directory `dir`.
    ///
    /// # Errors
    /// The address is of another kind, there is no cache, or it is for another directory.
    pub fn open(address: &str, dir: &StoreDir, options: &CacheOptions) -> Result<Self> {
        if address.starts_with("https:") && options.ca_bundle.is_none() {
            return Err(CacheError::NoCertificates(address.to_owned()));
        }
        // Parameters are for those who write to caches.
        let base = address.split('?').next().unwrap_or(address);
        let place = match base.strip_prefix("file://") {
            Some(path) => Place::Directory(path.into()),
            None if Self::is_address(base) => Place::Server {
                base: base.trim_end_matches('/').to_owned(),
                server: Server::new(options),
            },
            None => return Err(CacheError::Address(address.to_owned())),
        };
        let cache = Self {
            address: address.to_owned(),
            place,
            dir: dir.clone(),
        };
        cache.check_description()?;
        Ok(cache)
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What the cache says of `path`; nothing if it doesn't have it. Its signatures are not
    /// looked at.
    ///
    /// # Errors
    /// The cache can't be read, or what it says makes no sense or is about another path.
    pub fn query(&self, path: &StorePath) -> Result<Option<NarInfo>> {
        let base = path.base_name();
        let file = format!("{}.narinfo", base.get(..HASH_DIGITS).unwrap_or(&base));
        let Some(text) = self.text(&file)? else {
            return Ok(None);
        };
        let narinfo = NarInfo::parse(&text, &self.dir).map_err(|source| CacheError::NarInfo {
            address: self.address.clone(),
            file,
            source,
        })?;
        // Another name with the same hash part is another object.
        Ok(Some(narinfo).filter(|narinfo| narinfo.info.path == *path))
    }

    /// The archive of an object, without its compression. It may be anything: compare it with
    /// the hash that is wanted.
    ///
    /// # Errors
    /// The cache can't be read, or the compression is none that can be taken off.
    pub fn archive(&self, narinfo: &NarInfo) -> Result<Decoder<'static>> {
        let compression = narinfo.compression.parse()?;
        let missing = || CacheError::Missing {
            address: self.address.clone(),
            file: narinfo.url.clone(),
        };
        let raw = self.open_file(&narinfo.url)?.ok_or_else(missing)?;
        Decoder::new(compression, raw).map_err(|source| CacheError::Connection {
            address: narinfo.url.clone(),
            source: Box::new(source),
        })
    }

    fn check_description(&self) -> Result<()> {
        let text = self.text(DESCRIPTION)?;
        let text = text.ok_or_else(|| CacheError::NoCache(self.address.clone()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("StoreDir:"));
        // Nix compat: a cache that doesn't say is taken for one of the same directory.
        let theirs = line.map_or(self.dir.as_str(), str::trim);
        if theirs == self.dir.as_str() {
            return Ok(());
        }
        Err(CacheError::OtherStore {
            address: self.address.clone(),
            theirs: theirs.to_owned(),
            ours: self.dir.to_string(),
        })
    }

    fn text(&self, file: &str) -> Result<Option<String>> {
        let Some(raw) = self.open_file(file)? else {
            return Ok(None);
        };
        let mut text = Vec::new();
        raw.take(LONGEST_TEXT + 1)
            .read_to_end(&mut text)
            .map_err(|source| CacheError::Connection {
                address: format!("{}/{file}", self.address),
                source: Box::new(source),
            })?;
        if text.len() as u64 > LONGEST_TEXT {
            return Err(CacheError::TooLong {
                address: self.address.clone(),
                file: file.to_owned(),
                limit: LONGEST_TEXT,
            });
        }
        // What isn't text in it makes a bad value.
        Ok(Some(String::from_utf8_lossy(&text).into_owned()))
    }

    fn open_file(&self, name: &str) -> Result<Option<Box<dyn BufRead>>> {
        let is_inside = Path::new(name)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        let is_elsewhere = name.starts_with("http://") || name.starts_with("https://");
        match &self.place {
            Place::Directory(dir) if is_inside => open_in(dir, name),
            Place::Server { base, server } if is_inside || is_elsewhere => {
                let address = match is_elsewhere {
                    true => name.to_owned(),
                    false => format!("{base}/{name}"),
                };
                let body = server.get(&address)?;
                Ok(body.map(|body| Box::new(BufReader::with_capacity(BLOCK, body)) as _))
            }
            _ => Err(CacheError::Outside {
                address: self.address.clone(),
                name: name.to_owned(),
            }),
        }
    }
}

fn open_in(dir: &Path, name: &str) -> Result<Option<Box<dyn BufRead>>> {
    let path = dir.join(name);
    match File::open(&path) {
        Ok(file) => Ok(Some(Box::new(BufReader::with_capacity(BLOCK, file)))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CacheError::File { path, source }),
    }
}

const SCHEMES: [&str; 3] = ["file://", "http://", "https://"];
const DESCRIPTION: &str = "nix-cache-info";
/// Digits of the hash in a path's name, by which objects are found.
const HASH_DIGITS: usize = 32;
/// Descriptions are some hundred bytes, and a few thousand references long at most.
const LONGEST_TEXT: u64 = 8 << 20;
const BLOCK: usize = 64 * 1024;

#[cfg(test)]
mod tests;
