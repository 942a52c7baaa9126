//! `builtin:buildenv`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use super::{Bench, peers};

/// A package by its files: `path` (contents are the path), `path -> target`, or `path/`.
fn package(bench: &Bench<'_>, name: &str, files: &[&str]) -> String {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join(name);
    fs::create_dir(&root).unwrap();
    for file in files {
        add_file(&root, file);
    }
    bench.add(&root)
}

fn add_file(root: &Path, file: &str) {
    let (path, target) = match file.split_once(" -> ") {
        Some((path, target)) => (path, Some(target)),
        None => (file, None),
    };
    let place = root.join(path.trim_end_matches('/'));
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    match target {
        Some(target) => symlink(target, &place).unwrap(),
        None if path.ends_with('/') => fs::create_dir_all(&place).unwrap(),
        None => fs::write(&place, path).unwrap(),
    }
}

/// A package that wants others beside it.
fn package_with(bench: &Bench<'_>, name: &str, files: &[&str], list: &str) -> String {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join(name);
    fs::create_dir_all(root.join("nix-support")).unwrap();
    fs::write(root.join("nix-support/propagated-user-env-packages"), list).unwrap();
    for file in files {
        add_file(&root, file);
    }
    bench.add(&root)
}

fn environment(bench: &mut Bench<'_>, name: &str, words: &str) {
    let env = json!({ "manifest": "/some/manifest", "derivations": words });
    bench.case(name, "buildenv", env);
}

