//! Taking off compression, told by the first bytes, however often it was put on.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::Stream;

/// The contents behind all compression.
pub(super) fn all_layers(raw: impl Read + 'static) -> io::Result<Box<dyn Read>> {
    let mut reader: Box<dyn Read> = Box::new(raw);
    for _ in 0..MAX_LAYERS {
        let (format, whole) = look_at(reader)?;
        reader = match format {
            Some(format) => open(format, whole)?,
            None => return Ok(Box::new(whole)),
        };
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        "it is compressed too often",
    ))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Gzip,
    Bzip2,
    Xz,
    Lzma,
    Zstd,
}

/// What the first bytes say, and everything from those on.
fn look_at(mut reader: Box<dyn Read>) -> io::Result<(Option<Format>, Box<dyn BufRead>)> {
    let mut head = Vec::with_capacity(HEAD);
    reader.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
    let format = MAGIC
        .iter()
        .find(|(magic, _)| head.starts_with(magic))
        .map(|(_, format)| *format);
    let whole = BufReader::with_capacity(BLOCK, Cursor::new(head).chain(reader));
    Ok((format, Box::new(whole)))
}

fn open(format: Format, reader: Box<dyn BufRead>) -> io::Result<Box<dyn Read>> {
    Ok(match format {
        Format::Gzip => Box::new(MultiGzDecoder::new(reader)),
        Format::Bzip2 => Box::new(MultiBzDecoder::new(reader)),
        Format::Xz => Box::new(XzDecoder::new_stream(
            reader,
            Stream::new_stream_decoder(LZMA_MEMORY, liblzma::stream::CONCATENATED)?,
        )),
        Format::Lzma => Box::new(XzDecoder::new_stream(
            reader,
            Stream::new_lzma_decoder(LZMA_MEMORY)?,
        )),
        Format::Zstd => Box::new(zstd::Decoder::with_buffer(reader)?),
    })
}

const MAGIC: [(&[u8], Format); 5] = [
    (b"\x1f\x8b\x08", Format::Gzip),
    (b"BZh", Format::Bzip2),
    (b"\xfd7zXZ\0", Format::Xz),
    (b"\x28\xb5\x2f\xfd", Format::Zstd),
    // The properties that everybody uses, and the low bytes of a dictionary's size.
    (b"\x5d\0\0", Format::Lzma),
];

const HEAD: usize = 6;

const BLOCK: usize = 64 * 1024;

/// A dictionary may have as much; the sandbox bounds what the builder takes in all.
const LZMA_MEMORY: u64 = 256 << 20;

const MAX_LAYERS: usize = 8;
