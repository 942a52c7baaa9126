//! `key`: makes keys for signatures, and takes their public halves out.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use nix_base::SecretKey;
use zeroize::Zeroizing;

use crate::cli::context::Context;
use crate::cli::key_args::{KeyCommand, NewKey};
use crate::cli::new_file::{Replace, write_new_file};
use crate::cli::output::Output;
use crate::cli::secret_keys::{parse_secret_key, read_secret_key};

/// Writes keys to files, or to stdout.
pub(crate) fn run(command: &KeyCommand, context: &Context) -> anyhow::Result<ExitCode> {
    match command {
        KeyCommand::Generate(new) => generate(new),
        KeyCommand::Public { file } => public(file.as_deref(), context),
    }
}

/// Makes a key.
fn generate(new: &NewKey) -> anyhow::Result<ExitCode> {
    check_name(&new.name)?;
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed)
        .map_err(|error| anyhow::anyhow!("cannot get random bytes: {error}"))?;
    let key = SecretKey::from_seed(&new.name, &seed);
    let text = key.to_text();
    let replace = match new.replace {
        true => Replace::Yes,
        false => Replace::No,
    };
    // Nix compat: no newline at the end of either file.
    match &new.secret_file {
        None => print(text.as_bytes())?,
        Some(file) => write_new_file(file, text.as_bytes(), OWNER_ONLY, replace)
            .with_context(|| format!("cannot write secret key to '{}'", file.display()))?,
    }
    if let Some(file) = &new.public_file {
        let text = key.public_key().to_string();
        write_new_file(file, text.as_bytes(), EVERYBODY, replace)
            .inspect_err(|_| {
                // Half of a pair is of no use, and would be in the way of the next try.
                if let (Some(secret), Replace::No) = (&new.secret_file, replace) {
                    let _ = std::fs::remove_file(secret);
                }
            })
            .with_context(|| format!("cannot write public key to '{}'", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The name stands before a colon, and in lists with blanks between.
fn check_name(name: &str) -> anyhow::Result<()> {
    ensure!(!name.is_empty(), "a key needs a name");
    if name.contains(|c: char| c == ':' || c.is_whitespace() || c.is_control()) {
        bail!("the name of a key has neither colons nor white space, unlike '{name}'");
    }
    Ok(())
}

fn public(file: Option<&Path>, context: &Context) -> anyhow::Result<ExitCode> {
    let key = match file {
        Some(file) => read_secret_key(file, context.environment())
            .with_context(|| format!("cannot use key file '{}'", file.display()))?,
        None => {
            let stdin = io::stdin().as_fd().try_clone_to_owned();
            // Without the buffer of the standard library, which nobody wipes.
            let stdin = File::from(stdin.context("cannot use stdin")?);
            parse_secret_key(stdin).context("cannot read a secret key from stdin")?
        }
    };
    print(key.public_key().to_string().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a key to stdout.
fn print(text: &[u8]) -> anyhow::Result<()> {
    let mut output = Output::of_process()?;
    output.write_all(text)?;
    // Nix compat: files get no newline; a reader wants one.
    if io::stdout().is_terminal() {
        output.write_all(b"\n")?;
    }
    Ok(())
}

const OWNER_ONLY: u32 = 0o600;
const EVERYBODY: u32 = 0o644;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lists_can_hold_are_taken() {
        check_name("cache.example.org-1").unwrap();
        for name in ["", "a b", "a:b", "a\n"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn there_is_a_pair_of_files_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| Some(dir.path().join(name));
        let new = NewKey {
            name: "k-1".to_owned(),
            secret_file: file("secret"),
            public_file: file("public"),
            replace: false,
        };
        std::fs::write(dir.path().join("public"), "of another key").unwrap();
        for _ in 0..2 {
            let error = format!("{:#}", generate(&new).unwrap_err());
            assert!(error.contains("public key"), "{error}");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        }
        std::fs::remove_file(dir.path().join("public")).unwrap();
        generate(&new).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