#[test]
#[allow(clippy::too_many_lines)]
fn environments_are_those_of_real_nix() {
    for peer in peers() {
        let mut bench = Bench::new(peer);
        let a = package(
            &bench,
            "a",
            &[
                "bin/a",
                "share/doc/a",
                ".hidden",
                "log",
                "var/log/x",
                "info/dir",
                "share/info/dir",
                "nix-support/foo",
                "propagated-build-inputs",
                "lib/perllocal.pod",
                "manifest.nix",
                "manifest.json",
                "sub/manifest.json",
                "sub/.dot",
            ],
        );
        let b = package(
            &bench,
            "b",
            &["bin/b", "share/doc/b", "share/man/b", "var/log/y"],
        );
        let c = package(&bench, "c", &["bin/a", "bin/c"]);
        let d = package(
            &bench,
            "d",
            &[
                "dangle -> ../nowhere",
                "bin/dang -> /nonexistent/x",
                "real/x",
                "lnk -> real",
                "deep -> lnk",
                "tofile -> real/x",
            ],
        );
        let e = package(
            &bench,
            "e",
            &["real/y", "lnk/z", "deep/w", "bin/e", "sub/log/x", "tofile"],
        );
        let file = package(&bench, "f", &["bin"]);
        let share = package(&bench, "g", &["share"]);
        let empty = package(&bench, "empty", &[]);
        let dirs = package(
            &bench,
            "dirs",
            &["bin/", "lib/x/", "etc/info/", "etc/nix-support/"],
        );
        let h = package(
            &bench,
            "h",
            &[
                "l2 -> real2",
                "real2/x",
                "etc/log/x",
                "etc/x",
                "lib/nix-support/q",
                "lib/z",
                "xlog",
                "a/propagated-build-inputs",
                "a/b",
                "x-nix-support",
                "etc/info/dir",
                "etc/info/dir2",
            ],
        );
        let i = package(
            &bench,
            "i",
            &["l2/y", "etc/y", "lib/zz", "a/c", "etc/info/dir3"],
        );
        let looped = package(&bench, "loop", &["loop -> .", "one"]);
        let prop2 = package_with(
            &bench,
            "prop2",
            &["bin/prop2", "bin/shared"],
            &format!("{b}\n"),
        );
        let prop1 = package_with(
            &bench,
            "prop1",
            &["bin/prop1", "bin/shared"],
            &format!("{prop2} {a}\n{b}"),
        );
        let lost = package_with(&bench, "lost", &["bin/lost"], "/nonexistent/x");
        let tabs = package_with(&bench, "tabs", &["bin/tabs"], &format!("{a}\t{b}"));
        let listdir = package(
            &bench,
            "listdir",
            &["nix-support/propagated-user-env-packages/x"],
        );
        let nosupport = package(&bench, "nosupport", &["nix-support", "bin/n"]);
        let plain = tempfile::NamedTempFile::with_prefix("plain").unwrap();
        let plain = bench.add(plain.path());

        for (name, words) in [
            ("t01-two", format!("true 5 2 {a} {b}")),
            ("t02-lower-wins", format!("true 5 1 {a} true 4 1 {c}")),
            ("t03-lower-wins-first", format!("true 4 1 {a} true 5 1 {c}")),
            ("t04-conflict", format!("true 5 1 {a} true 5 1 {c}")),
            ("t05-links", format!("true 5 1 {d} true 5 1 {e}")),
            ("t06-links-priority", format!("true 5 1 {d} true 6 1 {e}")),
            ("t07-links-other-way", format!("true 6 1 {d} true 5 1 {e}")),
            ("t08-dir-and-file", format!("true 5 1 {a} true 6 1 {file}")),
            ("t09-file-and-dir", format!("true 5 1 {file} true 6 1 {a}")),
            (
                "t10-file-on-merged",
                format!("true 5 2 {a} {b} true 6 1 {share}"),
            ),
            ("t11-propagated", format!("true 5 1 {prop1}")),
            (
                "t12-propagated-conflict",
                format!("true 5 2 {prop1} {prop2}"),
            ),
            (
                "t13-propagated-and-own",
                format!("true 2000 1 {a} true 5 1 {prop1}"),
            ),
            ("t14-plain-file", format!("true 5 1 {plain} true 5 1 {b}")),
            ("t15-inactive", format!("false 5 1 {a} true 5 1 {b}")),
            ("t16-nothing", String::new()),
            ("t17-empty", format!("true 5 2 {empty} {dirs}")),
            (
                "t18-empty-directory",
                format!("true 5 1 {dirs} true 5 2 {b} {h}"),
            ),
            ("t19-left-out", format!("true 5 2 {h} {i}")),
            ("t20-twice", format!("true 5 2 {a} {a} true 3 1 {a}")),
            ("t21-missing", "true 5 1 /nonexistent".to_owned()),
            ("t22-lost", format!("true 5 1 {lost}")),
            ("t23-tabs", format!("true 5 1 {tabs}")),
            ("t24-list-is-directory", format!("true 5 1 {listdir}")),
            ("t25-no-support", format!("true 5 1 {nosupport}")),
            ("t26-not-a-number", format!("true x 1 {b}")),
            (
                "t27-number-and-more",
                format!("true 5x 1 {b}\n\ttrue -3 1 {c}"),
            ),
            ("t28-none-of-it", format!("true 5 0 true 5 1 {b}")),
            ("t29-loop", format!("true 5 1 {looped}")),
            (
                "t30-other-words",
                format!("yes 5 1 {b} 0 6 1 {c} False 7 1 {i}"),
            ),
            ("t31-subdirectory", format!("true 5 2 {h}/etc {i}/etc")),
            ("t32-slash", format!("true 5 1 {a}/")),
            ("t33-spelled-twice", format!("true 5 2 {a}/. {a}")),
        ] {
            environment(&mut bench, name, &words);
        }
        bench.case(
            "u1-no-manifest",
            "buildenv",
            json!({ "derivations": format!("true 5 1 {b}") }),
        );
        bench.case("u2-no-list", "buildenv", json!({ "manifest": "/m" }));

        // 2.8 leaves two slashes in its links where a path ends in one.
        let known = match peer.is_at_least(2, 9) {
            true => &[][..],
            false => &["t32-slash"],
        };
        let ours = bench.compare(known);
        for (name, text) in [
            (
                "t04-conflict",
                "error: Unable to build profile. There is a conflict for the following files:",
            ),
            ("t09-file-and-dir", "error: collision between '"),
            (
                "t10-file-on-merged",
                "error: collision between non-directory '",
            ),
            (
                "t14-plain-file",
                "in the user environment because it's not a directory",
            ),
            (
                "t21-missing",
                "error: cannot read directory '/nonexistent': No such file or directory",
            ),
            ("t26-not-a-number", "'x' isn't a number"),
            ("u1-no-manifest", "error: attribute 'manifest' missing"),
            ("u2-no-list", "error: attribute 'derivations' missing"),
        ] {
            assert!(
                ours[name].text.contains(text),
                "{name}: {}",
                ours[name].text
            );
        }
    }
}
