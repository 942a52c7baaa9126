//! Reading the log, earliest first.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::record::{Entry, Wanted};
use super::{CURRENT, SUFFIX};

/// Hands each wanted entry to `each`, with its line as it stands in the file.
///
/// A line that is cut short, or isn't ours, is passed over.
pub(crate) fn read_all<E: From<io::Error>>(
    dir: &Path,
    wanted: &Wanted,
    mut each: impl FnMut(&str, &Entry) -> Result<(), E>,
) -> Result<(), E> {
    let mut names = file_names(dir)?;
    names.push(CURRENT.to_owned());
    for name in names {
        let file = match File::open(dir.join(name)) {
            Ok(file) => file,
            // Removed, or renamed, meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
        let mut lines = BufReader::new(file);
        let mut line = Vec::new();
        while read_line(&mut lines, &mut line)? {
            let Some(text) = std::str::from_utf8(&line).ok().map(str::trim_end) else {
                continue;
            };
            match serde_json::from_str::<Entry>(text) {
                Ok(entry) if wanted.includes(&entry) => each(text, &entry)?,
                _ => {}
            }
        }
    }
    Ok(())
}

/// The earlier files, the oldest first.
pub(super) fn file_names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry?.file_name().into_string()
            && name.ends_with(SUFFIX)
            && name != CURRENT
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Reads up to the next line feed; no line is longer than what servers write.
fn read_line(lines: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    lines.take(MAX_LINE).read_until(b'\n', line)?;
    Ok(!line.is_empty())
}

const MAX_LINE: u64 = 1 << 20;
