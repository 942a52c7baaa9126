//! How a connection opens.
//!
//! ```text
//! client → server   client magic, client version
//! server → client   server magic, server version
//! ```
//!
//! The server answers as soon as it has the magic, before it reads the client's version.
//! In force is the lower of the two versions. Where both have [`Capabilities::EXTENSIONS`],
//! the server goes on with the names of its features: see [`super::feature`].
//!
//! [`Capabilities::EXTENSIONS`]: super::Capabilities::EXTENSIONS

use std::io::{self, Read, Write};

use nix_base::{WireError, WireRead, WireWrite};

use super::{Features, ProtoError, Result, ServeVersion, VersionWord};

/// First word of a client.
pub const CLIENT_MAGIC: u64 = 0x390c_9deb;
/// First word of a server.
pub const SERVER_MAGIC: u64 = 0x5452_eecb;

/// The server's side: answers a client and gives what it announced.
///
/// # Errors
/// The first word is not a client's, the major version is not 2, or the streams fail.
pub fn serve_handshake(
    ours: VersionWord,
    reader: &mut (impl Read + ?Sized),
    writer: &mut (impl Write + ?Sized),
) -> Result<VersionWord> {
    read_magic(CLIENT_MAGIC, reader)?;
    write_hello(SERVER_MAGIC, ours, writer)
        .and_then(|()| writer.flush())
        .map_err(|source| ProtoError::Write {
            field: "the answer to the client's greeting",
            source,
        })?;
    read_version(reader)
}

/// The client's first words; nothing is flushed, so that a request may follow at once.
///
/// # Errors
/// The stream fails.
pub fn write_client_hello(ours: VersionWord, writer: &mut (impl Write + ?Sized)) -> io::Result<()> {
    write_hello(CLIENT_MAGIC, ours, writer)
}

/// Reads what a server says first.
///
/// # Errors
/// [`ProtoError::NoAnswer`] if it says nothing, [`ProtoError::Mismatch`] with what came if
/// the first word is not a server's; the major version is not 2, or the stream fails.
pub fn read_server_hello(reader: &mut (impl Read + ?Sized)) -> Result<VersionWord> {
    read_magic(SERVER_MAGIC, reader)?;
    read_version(reader)
}

/// The version in force between `ours` and `theirs`.
#[must_use]
pub fn negotiate(ours: VersionWord, theirs: VersionWord) -> VersionWord {
    VersionWord {
        version: ours.version.min(theirs.version),
        capabilities: ours.capabilities.intersect(theirs.capabilities),
    }
}

/// Tells a client that has extensions which ones the server has.
///
/// # Errors
/// The stream fails.
pub fn write_server_features(features: Features, writer: &mut (impl Write + ?Sized)) -> Result<()> {
    let written = features.write(writer).and_then(|()| writer.flush());
    written.map_err(|source| ProtoError::Write {
        field: "the names of features",
        source,
    })
}

fn write_hello(
    magic: u64,
    ours: VersionWord,
    writer: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    writer.write_u64(magic)?;
    writer.write_u64(ours.to_u64())
}

fn read_magic(magic: u64, reader: &mut (impl Read + ?Sized)) -> Result<()> {
    let mut word = Vec::with_capacity(8);
    reader
        .take(8)
        .read_to_end(&mut word)
        .map_err(|source| WireError::Io {
            field: "the magic number",
            source,
        })?;
    if word.is_empty() {
        return Err(ProtoError::NoAnswer);
    }
    if word != magic.to_le_bytes() {
        return Err(ProtoError::Mismatch { got: word });
    }
    Ok(())
}

fn read_version(reader: &mut (impl Read + ?Sized)) -> Result<VersionWord> {
    let word = VersionWord::from_u64(reader.read_u64("the protocol version")?)?;
    if word.version.major != ServeVersion::LATEST.major {
        return Err(ProtoError::UnsupportedVersion(word.version));
    }
    Ok(word)
}

#[cfg(test)]
mod tests;
