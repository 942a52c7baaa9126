//! `--print-env`: what a derivation gives its builder, as commands for a shell.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::cli::commands::query::read_derivation;
use crate::cli::context::{Context, Purpose};
use crate::cli::output::Output;

/// Prints an assignment for each variable, and one for the builder's arguments.
pub(super) fn run(drv: &Path, context: &Context) -> anyhow::Result<ExitCode> {
    let store = context.open_store("--print-env", Purpose::Read)?;
    let text = drv.to_str().context("the path is not UTF-8")?;
    // Nix compat: the path itself, and no link to it.
    let path = store.store_dir().parse(text)?;
    let drv = read_derivation(&store, &path)?;
    let mut script = Vec::new();
    for (name, value) in &drv.basic.env {
        assign(name, value, &mut script);
        script.extend_from_slice(b"\n\n");
    }
    assign(b"_args", &drv.basic.args.join(&b' '), &mut script);
    script.push(b'\n');
    std::io::Write::write_all(&mut Output::of_process()?, &script)
        .context("cannot write to stdout")?;
    Ok(ExitCode::SUCCESS)
}

/// Adds `export NAME; NAME='VALUE'`.
fn assign(name: &[u8], value: &[u8], script: &mut Vec<u8>) {
    script.extend_from_slice(b"export ");
    script.extend_from_slice(name);
    script.extend_from_slice(b"; ");
    script.extend_from_slice(name);
    script.extend_from_slice(b"='");
    for &byte in value {
        match byte {
            b'\'' => script.extend_from_slice(b"'\\''"),
            other => script.push(other),
        }
    }
    script.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_every_value_as_it_is() {
        let mut script = Vec::new();
        assign(b"x", b"it's $1 \\ \"", &mut script);
        assert_eq!(
            String::from_utf8(script).unwrap(),
            r#"export x; x='it'\''s $1 \ "'"#
        );
    }
}
