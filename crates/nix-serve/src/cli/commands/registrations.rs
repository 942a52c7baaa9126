//! Registrations as lines: what `dump-db` prints and `load-db` reads.
//!
//! ```text
//! path LF hash LF size LF deriver, or nothing LF number of references LF
//! reference LF …
//! ```

use std::io::BufRead;

use anyhow::{Context as _, bail};
use nix_base::{NarHash, StoreDir, StorePath, UnkeyedValidPathInfo, ValidPathInfo};

/// Whether registrations have lines for hash and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HashGiven {
    /// They have.
    Yes,
    /// They haven't; the object says.
    No,
}

/// Reads all that `input` has.
pub(super) fn read_all(
    input: impl BufRead,
    dir: &StoreDir,
    hash_given: HashGiven,
) -> anyhow::Result<Vec<ValidPathInfo>> {
    let mut lines = Lines {
        input,
        line: Vec::new(),
        number: 0,
    };
    let mut all = Vec::new();
    while let Some(info) = read_one(&mut lines, dir, hash_given)
        .with_context(|| format!("cannot read the registration in line {}", lines.number))?
    {
        all.push(info);
    }
    Ok(all)
}

fn read_one(
    lines: &mut Lines<impl BufRead>,
    dir: &StoreDir,
    hash_given: HashGiven,
) -> anyhow::Result<Option<ValidPathInfo>> {
    // Nix compat: an empty line ends the input.
    let path = match lines.next()? {
        None | Some([]) => return Ok(None),
        Some(line) => dir.parse(line)?,
    };
    let mut info = UnkeyedValidPathInfo::new(NarHash::from_bytes([0; 32]), 0);
    if hash_given == HashGiven::Yes {
        let hash = lines.text("hash")?;
        info.nar_hash =
            NarHash::parse_any(hash).with_context(|| format!("'{hash}' is not a hash"))?;
        info.nar_size = lines.count("size")?;
    }
    info.deriver = match lines.field("deriver")? {
        [] => None,
        line => Some(dir.parse(line)?),
    };
    let mut references: Vec<StorePath> = Vec::new();
    for _ in 0..lines.count("number of references")? {
        references.push(dir.parse(lines.field("reference")?)?);
    }
    info.references = references.into_iter().collect();
    Ok(Some(ValidPathInfo { path, info }))
}

/// Lines of bounded length, counted.
struct Lines<R> {
    input: R,
    line: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> anyhow::Result<Option<&[u8]>> {
        self.line.clear();
        self.number += 1;
        let mut limited = std::io::Read::take(&mut self.input, MAX_LINE);
        limited
            .read_until(b'\n', &mut self.line)
            .context("cannot read stdin")?;
        match self.line.pop() {
            None => return Ok(None),
            Some(b'\n') => {}
            Some(_) => bail!("the line is not complete, or longer than {MAX_LINE} bytes"),
        }
        Ok(Some(&self.line))
    }

    fn field(&mut self, name: &str) -> anyhow::Result<&[u8]> {
        let line = self.next()?;
        line.with_context(|| format!("the input ends before the {name}"))
    }

    fn text(&mut self, name: &str) -> anyhow::Result<&str> {
        std::str::from_utf8(self.field(name)?).context("the line is not UTF-8")
    }

    fn count(&mut self, name: &str) -> anyhow::Result<u64> {
        let text = self.text(name)?;
        text.parse()
            .with_context(|| format!("the {name} '{text}' is not a number"))
    }
}

const MAX_LINE: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/nix/store/i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt";
    const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn read(text: &str, hash_given: HashGiven) -> anyhow::Result<Vec<ValidPathInfo>> {
        read_all(text.as_bytes(), &StoreDir::default(), hash_given)
    }

    #[test]
    fn reads_what_dump_db_prints() {
        let text = format!("{PATH}\n{HASH}\n96\n\n1\n{PATH}\n");
        let infos = read(&text.repeat(2), HashGiven::Yes).unwrap();
        assert_eq!(infos.len(), 2);
        let info = &infos[1];
        assert_eq!(info.nar_hash.to_base16(), HASH);
        assert_eq!(info.nar_size, 96);
        assert_eq!(info.deriver, None);
        assert!(info.references.contains(&info.path));
    }

    #[test]
    fn hash_and_size_may_be_left_to_the_object() {
        let text = format!("{PATH}\n{PATH}\n0\n\nbehind the end\n");
        let infos = read(&text, HashGiven::No).unwrap();
        assert_eq!(infos.len(), 1);
        assert_eq!(infos[0].deriver.as_ref(), Some(&infos[0].path));
        assert!(infos[0].nar_hash.is_unknown());
    }

    #[test]
    fn refuses_what_is_cut_short_or_malformed() {
        let error =
            |text: &str| crate::cli::report::one_line(&read(text, HashGiven::Yes).unwrap_err());
        assert_eq!(
            error(&format!("{PATH}\n")),
            "cannot read the registration in line 2: the input ends before the hash"
        );
        assert!(
            error(&format!("{PATH}\n{HASH}\nten\n"))
                .contains("the size 'ten' is not a number: invalid digit found in string")
        );
        assert!(error("/etc/passwd\n").contains("'/etc/passwd' is not in the Nix store"));
        assert!(error(&format!("{PATH}\n{HASH}\n1\n\n1\n{PATH}")).contains("not complete"));
        assert!(error(&"x".repeat(5000)).contains("longer than 4096 bytes"));
    }
}
