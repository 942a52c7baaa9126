//! `nar dump PATH` writes an archive to standard output, `nar restore PATH`
//! creates the tree of the archive on standard input; `--buffered` keeps data
//! in user space.

use std::fs::File;
use std::io::{BufReader, stdin, stdout};
use std::os::fd::AsFd;
use std::path::Path;

use nix_nar::fs::{dump, restore};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let buffered = args.iter().any(|arg| arg == "--buffered");
    let [command, path, ..] = args.as_slice() else {
        return Err("usage: nar dump|restore PATH [--buffered]".into());
    };
    let mut options = restore::RestoreOptions::default();
    if args.iter().any(|arg| arg == "--canonical") {
        options.metadata = restore::Metadata::Canonical;
    }
    let path = Path::new(path);
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => File::open(parent)?,
        _ => File::open(".")?,
    };
    let name = path.file_name().ok_or("the path has no name")?;
    match (command.to_str(), buffered) {
        (Some("dump"), true) => {
            dump::dump(path, &mut stdout().lock())?;
        }
        (Some("dump"), false) => {
            dump::dump_to_fd(path, stdout().as_fd())?;
        }
        (Some("restore"), true) => {
            let mut reader = BufReader::with_capacity(256 * 1024, stdin().lock());
            restore::restore(&mut reader, parent.as_fd(), name, &options)?;
        }
        (Some("restore"), false) => {
            restore::restore_from_fd(stdin().as_fd(), parent.as_fd(), name, &options)?;
        }
        _ => return Err("unknown command".into()),
    }
    Ok(())
}
