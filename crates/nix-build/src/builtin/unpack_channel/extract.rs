//! Putting the entries of an archive in place.

use std::io::{self, Read};
use std::path::Path;

use bstr::{BStr, BString, ByteSlice};
use tar::{Archive, Entry, EntryType};

use super::UnpackError;
use super::place::{Name, Place};

/// Unpacks all entries below `top`.
pub(super) fn extract(
    reader: Box<dyn Read>,
    top: &Place,
    archive: &Path,
) -> Result<(), UnpackError> {
    let damaged = |source| UnpackError::Archive {
        archive: archive.to_owned(),
        source,
    };
    let mut tar = Archive::new(reader);
    for entry in tar.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let path = BString::from(entry.path_bytes().into_owned());
        let kind = entry.header().entry_type();
        if is_metadata(kind) {
            continue;
        }
        let name = Name::parse(path.as_bstr())?;
        match kind {
            EntryType::Directory => top.make_directory(&name)?,
            EntryType::Symlink => top.make_symlink(&name, &link_target(&entry, path.as_bstr())?)?,
            EntryType::Link => {
                let target = link_target(&entry, path.as_bstr())?;
                top.make_hard_link(&name, &Name::parse(target.as_bstr())?)?;
            }
            EntryType::Fifo | EntryType::Char | EntryType::Block => {
                return Err(UnpackError::Unsupported(path));
            }
            // Nix compat: old archives mark directories by the name alone.
            _ if path.ends_with(b"/") => top.make_directory(&name)?,
            // What nobody knows is to be taken for a file.
            _ => {
                let is_executable = entry.header().mode().map_err(damaged)? & 0o100 != 0;
                let mut file = top.make_file(&name, is_executable)?;
                io::copy(&mut entry, &mut file).map_err(damaged)?;
            }
        }
    }
    Ok(())
}

fn is_metadata(kind: EntryType) -> bool {
    const VOLUME_LABEL: u8 = b'V';
    kind.is_pax_global_extensions()
        || kind.is_pax_local_extensions()
        || kind.as_byte() == VOLUME_LABEL
}

fn link_target(entry: &Entry<'_, Box<dyn Read>>, path: &BStr) -> Result<BString, UnpackError> {
    match entry.link_name_bytes() {
        Some(target) if !target.is_empty() => Ok(target.into_owned().into()),
        _ => Err(UnpackError::NoTarget(path.into())),
    }
}
