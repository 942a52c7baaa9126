//! What caches say.

use nix_base::StoreDir;
use nix_cache::NarInfo;

use super::Target;
use crate::{class, seeds};

pub(crate) const NARINFO: Target = Target {
    name: "narinfo",
    make: || Box::new(narinfo),
    seeds: seeds::narinfos,
    words: &[
        b"StorePath: /nix/store/",
        b"URL: ",
        b"Compression: ",
        b"FileHash: sha256:",
        b"FileSize: ",
        b"NarHash: sha256:",
        b"NarSize: ",
        b"References: ",
        b"Deriver: ",
        b"Sig: ",
        b"CA: ",
        b"unknown-deriver",
        b"\n",
        b"\r\n",
        b": ",
    ],
};

/// What is accepted is printed in one form, which is read back as the same.
fn narinfo(input: &[u8]) -> u64 {
    let dir = StoreDir::default();
    let text = String::from_utf8_lossy(input);
    let parsed = NarInfo::parse(&text, &dir);
    if let Ok(narinfo) = &parsed {
        let printed = narinfo.print(&dir);
        assert_eq!(NarInfo::parse(&printed, &dir).as_ref(), Ok(narinfo));
    }
    class::of_result(&parsed, |narinfo| {
        let info = &narinfo.info;
        (
            info.references.len().min(3),
            info.deriver.is_some(),
            info.sigs.len().min(3),
            info.ca.is_some(),
            narinfo.file_hash.is_some(),
            narinfo.file_size.is_some(),
        )
    })
}
