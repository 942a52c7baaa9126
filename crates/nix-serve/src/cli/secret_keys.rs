//! Secret keys from files: those that `secret-key-files` names, which sign what is built, and
//! those of commands.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, bail};
use nix_base::SecretKey;
use zeroize::Zeroizing;

use crate::cli::env::Environment;

/// Reads the keys. No part of them is in an error.
pub(crate) fn read_secret_keys(
    files: &[&str],
    environment: &Environment,
) -> anyhow::Result<Vec<SecretKey>> {
    files
        .iter()
        .map(|file| {
            read_secret_key(Path::new(file), environment).with_context(|| {
                format!("cannot use key file '{file}' of setting 'secret-key-files'")
            })
        })
        .collect()
}

/// Reads one key. No part of it is in an error.
pub(crate) fn read_secret_key(path: &Path, environment: &Environment) -> anyhow::Result<SecretKey> {
    let file = File::open(path)?;
    let mode = file.metadata()?.mode();
    // Whoever fills a directory of credentials sees to it that nobody else gets in.
    let is_credential = environment
        .credentials_directory
        .as_ref()
        .is_some_and(|directory| path.starts_with(directory));
    if mode & READABLE_BY_OTHERS != 0 && !is_credential {
        bail!(
            "other users can read it (mode {:04o}): run 'chmod 600 {}', and make a new key if \
             it may have been read",
            mode & 0o7777,
            path.display()
        );
    }
    parse_secret_key(file)
}

/// Reads one key from `file`, wherever it comes from.
pub(crate) fn parse_secret_key(file: impl Read) -> anyhow::Result<SecretKey> {
    let mut text = Zeroizing::new(String::with_capacity(MAX_KEY_FILE));
    file.take(MAX_KEY_FILE as u64).read_to_string(&mut text)?;
    Ok(text.trim().parse()?)
}

const READABLE_BY_OTHERS: u32 = 0o044;
/// More bytes than a key has; the buffer never grows, so that no copy is left behind.
const MAX_KEY_FILE: usize = 4096;
