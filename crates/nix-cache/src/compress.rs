//! The compression of archives.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::str::FromStr;

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use crate::error::CacheError;

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// By `xz`.
    Xz,
    /// By `bzip2`; what an entry without the field means.
    Bzip2,
    /// By `gzip`.
    Gzip,
    /// By `zstd`.
    Zstd,
}

impl Compression {
    /// The word for it in a `.narinfo` file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Compression {
    type Err = CacheError;

    fn from_str(word: &str) -> Result<Self, CacheError> {
        let all = [Self::None, Self::Xz, Self::Bzip2, Self::Gzip, Self::Zstd];
        all.into_iter()
            .find(|compression| compression.as_str() == word)
            .ok_or_else(|| CacheError::Compression(word.to_owned()))
    }
}

/// The archive behind its compression.
pub struct Decoder<'r>(BufReader<Box<dyn Read + 'r>>);

impl<'r> Decoder<'r> {
    /// Takes `compression` off `raw`.
    ///
    /// # Errors
    /// The decoder can't be set up.
    pub fn new(compression: Compression, raw: impl BufRead + 'r) -> io::Result<Self> {
        let inner: Box<dyn Read + 'r> = match compression {
            Compression::None => Box::new(raw),
            Compression::Bzip2 => Box::new(MultiBzDecoder::new(raw)),
            Compression::Gzip => Box::new(MultiGzDecoder::new(raw)),
            Compression::Xz => Box::new(XzDecoder::new_stream(
                raw,
                Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)?,
            )),
            Compression::Zstd => Box::new(zstd::Decoder::with_buffer(raw)?),
        };
        Ok(Self(BufReader::with_capacity(BLOCK, inner)))
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, data: &mut [u8]) -> io::Result<usize> {
        self.0.read(data)
    }
}

impl BufRead for Decoder<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.0.consume(amount);
    }
}

impl fmt::Debug for Decoder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

const BLOCK: usize = 64 * 1024;
/// More than any level of `xz` takes, so that no archive takes all memory.
const XZ_MEMORY: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const TEXT: &[u8] = b"an archive, an archive, an archive";

    fn compressed(compression: Compression) -> Vec<u8> {
        let mut out = Vec::new();
        match compression {
            Compression::None => out.extend_from_slice(TEXT),
            Compression::Xz => {
                let mut encoder = liblzma::write::XzEncoder::new(&mut out, 6);
                encoder.write_all(TEXT).unwrap();
                encoder.finish().unwrap();
            }
            Compression::Bzip2 => {
                let mut encoder =
                    bzip2::write::BzEncoder::new(&mut out, bzip2::Compression::best());
                encoder.write_all(TEXT).unwrap();
                encoder.finish().unwrap();
            }
            Compression::Gzip => {
                let level = flate2::Compression::default();
                let mut encoder = flate2::write::GzEncoder::new(&mut out, level);
                encoder.write_all(TEXT).unwrap();
                encoder.finish().unwrap();
            }
            Compression::Zstd => out = zstd::encode_all(TEXT, 3).unwrap(),
        }
        out
    }

    #[test]
    fn each_compression_is_taken_off() {
        for word in ["none", "xz", "bzip2", "gzip", "zstd"] {
            let compression: Compression = word.parse().unwrap();
            assert_eq!(compression.to_string(), word);
            let raw = compressed(compression);
            let mut read = Vec::new();
            let mut decoder = Decoder::new(compression, &raw[..]).unwrap();
            decoder.read_to_end(&mut read).unwrap();
            assert_eq!(read, TEXT, "{word}");
        }
    }

    #[test]
    fn a_stream_in_two_parts_is_read_to_its_end() {
        for compression in [Compression::Xz, Compression::Bzip2, Compression::Zstd] {
            let raw = [compressed(compression), compressed(compression)].concat();
            let mut read = Vec::new();
            let mut decoder = Decoder::new(compression, &raw[..]).unwrap();
            decoder.read_to_end(&mut read).unwrap();
            assert_eq!(read, [TEXT, TEXT].concat(), "{compression}");
        }
    }

    #[test]
    fn an_unknown_word_is_named() {
        let error = "br".parse::<Compression>().unwrap_err().to_string();
        assert!(error.contains("'br'"), "{error}");
    }

    #[test]
    fn damaged_streams_are_errors() {
        for compression in [
            Compression::Xz,
            Compression::Bzip2,
            Compression::Gzip,
            Compression::Zstd,
        ] {
            let raw = compressed(compression);
            let cut = &raw[..raw.len() / 2];
            let mut decoder = Decoder::new(compression, cut).unwrap();
            assert!(
                decoder.read_to_end(&mut Vec::new()).is_err(),
                "{compression}"
            );
        }
    }
}
