//! Registrations as lines: what `dump-db` prints and `load-db` reads.
//!
//! ```text
//! path LF hash LF size LF deriver, or nothing LF number of references LF
//! reference LF …
//! ```

use std::io::Read;
use std::panic::resume_unwind;

use anyhow::{Context as _, bail};
use bstr::ByteSlice as _;
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
    mut input: impl Read,
    dir: &StoreDir,
    hash_given: HashGiven,
) -> anyhow::Result<Vec<ValidPathInfo>> {
    let mut text = Vec::new();
    input.read_to_end(&mut text).context("cannot read stdin")?;
    let mut first = Lines::new(&text);
    let second = first.split_off(hash_given);
    let read = |mut lines: Lines<'_>| {
        let mut all = Vec::new();
        while let Some(info) = read_one(&mut lines, dir, hash_given)
            .with_context(|| format!("cannot read the registration in line {}", lines.number))?
        {
            all.push(info);
        }
        anyhow::Ok(all)
    };
    let Some(second) = second else {
        return read(first);
    };
    let (first, second) = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new();
        let helper = thread.spawn_scoped(scope, || read(second.clone()));
        let first = read(first);
        let second = match helper {
            Ok(helper) => helper.join().unwrap_or_else(|panic| resume_unwind(panic)),
            // There is no room for a thread.
            Err(_) => read(second.clone()),
        };
        (first, second)
    });
    let mut all = first?;
    all.append(&mut second?);
    Ok(all)
}

fn read_one(
    lines: &mut Lines<'_>,
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
#[derive(Clone)]
struct Lines<'t> {
    text: &'t [u8],
    number: u64,
}

impl<'t> Lines<'t> {
    fn new(text: &'t [u8]) -> Self {
        Self { text, number: 0 }
    }

    fn next(&mut self) -> anyhow::Result<Option<&'t [u8]>> {
        self.number += 1;
        if self.text.is_empty() {
            return Ok(None);
        }
        match self.text.find_byte(b'\n') {
            Some(end) if end < MAX_LINE => {
                let (line, rest) = self.text.split_at(end);
                self.text = &rest[1..];
                Ok(Some(line))
            }
            _ => bail!("the line is not complete, or longer than {MAX_LINE} bytes"),
        }
    }

    /// Takes away about the second half, for another thread. `None` if it isn't worth one, or if
    /// the first half is no list of registrations, as its reader will find out.
    fn split_off(&mut self, hash_given: HashGiven) -> Option<Self> {
        let whole = self.text;
        if whole.len() < WORTH_A_THREAD {
            return None;
        }
        let mut rest = self.clone();
        while rest.text.len() > whole.len() / 2 {
            rest.skip_one(hash_given)?;
        }
        self.text = &whole[..whole.len() - rest.text.len()];
        Some(rest)
    }

    fn skip_one(&mut self, hash_given: HashGiven) -> Option<()> {
        self.next().ok()?.filter(|path| !path.is_empty())?;
        let more = match hash_given {
            HashGiven::Yes => 3,
            HashGiven::No => 1,
        };
        for _ in 0..more {
            self.next().ok()??;
        }
        for _ in 0..self.count("number of references").ok()? {
            self.next().ok()??;
        }
        Some(())
    }

    fn field(&mut self, name: &str) -> anyhow::Result<&'t [u8]> {
        let line = self.next()?;
        line.with_context(|| format!("the input ends before the {name}"))
    }

    fn text(&mut self, name: &str) -> anyhow::Result<&'t str> {
        std::str::from_utf8(self.field(name)?).context("the line is not UTF-8")
    }

    fn count(&mut self, name: &str) -> anyhow::Result<u64> {
        let text = self.text(name)?;
        text.parse()
            .with_context(|| format!("the {name} '{text}' is not a number"))
    }
}

const MAX_LINE: usize = 4096;
/// From how many bytes on two threads read faster than one.
const WORTH_A_THREAD: usize = 1 << 20;

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
    fn many_are_read_by_two_in_order() {
        let one = |number: usize| {
            let path = PATH.replace("hello", &format!("hello-{number}"));
            format!("{path}\n{HASH}\n{number}\n\n1\n{PATH}\n")
        };
        let mut text: String = (0..8000).map(one).collect();
        assert!(text.len() > WORTH_A_THREAD);
        let infos = read(&text, HashGiven::Yes).unwrap();
        assert!(infos.iter().map(|info| info.info.nar_size).eq(0..8000));
        assert!(infos[7999].path.to_string().ends_with("hello-7999.txt"));

        text.push_str(&format!("\n{PATH}\n"));
        assert_eq!(read(&text, HashGiven::Yes).unwrap().len(), 8000);
        for (at, line) in [(100, 603), (7000, 42003)] {
            let wrong = text.replace(&format!("\n{at}\n"), "\nmany\n");
            let error = crate::cli::report::one_line(&read(&wrong, HashGiven::Yes).unwrap_err());
            let line = format!("cannot read the registration in line {line}: the size 'many'");
            assert!(error.starts_with(&line), "{error}");
        }
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
