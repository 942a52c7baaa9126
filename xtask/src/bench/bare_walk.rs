//! `xtask bare-walk DIR`: open, read and write every file of a tree and nothing else, as the
//! lower bound of what a dump can take.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags};

use crate::args::Args;

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<()> {
    let [root] = args.values() else {
        bail!("wants a directory");
    };
    let mut buffer = vec![0; 256 * 1024];
    // Not through the buffer of `Stdout`, which looks for ends of lines.
    let mut out = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut dirs = vec![
        rustix::fs::openat(CWD, root, flags, Mode::empty())
            .with_context(|| format!("cannot open '{}'", root.to_string_lossy()))?,
    ];
    while let Some(dir) = dirs.pop() {
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            match entry.file_type() {
                FileType::Directory => {
                    dirs.push(rustix::fs::openat(&dir, name, flags, Mode::empty())?);
                }
                FileType::RegularFile => {
                    let file = rustix::fs::openat(&dir, name, flags, Mode::empty())?;
                    copy(&file, &mut buffer, &mut out)?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn copy(file: &OwnedFd, buffer: &mut [u8], out: &mut impl Write) -> Result<()> {
    loop {
        let n = rustix::io::read(file.as_fd(), &mut *buffer)?;
        if n == 0 {
            return Ok(());
        }
        out.write_all(&buffer[..n])?;
    }
}
