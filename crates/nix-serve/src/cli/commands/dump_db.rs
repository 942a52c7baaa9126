//! `dump-db`: registrations, as `nix-store --dump-db` prints them. Their form is described
//! in [`registrations`](super::registrations).

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use nix_base::{StoreDir, ValidPathInfo};
use nix_store_core::db::{RegistrationText, Registrations};
use nix_store_core::{Error, LocalStore, Store};

use crate::cli::context::{Context, Purpose};
use crate::cli::output::Output;
use crate::cli::path_arg::store_path;

/// Prints the registrations of `paths`, or of all paths.
pub(crate) fn run(paths: &[PathBuf], context: &Context) -> anyhow::Result<ExitCode> {
    let store = context.open_store("dump-db", Purpose::Read)?;
    if !paths.is_empty() {
        return dump_named(paths, &store);
    }
    let all = store.db().read_registrations()?;
    print_all(&all, &mut Output::of_process()?).context("cannot write to stdout")?;
    Ok(ExitCode::SUCCESS)
}

fn print_all(all: &Registrations, output: &mut Output) -> io::Result<()> {
    let mut text = Vec::with_capacity(BUFFER * 2);
    for registration in all.iter() {
        append_text(&registration, &mut text)?;
        if text.len() >= BUFFER {
            output.write_all(&text)?;
            text.clear();
        }
    }
    output.write_all(&text)
}

fn append_text(registration: &RegistrationText<'_>, text: &mut Vec<u8>) -> io::Result<()> {
    for part in [registration.path(), b"\n", registration.hash()] {
        text.extend_from_slice(part);
    }
    write!(text, "\n{}\n", registration.nar_size())?;
    text.extend_from_slice(registration.deriver());
    let references = registration.references();
    write!(text, "\n{}\n", references.len())?;
    for reference in references {
        text.extend_from_slice(reference);
        text.push(b'\n');
    }
    Ok(())
}

/// Prints the registrations of these paths.
fn dump_named(paths: &[PathBuf], store: &LocalStore) -> anyhow::Result<ExitCode> {
    let dir = store.store_dir();
    let mut text = String::new();
    let mut result = Ok(());
    // Nix compat: one for each argument, in their order, up to the first that isn't valid.
    for argument in paths {
        let path = store_path(argument, store.layout())?;
        match store.query_path_info(&path)? {
            Some(info) => append(dir, &info, &mut text),
            None => {
                result = Err(Error::not_valid(dir, &path).into());
                break;
            }
        }
    }
    Output::of_process()?
        .write_all(text.as_bytes())
        .context("cannot write to stdout")?;
    result.map(|()| ExitCode::SUCCESS)
}

fn append(dir: &StoreDir, info: &ValidPathInfo, text: &mut String) {
    dir.append_to(&info.path, text);
    text.push('\n');
    text.push_str(&info.nar_hash.to_base16());
    // Writing to a string can't fail.
    let _ = write!(text, "\n{}\n", info.nar_size);
    if let Some(deriver) = &info.deriver {
        dir.append_to(deriver, text);
    }
    let _ = write!(text, "\n{}\n", info.references.len());
    for reference in &info.references {
        dir.append_to(reference, text);
        text.push('\n');
    }
}

const BUFFER: usize = 256 << 10;
