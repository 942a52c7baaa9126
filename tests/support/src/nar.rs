//! A plain archive writer, independent of the product's.
//!
//! ```text
//! nar  = str("nix-archive-1") node
//! node = "(" "type" ( "regular" ["executable" ""] "contents" bytes
//!                   | "symlink" "target" text
//!                   | "directory" ("entry" "(" "name" text "node" node ")")* ) ")"
//! ```

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::bytes::Message;

/// The archive of a regular file with these contents.
pub fn regular(contents: &[u8]) -> Vec<u8> {
    node_archive(|out| put_regular(out, contents, false))
}

/// The archive of an executable file with these contents.
pub fn executable(contents: &[u8]) -> Vec<u8> {
    node_archive(|out| put_regular(out, contents, true))
}

/// The archive of a symlink.
pub fn symlink(target: &[u8]) -> Vec<u8> {
    node_archive(|out| {
        put(out, &[b"type", b"symlink", b"target", target]);
    })
}

/// The archive of a directory whose entries are archives themselves; the
/// order is kept, so that a wrong one can be made too.
pub fn directory(entries: &[(&[u8], Vec<u8>)]) -> Vec<u8> {
    node_archive(|out| {
        put(out, &[b"type", b"directory"]);
        for (name, archive) in entries {
            put(out, &[b"entry", b"(", b"name", name, b"node"]);
            out.raw(&archive[magic().len()..]);
            put(out, &[b")"]);
        }
    })
}

/// The archive of what is at `path`.
///
/// # Panics
/// If it can't be read, or is something that no archive can hold.
pub fn of_path(path: &Path) -> Vec<u8> {
    node_archive(|out| put_path(out, path))
}

fn node_archive(fill: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut out = Message::new().raw_owned(&magic());
    put(&mut out, &[b"("]);
    fill(&mut out);
    put(&mut out, &[b")"]);
    out.into_bytes()
}

fn magic() -> Vec<u8> {
    Message::new().string(b"nix-archive-1").into_bytes()
}

fn put(out: &mut Message, words: &[&[u8]]) {
    for word in words {
        out.put_string(word);
    }
}

fn put_regular(out: &mut Message, contents: &[u8], executable: bool) {
    put(out, &[b"type", b"regular"]);
    if executable {
        put(out, &[b"executable", b""]);
    }
    put(out, &[b"contents", contents]);
}

fn put_path(out: &mut Message, path: &Path) {
    let metadata = fs::symlink_metadata(path)
        .unwrap_or_else(|error| panic!("cannot stat '{}': {error}", path.display()));
    let kind = metadata.file_type();
    if kind.is_symlink() {
        let target = fs::read_link(path).expect("a symlink can be read");
        put(
            out,
            &[
                b"type",
                b"symlink",
                b"target",
                target.as_os_str().as_bytes(),
            ],
        );
    } else if kind.is_file() {
        let contents = fs::read(path).expect("a file of the store can be read");
        put_regular(out, &contents, metadata.permissions().mode() & 0o100 != 0);
    } else if kind.is_dir() {
        put(out, &[b"type", b"directory"]);
        let mut names: Vec<Vec<u8>> = fs::read_dir(path)
            .expect("a directory of the store can be read")
            .map(|entry| entry.expect("a directory entry").file_name().into_vec())
            .collect();
        names.sort();
        for name in names {
            put(out, &[b"entry", b"(", b"name", &name, b"node", b"("]);
            put_path(out, &path.join(OsString::from_vec(name)));
            put(out, &[b")", b")"]);
        }
    } else {
        panic!(
            "'{}' is neither file, directory nor symlink",
            path.display()
        );
    }
}
