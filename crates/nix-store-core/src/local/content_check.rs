//! Whether a staged object is what its content address says.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::fd::BorrowedFd;

use nix_base::{
    ContentAddress, ContentAddressMethod, Hash, HashAlgo, HashModuloSink, HashSink, Positions,
    StoreDir, ValidPathInfo,
};
use nix_nar::fs::dump::dump_at;

use super::import::Scrutiny;
use super::staging::{StagedTree, StagingDir};
use crate::error::{Error, FullPath, Result};

/// Checks that the path of `info` follows from its content address, and the content address
/// from the staged tree. Does nothing for objects without one.
pub(crate) fn check_content_address(
    dir: &StoreDir,
    info: &ValidPathInfo,
    staging: &StagingDir,
    tree: &StagedTree,
    scrutiny: Scrutiny,
) -> Result<()> {
    let Some(ca) = info.ca else {
        return Ok(());
    };
    let path = || Box::new(FullPath::new(dir, &info.path));
    if info.content_address_matches(dir) != Some(true) {
        return Err(Error::WrongContentAddress {
            path: path(),
            ca: Box::new(ca),
        });
    }
    if content_hashes(dir, info, &ca, staging, tree, scrutiny)?.contains(&ca.hash) {
        return Ok(());
    }
    Err(Error::ContentMismatch {
        path: path(),
        ca: Box::new(ca),
    })
}

/// The hashes that the content may have under the rules of the releases; none if the
/// object can't be addressed by this method.
fn content_hashes(
    dir: &StoreDir,
    info: &ValidPathInfo,
    ca: &ContentAddress,
    staging: &StagingDir,
    tree: &StagedTree,
    scrutiny: Scrutiny,
) -> Result<Vec<Hash>> {
    let algo = ca.hash.algo();
    let (parent, name) = staging.location(tree);
    let nar = |action, source| Error::Nar {
        action,
        path: Box::new(FullPath::new(dir, &info.path)),
        source,
    };
    match ca.method {
        ContentAddressMethod::Text | ContentAddressMethod::Flat => {
            let Some(mut file) = staging.open_file(tree)? else {
                return Ok(Vec::new());
            };
            let mut sink = HashSink::new(algo);
            copy(&mut file, &mut sink)
                .map_err(|source| Error::io("read", name.as_ref(), source))?;
            Ok(vec![sink.finish().0])
        }
        ContentAddressMethod::NixArchive if info.references.contains(&info.path) => {
            // Nix compat: 2.17–2.34 leave the positions of self-references out.
            let omitted = scrutiny.omitted_positions.then_some(Positions::Omitted);
            std::iter::once(Positions::Included)
                .chain(omitted)
                .map(|positions| {
                    let mut sink = HashModuloSink::new(algo, *info.path.hash(), positions);
                    dump_at(parent, name, &mut sink).map_err(|source| nar("hash", source))?;
                    Ok(sink.finish())
                })
                .collect()
        }
        ContentAddressMethod::NixArchive if algo == HashAlgo::Sha256 => {
            Ok(vec![tree.nar_hash.into()])
        }
        ContentAddressMethod::NixArchive => {
            let mut sink = HashSink::new(algo);
            dump_at(parent, name, &mut sink).map_err(|source| nar("hash", source))?;
            Ok(vec![sink.finish().0])
        }
        ContentAddressMethod::Git => git_hash(parent, name, algo).map(Vec::from_iter),
    }
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<u64> {
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(total);
        }
        to.write_all(&buffer[..read])?;
        total += read as u64;
    }
}

/// The Git object id of a staged tree: experimental upstream, and only with these two
/// algorithms.
fn git_hash(parent: BorrowedFd<'_>, name: &OsStr, algo: HashAlgo) -> Result<Option<Hash>> {
    match algo {
        HashAlgo::Sha1 | HashAlgo::Sha256 => {
            super::git_hash::git_object_id(parent, name, algo).map(Some)
        }
        _ => Ok(None),
    }
}
