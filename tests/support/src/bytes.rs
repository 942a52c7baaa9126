//! The serve protocol's messages as bytes, written by the book.

use std::collections::BTreeSet;

/// Numbers of the serve protocol's commands.
pub mod command {
    /// QueryValidPaths.
    pub const QUERY_VALID_PATHS: u64 = 1;
    /// QueryPathInfos.
    pub const QUERY_PATH_INFOS: u64 = 2;
    /// DumpStorePath.
    pub const DUMP_STORE_PATH: u64 = 3;
    /// ImportPaths.
    pub const IMPORT_PATHS: u64 = 4;
    /// ExportPaths.
    pub const EXPORT_PATHS: u64 = 5;
    /// BuildPaths.
    pub const BUILD_PATHS: u64 = 6;
    /// QueryClosure.
    pub const QUERY_CLOSURE: u64 = 7;
    /// BuildDerivation.
    pub const BUILD_DERIVATION: u64 = 8;
    /// AddToStoreNar.
    pub const ADD_TO_STORE_NAR: u64 = 9;
}

/// Bytes to send, built word by word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// The empty message.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a number.
    #[must_use]
    pub fn u64(mut self, value: u64) -> Self {
        self.put_u64(value);
        self
    }

    /// Appends a truth value.
    #[must_use]
    pub fn bool(self, value: bool) -> Self {
        self.u64(u64::from(value))
    }

    /// Appends a string with its length and padding.
    #[must_use]
    pub fn string(mut self, text: impl AsRef<[u8]>) -> Self {
        self.put_string(text.as_ref());
        self
    }

    /// Appends a list or set of strings, in the order given.
    #[must_use]
    pub fn strings<T: AsRef<[u8]>>(mut self, items: impl IntoIterator<Item = T>) -> Self {
        let items: Vec<T> = items.into_iter().collect();
        self.put_u64(items.len() as u64);
        for item in items {
            self.put_string(item.as_ref());
        }
        self
    }

    /// Appends bytes as they are.
    #[must_use]
    pub fn raw_owned(mut self, bytes: &[u8]) -> Self {
        self.raw(bytes);
        self
    }

    /// Appends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends a number.
    pub fn put_u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a string with its length and padding.
    pub fn put_string(&mut self, text: &[u8]) {
        self.put_u64(text.len() as u64);
        self.bytes.extend_from_slice(text);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
    }

    /// What was built so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What was built.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// A QueryValidPaths request.
    pub fn query_valid_paths<T: AsRef<[u8]>>(
        lock: bool,
        substitute: bool,
        paths: impl IntoIterator<Item = T>,
    ) -> Self {
        Self::new()
            .u64(command::QUERY_VALID_PATHS)
            .bool(lock)
            .bool(substitute)
            .strings(paths)
    }

    /// A QueryPathInfos request.
    pub fn query_path_infos<T: AsRef<[u8]>>(paths: impl IntoIterator<Item = T>) -> Self {
        Self::new().u64(command::QUERY_PATH_INFOS).strings(paths)
    }

    /// A DumpStorePath request.
    pub fn dump_store_path(path: &str) -> Self {
        Self::new().u64(command::DUMP_STORE_PATH).string(path)
    }

    /// A QueryClosure request.
    pub fn query_closure<T: AsRef<[u8]>>(
        include_outputs: bool,
        paths: impl IntoIterator<Item = T>,
    ) -> Self {
        Self::new()
            .u64(command::QUERY_CLOSURE)
            .bool(include_outputs)
            .strings(paths)
    }
}

/// A path with all that AddToStoreNar sends about it.
#[derive(Debug, Clone)]
pub struct PathToAdd {
    /// The full store path.
    pub path: String,
    /// The deriver's full path, or the empty string.
    pub deriver: String,
    /// The SHA-256 of the archive in base 16.
    pub nar_hash: String,
    /// Full paths.
    pub references: BTreeSet<String>,
    /// Seconds; 0 means now.
    pub registration_time: u64,
    /// The size announced, normally that of the archive.
    pub nar_size: u64,
    /// Whether the path claims to have been built by the one who sends it.
    pub ultimate: bool,
    /// Signatures as text.
    pub sigs: BTreeSet<String>,
    /// Rendered content address, or the empty string.
    pub ca: String,
    /// The archive.
    pub nar: Vec<u8>,
}

impl PathToAdd {
    /// An input-addressed path holding one file, with a hash part made from
    /// the 32 nix32 digits given.
    ///
    /// # Panics
    /// If `hash_part` isn't that.
    pub fn file(hash_part: &str, name: &str, contents: &[u8]) -> Self {
        assert_eq!(hash_part.len(), 32, "a hash part has 32 digits");
        let is_digit = |letter: char| letter.is_ascii_alphanumeric() && !"eotu".contains(letter);
        assert!(hash_part.chars().all(is_digit), "'{hash_part}' is nix32");
        Self::from_nar(
            format!("/nix/store/{hash_part}-{name}"),
            crate::nar::regular(contents),
        )
    }

    /// A numbered path of a run: the hash part is `seed` (8 nix32 digits at
    /// most, no `e`, `o`, `t` or `u`) and the number.
    pub fn numbered(seed: &str, number: usize, contents: &[u8]) -> Self {
        let digits = format!("{number:09}");
        let filler = 32 - digits.len() - seed.len();
        let hash_part = format!("{seed}{}{digits}", "0".repeat(filler));
        Self::file(&hash_part, &format!("item-{number}"), contents)
    }

    /// A numbered path whose hash part looks like a real one. Real Nix sorts paths into buckets
    /// by its first eight digits alone: thousands that begin alike, as those of
    /// [`Self::numbered`] do, make its collector crawl.
    pub fn scattered(number: usize, contents: &[u8]) -> Self {
        let digits = crate::sha256::nix32(number.to_string().as_bytes());
        Self::file(&digits[..32], &format!("item-{number}"), contents)
    }

    /// What `nix-store --add` makes of a file: content-addressed by its archive.
    pub fn added_file(name: &str, contents: &[u8]) -> Self {
        let nar = crate::nar::regular(contents);
        let mut added = Self::from_nar(crate::sha256::source_path(&nar, name), nar);
        added.ca = format!("fixed:r:sha256:{}", crate::sha256::nix32(&added.nar));
        added
    }

    /// A path from its archive; hash and size are computed.
    pub fn from_nar(path: String, nar: Vec<u8>) -> Self {
        Self {
            path,
            deriver: String::new(),
            nar_hash: crate::sha256::hex(&nar),
            references: BTreeSet::new(),
            registration_time: 0,
            nar_size: nar.len() as u64,
            ultimate: false,
            sigs: BTreeSet::new(),
            ca: String::new(),
            nar,
        }
    }

    /// The same with these references.
    #[must_use]
    pub fn referring_to<T: Into<String>>(mut self, paths: impl IntoIterator<Item = T>) -> Self {
        self.references.extend(paths.into_iter().map(Into::into));
        self
    }

    /// The AddToStoreNar request, archive included.
    pub fn request(&self) -> Message {
        self.request_head().raw_owned(&self.nar)
    }

    /// The AddToStoreNar request up to the archive.
    pub fn request_head(&self) -> Message {
        Message::new()
            .u64(command::ADD_TO_STORE_NAR)
            .string(&self.path)
            .string(&self.deriver)
            .string(&self.nar_hash)
            .strings(&self.references)
            .u64(self.registration_time)
            .u64(self.nar_size)
            .bool(self.ultimate)
            .strings(&self.sigs)
            .string(&self.ca)
    }
}
