//! Metadata of store objects, as in replies to `QueryPathInfos` and requests of
//! `AddToStoreNar`.
//!
//! The two differ in the order of fields, in the spelling of the hash and in what they
//! leave out: replies have no registration time.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use nix_base::wire::{MAX_PATH, MAX_SHORT};
use nix_base::{
    ContentAddress, NarHash, Signature, StoreDir, UnkeyedValidPathInfo, ValidPathInfo, WireError,
    WireRead, WireWrite,
};

use super::limit::MAX_SIGNATURES;
use super::{ProtoError, Result, ServeVersion};

/// Reads the metadata in a reply to `QueryPathInfos`.
///
/// Below 2.4 there is no hash: [`NarHash::is_unknown`] then holds.
///
/// # Errors
/// The stream ends or fails, or a field does not parse.
pub fn read_unkeyed_valid_path_info(
    dir: &StoreDir,
    version: ServeVersion,
    reader: &mut (impl Read + ?Sized),
) -> Result<UnkeyedValidPathInfo> {
    let deriver = reader.read_optional_path("the deriver", dir)?;
    let references = reader.read_path_set("the references", dir)?;
    // Nix compat: the download size means nothing, servers repeat the NAR size.
    reader.read_u64("the download size")?;
    let nar_size = reader.read_u64("the NAR size")?;
    let mut info = UnkeyedValidPathInfo::new(NarHash::from_bytes([0; 32]), nar_size);
    info.deriver = deriver;
    info.references = references;
    if version.has_nar_hash() {
        info.nar_hash = read_nar_hash(reader)?;
        info.ca = read_optional_content_address(reader)?;
        info.sigs = read_signatures(reader)?;
    }
    Ok(info)
}

/// Writes the metadata in a reply to `QueryPathInfos`.
///
/// # Errors
/// The stream fails.
pub fn write_unkeyed_valid_path_info(
    info: &UnkeyedValidPathInfo,
    dir: &StoreDir,
    version: ServeVersion,
    writer: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    writer.write_optional_path(dir, info.deriver.as_ref())?;
    writer.write_path_set(dir, &info.references)?;
    writer.write_u64(info.nar_size)?;
    writer.write_u64(info.nar_size)?;
    if version.has_nar_hash() {
        writer.write_str(&info.nar_hash.to_prefixed_nix32())?;
        write_optional_content_address(info.ca.as_ref(), writer)?;
        write_signatures(&info.sigs, writer)?;
    }
    Ok(())
}

/// Reads the next item of a reply to `QueryPathInfos`, `None` at its end.
///
/// # Errors
/// The stream ends or fails, or a field does not parse.
pub fn read_path_info_item(
    dir: &StoreDir,
    version: ServeVersion,
    reader: &mut (impl Read + ?Sized),
) -> Result<Option<ValidPathInfo>> {
    let field = "the path of a path info";
    let bytes = reader.read_bytes(field, MAX_PATH)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let path = dir
        .parse(&bytes)
        .map_err(|source| WireError::Path { field, source })?;
    let info = read_unkeyed_valid_path_info(dir, version, reader)?;
    Ok(Some(ValidPathInfo { path, info }))
}

/// Writes one item of a reply to `QueryPathInfos`.
///
/// # Errors
/// The stream fails.
pub fn write_path_info_item(
    info: &ValidPathInfo,
    dir: &StoreDir,
    version: ServeVersion,
    writer: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    writer.write_path(dir, &info.path)?;
    write_unkeyed_valid_path_info(info, dir, version, writer)
}

/// Ends a reply to `QueryPathInfos`.
///
/// # Errors
/// The stream fails.
pub fn write_path_infos_end(writer: &mut (impl Write + ?Sized)) -> io::Result<()> {
    writer.write_u64(0)
}

