//! A small closure of everything that is hard to copy.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::machine::Machine;
use crate::peer::{Peer, busybox};
use crate::verify::{run_ok, verify_with};

/// Paths on a machine, made there by real Nix. Outputs bear a signature.
///
/// ```text
/// top ──> lib, top itself, lib-dev
/// lib-dev ──> lib
/// lib ──> tree          (symlinks, empty directories, odd names, executables)
/// text.txt              (a file by itself)
/// *.drv ──> their inputs and sources
/// ```
#[derive(Debug, Clone)]
pub struct Corpus {
    /// An output with a closure of outputs and sources.
    pub top: String,
    /// The derivation of `top`; its closure holds more derivations and sources.
    pub drv: String,
    /// A file without references.
    pub text: String,
    /// The closure of `top`.
    pub closure: BTreeSet<String>,
    /// The closure of `drv`, without outputs.
    pub drv_closure: BTreeSet<String>,
}

impl Corpus {
    /// Makes the closure on `machine` with a release of real Nix. Two corpora
    /// of different `salt` have no path in common but for the builder.
    ///
    /// # Panics
    /// If real Nix or busybox fails.
    pub fn build(machine: &Machine, peer: &Peer, salt: &str) -> Self {
        let place = machine.path("home").join(format!("corpus-{salt}"));
        write_sources(&place, salt);
        let file = place.join("default.nix");
        let text =
            run_ok(machine.nix_store(peer, ["--add".as_ref(), place.join("text.txt").as_os_str()]));
        let drv = run_ok(machine.peer(peer, "nix-instantiate", [&file])).swap_remove(0);
        let key = place.join("key").display().to_string();
        let public = place.join("key.pub").display().to_string();
        run_ok(machine.nix_store(
            peer,
            ["--generate-binary-cache-key", "corpus-1", &key, &public],
        ));
        let sign = ["--option", "secret-key-files", &key];
        let outputs =
            run_ok(machine.nix_store(peer, [&["--realise", drv.as_str()], &sign[..]].concat()));
        let closure = |path: &String| -> BTreeSet<String> {
            run_ok(machine.nix_store(peer, ["--query", "--requisites", path]))
                .into_iter()
                .collect()
        };
        let corpus = Self {
            closure: closure(&outputs[0]),
            drv_closure: closure(&drv),
            top: outputs[0].clone(),
            text: text[0].clone(),
            drv,
        };
        assert!(corpus.closure.len() >= 4, "{corpus:?}");
        verify_with(peer, machine);
        corpus
    }

    /// Everything: both closures and the file.
    pub fn all(&self) -> BTreeSet<String> {
        let mut all = &self.closure | &self.drv_closure;
        all.insert(self.text.clone());
        all
    }
}

/// A static busybox, which every corpus has as its builder.
///
/// # Panics
/// If there is none beside the peers.
fn builder(place: &Path) {
    let busybox = busybox().expect("a static busybox lies beside the peers");
    fs::create_dir_all(place).expect("a directory for the builder");
    fs::copy(busybox, place.join("busybox")).expect("the builder can be copied");
}

fn write_sources(place: &Path, salt: &str) {
    builder(&place.join("builder"));
    write_tree(&place.join("tree"), salt);
    fs::write(place.join("text.txt"), format!("text of {salt}\n")).expect("a file");
    fs::write(
        place.join("default.nix"),
        EXPRESSION.replace("@SALT@", salt),
    )
    .expect("a file");
}

/// A tree with what archives get wrong.
fn write_tree(tree: &Path, salt: &str) {
    let write = |name: &[u8], contents: &[u8]| {
        fs::write(tree.join(std::ffi::OsStr::from_bytes(name)), contents).expect("a file");
    };
    fs::create_dir_all(tree.join("sub/empty")).expect("directories");
    fs::create_dir(tree.join("empty")).expect("a directory");
    write(b"salt", salt.as_bytes());
    write(b"empty-file", b"");
    write(b"seven", b"1234567");
    write(b"eight", b"12345678");
    write(b"nine", b"123456789");
    write(b"with space", b"a");
    write(b"quote'\"$`\\", b"b");
    write(b"new\nline", b"c");
    write(b"latin-\xe9", b"d");
    write("grün-漢字".as_bytes(), b"e");
    write(b".hidden", b"f");
    write(b"-dash", b"g");
    write(b"A", b"upper");
    write(b"a", b"lower");
    write(b"sub/large", &vec![0x5a; 300_001]);
    write(b"run", b"#!/bin/sh\necho run\n");
    fs::set_permissions(tree.join("run"), fs::Permissions::from_mode(0o755)).expect("a mode");
    for (target, name) in [
        ("run", "link"),
        ("/nowhere/at all", "dangling"),
        ("..", "sub/up"),
    ] {
        symlink(target, tree.join(name)).expect("a symlink");
    }
}

const EXPRESSION: &str = include_str!("corpus.nix");
