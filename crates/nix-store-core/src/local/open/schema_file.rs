//! The file that tells which schema the database has, and that there is a database.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};

use crate::db::{Durability, SCHEMA_VERSION};
use crate::error::{Error, Result};
use crate::layout::StoreLayout;

/// The version in the schema file, or `None` if there is no such file.
pub(super) fn read(layout: &StoreLayout) -> Result<Option<u32>> {
    let path = layout.schema_file();
    let began = Instant::now();
    loop {
        let Some(text) = contents(&path)? else {
            return Ok(None);
        };
        // Nix compat: it makes the file empty and then writes to it. Empty for longer, it is
        // refused, as by every release; and so is a line break.
        if text.is_empty() && began.elapsed() < BEING_WRITTEN {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        return match std::str::from_utf8(&text).map(str::parse) {
            Ok(Ok(version)) if digits => Ok(Some(version)),
            _ => Err(Error::CorruptSchema { path }),
        };
    }
}

/// Writes the version, so that others see it complete or not at all.
pub(super) fn write(layout: &StoreLayout, durability: Durability) -> Result<()> {
    let path = layout.schema_file();
    let temp = layout
        .db_dir()
        .join(format!(".schema-{}", super::dirs::random_name()?));
    let mode = Mode::from_raw_mode(0o644);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let written = rustix::fs::open(&temp, flags, mode)
        .map(File::from)
        .map_err(io::Error::from)
        .and_then(|mut file| {
            file.write_all(SCHEMA_VERSION.to_string().as_bytes())?;
            match durability {
                Durability::None => Ok(()),
                Durability::Ordered | Durability::Full => file.sync_all(),
            }
        })
        .and_then(|()| std::fs::rename(&temp, &path));
    if let Err(error) = written {
        // The first error is the one to report; a file left behind does no harm.
        let _ = std::fs::remove_file(&temp);
        return Err(Error::io("write", &path, error));
    }
    if durability == Durability::None {
        return Ok(());
    }
    // Protects the rename: without it the store could be without its version after a cut.
    File::open(layout.db_dir())
        .and_then(|dir| dir.sync_all())
        .map_err(|error| Error::io("flush", &layout.db_dir(), error))
}

fn contents(path: &Path) -> Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(Error::io("open", path, error)),
    };
    let mut text = Vec::new();
    file.take(LONGEST)
        .read_to_end(&mut text)
        .map_err(|error| Error::io("read", path, error))?;
    Ok(Some(text))
}

/// How long another process may take between making the file and filling it.
const BEING_WRITTEN: Duration = Duration::from_secs(1);
/// More than a version number can have.
const LONGEST: u64 = 16;
