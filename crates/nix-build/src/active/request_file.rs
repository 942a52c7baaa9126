//! Which builds are the same, and how a supervisor is told what to build.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};

use nix_base::{Hash, HashAlgo, HashFormat, StoreDir, WireRead, WireWrite};
use nix_drv::{BasicDerivation, drv_name};

use crate::failure::{BuildFailure, Result};
use crate::request::{BuildLimits, BuildMode, BuildRequest};
use crate::requester::Requester;

/// The name of the directory of a build: a digest of all that decides how it ends. Limits
/// belong to clients, and whether the build directory stays isn't part of the result.
pub(super) fn key(store_dir: &StoreDir, request: &BuildRequest) -> Result<String> {
    let mut text = Vec::new();
    write(store_dir, request, false, &mut text)?;
    let digest = Hash::of(HashAlgo::Sha256, &text);
    Ok(digest.render(HashFormat::Nix32))
}

/// Writes the request.
pub(super) fn store(store_dir: &StoreDir, request: &BuildRequest, file: &File) -> Result<()> {
    let mut out = BufWriter::new(file);
    write(store_dir, request, request.keep_failed, &mut out)?;
    out.flush().map_err(cannot_write)
}

/// Reads what [`store`] wrote. The bounds are those of clients, so there are none.
pub(super) fn load(store_dir: &StoreDir, file: &File) -> Result<BuildRequest> {
    let mut reader = BufReader::new(file);
    let failed = |error| BuildFailure::because("cannot read the request", &error);
    let drv_path = reader.read_path("derivation", store_dir).map_err(failed)?;
    let hash = reader.read_string("hash", MAX_HASH).map_err(failed)?;
    let mode = match reader.read_bool("mode").map_err(failed)? {
        true => BuildMode::Check,
        false => BuildMode::Normal,
    };
    let keep_failed = reader.read_bool("keep-failed").map_err(failed)?;
    let requester = reader
        .read_bytes("requester", MAX_REQUESTER)
        .map_err(failed)?;
    let requester = Requester::from_bytes(&requester)
        .ok_or_else(|| BuildFailure::misc("cannot read the request: who asks"))?;
    let bad = |error| BuildFailure::because("cannot read the request", &error);
    let name = drv_name(&drv_path).map_err(bad)?;
    Ok(BuildRequest {
        drv: BasicDerivation::read_wire(&mut reader, store_dir, &name).map_err(bad)?,
        drv_path,
        realisation_hash: match hash.as_str() {
            "" => None,
            hash => Some(
                Hash::parse_any(hash, None)
                    .map_err(|error| BuildFailure::because("cannot read the request", &error))?,
            ),
        },
        mode,
        limits: BuildLimits::default(),
        keep_failed,
        requester,
    })
}

fn write(
    store_dir: &StoreDir,
    request: &BuildRequest,
    keep_failed: bool,
    out: &mut impl Write,
) -> Result<()> {
    let hash = request
        .realisation_hash
        .map_or_else(String::new, |hash| hash.render_prefixed(HashFormat::Base16));
    out.write_path(store_dir, &request.drv_path)
        .map_err(cannot_write)?;
    out.write_str(&hash).map_err(cannot_write)?;
    out.write_bool(request.mode == BuildMode::Check)
        .map_err(cannot_write)?;
    out.write_bool(keep_failed).map_err(cannot_write)?;
    let requester = request
        .requester
        .to_bytes()
        .ok_or_else(|| BuildFailure::misc("cannot write the request: who asks"))?;
    out.write_bytes(&requester).map_err(cannot_write)?;
    request
        .drv
        .write_wire(out, store_dir)
        .map_err(|error| BuildFailure::because("cannot write the request", &error))
}

fn cannot_write(error: std::io::Error) -> BuildFailure {
    BuildFailure::because("cannot write the request", &error)
}

/// Bytes of the paths that are hidden, and some more.
const MAX_REQUESTER: u64 = 64 << 20;
/// Bytes of a hash with its algorithm, and some more.
const MAX_HASH: u64 = 256;