/// Reads the arguments of `AddToStoreNar` up to the NAR, which follows without a frame
/// and has exactly `nar_size` bytes. The hash may have any form of a SHA-256.
///
/// # Errors
/// The stream ends or fails, a field does not parse, or the NAR size is 0.
pub fn read_add_to_store_nar(
    dir: &StoreDir,
    reader: &mut (impl Read + ?Sized),
) -> Result<ValidPathInfo> {
    let path = reader.read_path("the path to add", dir)?;
    let deriver = reader.read_optional_path("the deriver", dir)?;
    let nar_hash = read_nar_hash(reader)?;
    let references = reader.read_path_set("the references", dir)?;
    let registration_time = reader.read_time("the registration time")?;
    let nar_size = reader.read_u64("the NAR size")?;
    if nar_size == 0 {
        return Err(ProtoError::MissingNarSize);
    }
    let ultimate = reader.read_bool("ultimate")?;
    let sigs = read_signatures(reader)?;
    let ca = read_optional_content_address(reader)?;
    let info = UnkeyedValidPathInfo {
        deriver,
        references,
        nar_hash,
        nar_size,
        registration_time,
        ultimate,
        sigs,
        ca,
    };
    Ok(ValidPathInfo { path, info })
}

/// Writes the arguments of `AddToStoreNar` up to the NAR.
///
/// The object is never sent as `ultimate`: that says where it was built.
///
/// # Errors
/// The stream fails.
pub fn write_add_to_store_nar(
    info: &ValidPathInfo,
    dir: &StoreDir,
    writer: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    writer.write_path(dir, &info.path)?;
    writer.write_optional_path(dir, info.deriver.as_ref())?;
    // Nix compat: bare base 16 here, unlike in replies.
    writer.write_str(&info.nar_hash.to_base16())?;
    writer.write_path_set(dir, &info.references)?;
    writer.write_time(info.registration_time)?;
    writer.write_u64(info.nar_size)?;
    writer.write_bool(false)?;
    write_signatures(&info.sigs, writer)?;
    write_optional_content_address(info.ca.as_ref(), writer)
}

/// Reads a content address, or nothing for the empty string.
///
/// # Errors
/// The stream ends or fails, or the text does not parse.
pub fn read_optional_content_address(
    reader: &mut (impl Read + ?Sized),
) -> Result<Option<ContentAddress>> {
    let field = "the content address";
    let text = reader.read_string(field, MAX_SHORT)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|source| ProtoError::ContentAddress { field, source })
}

/// Writes a content address, or the empty string.
///
/// # Errors
/// The stream fails.
pub fn write_optional_content_address(
    ca: Option<&ContentAddress>,
    writer: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    match ca {
        Some(ca) => writer.write_str(&ca.to_string()),
        None => writer.write_u64(0),
    }
}

/// Reads a set of signatures, well-formed or not.
///
/// # Errors
/// The stream ends or fails, or a signature has characters that can't be kept.
pub fn read_signatures(reader: &mut (impl Read + ?Sized)) -> Result<BTreeSet<Signature>> {
    let field = "the signatures";
    let count = reader.read_count(field, MAX_SIGNATURES)?;
    let mut sigs = BTreeSet::new();
    for _ in 0..count {
        let text = reader.read_string(field, MAX_SHORT)?;
        let sig =
            Signature::verbatim(&text).map_err(|source| ProtoError::Signature { field, source })?;
        sigs.insert(sig);
    }
    Ok(sigs)
}

/// Writes those of `sigs` that are well-formed.
///
/// # Errors
/// The stream fails.
pub fn write_signatures(
    sigs: &BTreeSet<Signature>,
    writer: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    // Nix compat: since 2.34 a peer ends the connection over a malformed signature, while
    // older stores may hold some.
    let good = || sigs.iter().filter(|sig| sig.is_well_formed());
    writer.write_u64(good().count() as u64)?;
    good().try_for_each(|sig| writer.write_str(sig.as_str()))
}

fn read_nar_hash(reader: &mut (impl Read + ?Sized)) -> Result<NarHash> {
    let field = "the NAR hash";
    let text = reader.read_string(field, MAX_SHORT)?;
    NarHash::parse_any(&text).map_err(|source| ProtoError::Hash { field, source })
}
