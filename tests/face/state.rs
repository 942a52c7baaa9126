//! What a store looks like after a command: rows, files, roots.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use test_support::Machine;

/// Rows of the database and the trees of objects, roots and working files, one line each.
pub(crate) fn of(machine: &Machine) -> String {
    let mut lines = rows(&machine.path("nix/var/nix/db/db.sqlite"));
    for place in [
        "store",
        "scratch",
        "var/nix/gcroots",
        "var/nix/profiles",
        "var/log/nix",
    ] {
        let mut found = Vec::new();
        walk(&machine.path("nix").join(place), place, &mut found);
        found.sort();
        lines.extend(found);
    }
    lines.push(String::new());
    lines.join("\n")
}

fn rows(database: &Path) -> Vec<String> {
    // The other side of a copy may never have been spoken to.
    if database.symlink_metadata().is_err() {
        return vec!["no database".to_owned()];
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database, flags).unwrap();
    let mut lines = Vec::new();
    for query in QUERIES {
        let mut statement = connection.prepare(query).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let fields: Vec<String> = (0..columns)
                .map(|column| match row.get_ref(column).unwrap() {
                    ValueRef::Null => "NULL".to_owned(),
                    ValueRef::Integer(number) => number.to_string(),
                    ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                    other => format!("{other:?}"),
                })
                .collect();
            lines.push(fields.join(" | "));
        }
    }
    lines
}

fn walk(directory: &Path, name: &str, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries {
        let entry = entry.unwrap();
        let name = format!("{name}/{}", entry.file_name().to_string_lossy());
        let path = entry.path();
        let metadata = path.symlink_metadata().unwrap();
        let mode = metadata.permissions().mode() & 0o7777;
        // Only those of objects are prescribed.
        let time = match name.starts_with("store/") {
            true if metadata.mtime() == 1 => " at 1",
            true => " later",
            false => "",
        };
        if metadata.is_symlink() {
            let target = fs::read_link(&path).unwrap();
            let target = String::from_utf8_lossy(target.as_os_str().as_bytes()).into_owned();
            found.push(format!("{name} -> {target}{time}"));
        } else if metadata.is_dir() {
            found.push(format!("{name}/ {mode:o}{time}"));
            walk(&path, &name, found);
        } else {
            let links = metadata.nlink();
            let size = metadata.len();
            found.push(format!("{name} {mode:o}{time} {size} bytes, links {links}"));
        }
    }
}

const QUERIES: [&str; 3] = [
    "select path, hash, deriver, narSize, ultimate, sigs, ca from ValidPaths order by path",
    "select a.path, b.path from Refs join ValidPaths a on a.id = referrer \
     join ValidPaths b on b.id = reference order by 1, 2",
    "select ValidPaths.path, DerivationOutputs.id, DerivationOutputs.path from DerivationOutputs \
     join ValidPaths on ValidPaths.id = drv order by 1, 2",
];
