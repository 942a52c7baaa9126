//! `builtin:fetchurl`: gets a file, or an archive to unpack, from `file:`, `http:` and
//! `https:` addresses.
//!
//! The attributes are `url`; `unpack`, if `1` for a NAR, compressed if the address ends in
//! `.xz`; and `executable`. Flat fixed outputs are looked for on the mirrors first, where
//! their hash is their name. Since the hash is checked afterwards, or nothing is promised,
//! the addresses need not be trusted; what arrives is never held in memory.

mod address;
mod download;
mod netrc;
mod proxy;
mod public;
mod save;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::{BuiltinCall, BuiltinError, say};

use self::address::Address;
use self::download::Downloader;
use self::save::Saver;

/// Why it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// Anything could come back.
    #[error("'builtin:fetchurl' must be a fixed-output or impure derivation")]
    NotFixed,
    /// It isn't an address at all.
    #[error("'{address}' isn't a valid address: {problem}")]
    BadAddress {
        /// What it is.
        address: String,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no way to get things from there.
    #[error("unable to download '{address}': unsupported protocol '{scheme}'")]
    Scheme {
        /// The address.
        address: String,
        /// Its scheme.
        scheme: String,
    },
    /// A file can't be read.
    #[error("unable to download '{address}'")]
    File {
        /// The address.
        address: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The connection failed.
    #[error("unable to download '{address}'")]
    Connection {
        /// The address.
        address: String,
        /// The cause.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The connection failed while the contents arrived.
    #[error("unable to download '{address}'")]
    Body {
        /// The address.
        address: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The server doesn't give it out.
    #[error("unable to download '{address}': HTTP error {status}{}", body_text(.body))]
    Status {
        /// The address.
        address: String,
        /// The status.
        status: u16,
        /// The beginning of what the server says about it.
        body: String,
    },
    /// The server sends us round in circles.
    #[error("unable to download '{address}': more than {limit} redirects")]
    Redirects {
        /// The address.
        address: String,
        /// The bound.
        limit: usize,
    },
    /// The server sends us somewhere that can't be.
    #[error("unable to download '{address}': it redirects to '{to}'")]
    RedirectTo {
        /// The address.
        address: String,
        /// Where to.
        to: String,
    },
    /// Without certificates nobody can be trusted.
    #[error("unable to download '{0}': no certificates are configured ('ssl-cert-file')")]
    NoCertificates(String),
    /// The proxy's address can't be understood.
    #[error("the proxy '{address}' can't be used")]
    Proxy {
        /// Its address.
        address: String,
        /// The cause.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The output can't be written.
    #[error("cannot {what} '{}'", .path.display())]
    Write {
        /// What was tried.
        what: &'static str,
        /// The output.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// What arrived can't be unpacked.
    #[error("cannot unpack '{address}'")]
    Unpack {
        /// The address.
        address: String,
        /// The cause.
        #[source]
        source: nix_nar::Error,
    },
}

/// How often a failing download is tried, and how long to wait before the second time;
/// every further wait is twice as long.
#[derive(Debug, Clone, Copy)]
struct Patience {
    attempts: u32,
    first_wait: Duration,
    stalled: Duration,
}

impl Default for Patience {
    /// What Nix has.
    fn default() -> Self {
        Self {
            attempts: 5,
            first_wait: Duration::from_millis(250),
            stalled: Duration::from_secs(300),
        }
    }
}

pub(super) fn run(call: &BuiltinCall) -> Result<(), BuiltinError> {
    run_patiently(call, Patience::default())
}

fn run_patiently(call: &BuiltinCall, patience: Patience) -> Result<(), BuiltinError> {
    if call.fixed.is_none() && !call.impure {
        return Err(FetchError::NotFixed.into());
    }
    let saver = Saver {
        out: call.out()?,
        unpack: call.is_set("unpack")?,
        executable: call.is_set("executable")?,
    };
    let url = call.required_text("url")?;
    let downloader = Downloader::new(call, patience);
    for mirrored in mirrored_addresses(call) {
        match fetch(&downloader, &mirrored, &saver) {
            Ok(()) => return Ok(()),
            Err(error) => say::line(&say::with_causes(&error)),
        }
    }
    fetch(&downloader, &url, &saver)?;
    Ok(())
}

fn fetch(downloader: &Downloader<'_>, url: &str, saver: &Saver<'_>) -> Result<(), FetchError> {
    match Address::parse(url)? {
        Address::File(path) => saver.save_file(url, &path),
        Address::Http(address) => downloader.fetch(&address, saver),
    }
}

/// Where a flat fixed output may be found by its hash.
fn mirrored_addresses(call: &BuiltinCall) -> Vec<String> {
    let Some(fixed) = call.fixed.as_ref().filter(|fixed| fixed.flat) else {
        return Vec::new();
    };
    call.hashed_mirrors
        .iter()
        .map(|mirror| {
            let mirror = mirror.trim_end_matches('/');
            format!("{mirror}/{}/{}", fixed.algo, fixed.hex)
        })
        .collect()
}

fn body_text(body: &str) -> String {
    match body.trim() {
        "" => String::new(),
        body => format!("\n\nresponse body:\n\n{body}"),
    }
}

#[cfg(test)]
mod tests;
