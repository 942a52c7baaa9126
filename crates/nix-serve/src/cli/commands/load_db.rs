//! `load-db`: registers paths that are on disk already, from what `dump-db` printed.

use std::io::{BufRead, BufReader};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use nix_base::{NarHash, StoreDir, StorePath, UnkeyedValidPathInfo, ValidPathInfo};

use crate::cli::context::{Context, Purpose};
use crate::cli::signals::{Input, SignalWatch};

/// Registers what stdin says, all or nothing.
pub(crate) fn run(context: &Context) -> anyhow::Result<ExitCode> {
    let watch = SignalWatch::install(Arc::default())?;
    let store = context.open_store("load-db", Purpose::Write)?;
    let mut lines = Lines {
        input: BufReader::with_capacity(BUFFER, Input::of_process(watch)?),
        number: 0,
    };
    let mut batch = Vec::new();
    while let Some(info) = read_registration(&mut lines, store.store_dir())
        .with_context(|| format!("cannot read the registration in line {}", lines.number))?
    {
        batch.push(info);
    }
    let count = batch.len();
    store.register_present(batch)?;
    tracing::debug!("{count} paths registered");
    Ok(ExitCode::SUCCESS)
}

fn read_registration(
    lines: &mut Lines<impl BufRead>,
    dir: &StoreDir,
) -> anyhow::Result<Option<ValidPathInfo>> {
    let Some(path) = lines.next()? else {
        return Ok(None);
    };
    // Nix compat: an empty line ends the input.
    if path.is_empty() {
        return Ok(None);
    }
    let path = dir.parse(&path)?;
    let hash = lines.field("hash")?;
    let nar_hash = NarHash::parse_any(&hash).with_context(|| format!("'{hash}' is not a hash"))?;
    let nar_size = lines.number("size")?;
    let mut info = UnkeyedValidPathInfo::new(nar_hash, nar_size);
    info.deriver = parse_optional(&lines.field("deriver")?, dir)?;
    for _ in 0..lines.number("number of references")? {
        info.references
            .insert(dir.parse(lines.field("reference")?)?);
    }
    Ok(Some(ValidPathInfo { path, info }))
}

fn parse_optional(text: &str, dir: &StoreDir) -> anyhow::Result<Option<StorePath>> {
    match text {
        "" => Ok(None),
        text => Ok(Some(dir.parse(text)?)),
    }
}

/// Lines of bounded length, counted.
struct Lines<R> {
    input: R,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> anyhow::Result<Option<String>> {
        let mut line = Vec::new();
        self.number += 1;
        let mut limited = std::io::Read::take(&mut self.input, MAX_LINE);
        limited
            .read_until(b'\n', &mut line)
            .context("cannot read stdin")?;
        match line.pop() {
            None => return Ok(None),
            Some(b'\n') => {}
            Some(_) => bail!("the line is not complete, or longer than {MAX_LINE} bytes"),
        }
        String::from_utf8(line)
            .context("the line is not UTF-8")
            .map(Some)
    }

    fn field(&mut self, name: &str) -> anyhow::Result<String> {
        let line = self.next()?;
        line.with_context(|| format!("the input ends before the {name}"))
    }

    fn number(&mut self, name: &str) -> anyhow::Result<u64> {
        let text = self.field(name)?;
        text.parse()
            .with_context(|| format!("the {name} '{text}' is not a number"))
    }
}

const BUFFER: usize = 64 << 10;
const MAX_LINE: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/nix/store/i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt";
    const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn read(text: &str) -> anyhow::Result<Option<ValidPathInfo>> {
        let mut lines = Lines {
            input: text.as_bytes(),
            number: 0,
        };
        read_registration(&mut lines, &StoreDir::default())
    }

    #[test]
    fn reads_what_dump_db_prints() {
        let info = read(&format!("{PATH}\n{HASH}\n96\n\n1\n{PATH}\n"))
            .unwrap()
            .unwrap();
        assert_eq!(info.nar_hash.to_base16(), HASH);
        assert_eq!(info.nar_size, 96);
        assert_eq!(info.deriver, None);
        assert!(info.references.contains(&info.path));
    }

    #[test]
    fn refuses_what_is_cut_short_or_malformed() {
        let error = |text: &str| crate::cli::report::one_line(&read(text).unwrap_err());
        assert_eq!(
            error(&format!("{PATH}\n")),
            "the input ends before the hash"
        );
        assert_eq!(
            error(&format!("{PATH}\n{HASH}\nten\n")),
            "the size 'ten' is not a number: invalid digit found in string"
        );
        assert!(error("/etc/passwd\n").contains("'/etc/passwd' is not in the Nix store"));
        assert!(error(&format!("{PATH}\n{HASH}\n1\n\n1\n{PATH}")).contains("not complete"));
        assert!(error(&"x".repeat(5000)).contains("longer than 4096 bytes"));
    }
}
