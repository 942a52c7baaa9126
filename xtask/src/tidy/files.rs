//! Rules for one file at a time: its size, its name, and what must not be in it.

use super::source::{code_of, words};
use super::{Finding, TextFile};

/// Files that may hold `unsafe` code.
const MAY_BE_UNSAFE: &[&str] = &[
    "crates/nix-nar/src/fs/map.rs",
    "crates/nix-build/src/doctor/probe.rs",
    "crates/nix-build/src/hook/descriptors.rs",
    "crates/nix-build/src/sandbox/landlock/version.rs",
    "crates/nix-build/src/sandbox/network/pasta.rs",
    "crates/nix-build/src/sandbox/seccomp/load.rs",
    "crates/nix-build/src/sandbox/seccomp/tests/live.rs",
    "crates/nix-build/src/sandbox/sys.rs",
    "crates/nix-serve/src/cli/sealed.rs",
];

/// Most lines of a file, without its tests.
const MOST_LINES: usize = 700;

/// Starts of paths that exist on one machine only. They are put together here so that this file
/// does not contain them.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wor", "k/"),
    concat!("/tmp", "/bash"),
    concat!("/root", "/.c"),
];

pub(super) fn check(file: &TextFile, findings: &mut Vec<Finding>) {
    check_machine_paths(file, findings);
    if !file.path.ends_with(".rs") {
        return;
    }
    if file.path.ends_with("/mod.rs") {
        findings.push(Finding::new(&file.path, "is to be 'foo.rs' beside 'foo/'"));
    }
    if file.path.split('/').any(|part| part.starts_with("utils")) {
        findings.push(Finding::new(&file.path, "a name has to say what is in it"));
    }
    check_size(file, findings);
    check_code(file, findings);
}

fn check_size(file: &TextFile, findings: &mut Vec<Finding>) {
    if is_test_file(&file.path) {
        return;
    }
    let lines = lines_without_tests(&file.text);
    if lines > MOST_LINES {
        findings.push(Finding::new(
            &file.path,
            format!("has {lines} lines without its tests, more than {MOST_LINES}"),
        ));
    }
}

/// The lines before the module of tests, which stands last.
fn lines_without_tests(text: &str) -> usize {
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        let module_follows = lines
            .peek()
            .is_some_and(|(_, next)| next.starts_with("mod ") && next.ends_with('{'));
        if line == "#[cfg(test)]" && module_follows {
            return number;
        }
    }
    text.lines().count()
}

/// Whether all of a file is tests.
fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.starts_with("tests/") || path.contains("/tests/")
}

fn check_code(file: &TextFile, findings: &mut Vec<Finding>) {
    let code = code_of(&file.text);
    let may_be_unsafe = MAY_BE_UNSAFE.contains(&file.path.as_str());
    for (number, line) in code.lines().enumerate() {
        let place = || format!("{}:{}", file.path, number + 1);
        for word in words(line) {
            if word == "unsafe" && !may_be_unsafe {
                findings.push(Finding::new(place(), "no unsafe code here"));
            }
        }
        for (pattern, what) in FORBIDDEN {
            if contains_token(line, pattern) {
                findings.push(Finding::new(place(), *what));
            }
        }
    }
}

const FORBIDDEN: &[(&str, &str)] = &[
    ("todo!", "unfinished code"),
    ("unimplemented!", "unfinished code"),
    ("#[ignore", "a test that does not run"),
    ("dbg!", "left from debugging"),
];

/// Whether the line has the pattern and not as the end of a longer word.
fn contains_token(line: &str, pattern: &str) -> bool {
    line.match_indices(pattern).any(|(at, _)| {
        !line[..at]
            .chars()
            .next_back()
            .is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

fn check_machine_paths(file: &TextFile, findings: &mut Vec<Finding>) {
    for (number, line) in file.text.lines().enumerate() {
        for path in MACHINE_PATHS {
            let starts_there = line.match_indices(path).any(|(at, _)| {
                // Behind a name or a variable it is relative to something.
                !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-})]~$*>".contains(c))
            });
            if starts_there {
                findings.push(Finding::new(
                    format!("{}:{}", file.path, number + 1),
                    format!("'{path}' is a path of one machine"),
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let file = TextFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let mut findings = Vec::new();
        check(&file, &mut findings);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_do_not_count() {
        let code = "fn f() {}\n".repeat(MOST_LINES);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{code}}}\n");
        assert_eq!(findings("src/a.rs", &format!("{code}{tests}")), [""; 0]);
        assert_eq!(
            findings("src/a.rs", &format!("{code}fn g() {{}}\n{tests}")),
            ["src/a.rs: has 701 lines without its tests, more than 700"]
        );
        assert_eq!(findings("src/a/tests.rs", &code.repeat(2)), [""; 0]);
    }

    #[test]
    fn mod_rs_is_found() {
        assert_eq!(
            findings("src/a/mod.rs", ""),
            ["src/a/mod.rs: is to be 'foo.rs' beside 'foo/'"]
        );
    }

    #[test]
    fn unsafe_code_is_found_outside_its_files_and_words_are_not() {
        let text = "// unsafe\nconst A: &str = \"unsafe\";\nunsafe { f() }\n";
        assert_eq!(
            findings("src/a.rs", text),
            ["src/a.rs:3: no unsafe code here"]
        );
        assert_eq!(findings("crates/nix-nar/src/fs/map.rs", text), [""; 0]);
        assert_eq!(
            findings("crates/nix-build/src/sandbox/other.rs", text),
            ["crates/nix-build/src/sandbox/other.rs:3: no unsafe code here"]
        );
        assert_eq!(findings("src/a.rs", "#![forbid(unsafe_code)]"), [""; 0]);
    }

    #[test]
    fn unfinished_code_is_found() {
        assert_eq!(
            findings("src/a.rs", "fn f() { todo!() }\n#[ignore = \"slow\"]\n"),
            [
                "src/a.rs:1: unfinished code",
                "src/a.rs:2: a test that does not run"
            ]
        );
        assert_eq!(findings("src/a.rs", "// todo!\nmy_todo!()"), [""; 0]);
    }

    #[test]
    fn a_path_of_one_machine_is_found_in_any_text() {
        let text = format!("see {}main\n", MACHINE_PATHS[0]);
        assert_eq!(
            findings("README.md", &text),
            [format!(
                "README.md:1: '{}' is a path of one machine",
                MACHINE_PATHS[0]
            )]
        );
        let relative = format!("$dir/net{} a{}b\n", MACHINE_PATHS[0], MACHINE_PATHS[0]);
        assert_eq!(findings("README.md", &relative), [""; 0]);
    }
}
