//! Words that are wrong, and what is common to all operations.

use super::{Case, Program, ask};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        ask("usage/nothing", ""),
        ask("usage/only-options", "-v"),
        ask("usage/unknown-option", "--nonsense"),
        ask("usage/unknown-short-option", "-Y"),
        ask("usage/unknown-in-cluster", "-kY"),
        ask("usage/two-operations", "-q --gc {app}"),
        ask("usage/same-operation-twice", "-q -q --hash {app}"),
        ask("usage/operation-after-arguments", "{app} -q --hash"),
        ask("usage/equals-sign", "--max-jobs=3 -q --hash {app}"),
        ask("usage/option-without-value", "-q --hash {app} --max-jobs"),
        ask(
            "usage/option-with-bad-number",
            "--max-jobs many -q --hash {app}",
        ),
        ask("usage/option-option", "--option cores 2 -q --hash {app}"),
        ask(
            "usage/option-option-unknown",
            "--option nonsense 2 -q --hash {app}",
        ),
        ask(
            "usage/option-option-short",
            "-q --hash {app} --option cores",
        ),
        ask(
            "usage/setting",
            "--cores 2 --no-fallback --keep-going -q --hash {app}",
        ),
        ask(
            "usage/setting-bad-boolean",
            "--option fallback perhaps -q --hash {app}",
        ),
        ask(
            "usage/setting-extra",
            "--extra-substituters x -q --hash {app}",
        ),
        ask("usage/cluster", "-kQ -q --hash {app}"),
        ask("usage/cluster-with-operation", "-qR {lib}"),
        ask("usage/verbose", "-vv -q --hash {app}"),
        ask("usage/quiet", "--quiet -q --hash {app}"),
        ask("usage/quiet-error", "--quiet -q --hash {invalid}"),
        ask("usage/log-format", "--log-format raw -q --hash {app}"),
        ask(
            "usage/log-format-bad",
            "--log-format nonsense -q --hash {app}",
        ),
        ask("usage/include-path", "-I x=y -q --hash {app}"),
        ask("usage/readonly-mode", "--readonly-mode -q --hash {app}"),
        ask("usage/double-dash", "-q --hash -- {app}"),
        ask("usage/bad-store", "--store nonsense://x -q --hash {app}"),
        ask("usage/version", "--version"),
        ask("usage/version-after-others", "-q --hash {app} --version"),
        ask("usage/help", "--help"),
        ask("usage/no-log-to-read", "-l {lib}"),
        ask("usage/empty-argument", "-q --hash ''"),
        ask("usage/serve-unknown-flag", "--serve --wr"),
        ask("usage/serve-argument", "--serve word"),
        ask("usage/serve-no-greeting", "--serve").stdin("this is no greeting"),
        ask("usage/serve-empty", "--serve").stdin(""),
    ];
    for (name, words) in FOREIGN_FLAGS {
        cases.push(ask(&format!("usage/foreign-flag/{name}"), words));
    }
    for (name, words) in SPARE_ARGUMENTS {
        cases.push(ask(&format!("usage/spare-argument/{name}"), words));
    }
    for (program, name) in [
        (Program::CopyClosure, "copy-closure"),
        (Program::CollectGarbage, "collect-garbage"),
    ] {
        for (what, words) in [("version", "--version"), ("help", "--help")] {
            cases.push(ask(&format!("usage/{name}/{what}"), words).program(program));
        }
    }
    cases
}

/// Flags that belong to other operations.
const FOREIGN_FLAGS: [(&str, &str); 14] = [
    ("realise", "-r --tree {app}"),
    ("query", "-q --print-roots {app}"),
    ("query-of-realise", "-q --ignore-unknown {app}"),
    ("gc", "--gc --check-contents"),
    ("gc-argument", "--gc --max-freed"),
    ("verify", "--verify --print-dead"),
    ("add", "-A --recursive added"),
    ("add-fixed", "--add-fixed --write sha256 added"),
    ("delete", "--delete --repair {app}"),
    ("dump-db", "--dump-db --hash-given"),
    ("load-db", "--load-db --reregister"),
    ("check-validity", "--check-validity --repair {app}"),
    ("optimise", "--optimise --dry-run"),
    ("export", "--export --write {app}"),
];

/// Arguments of operations that take none, or too many of them.
const SPARE_ARGUMENTS: [(&str, &str); 12] = [
    ("gc", "--gc {app}"),
    ("verify", "--verify {app}"),
    ("optimise", "--optimise {app}"),
    ("load-db", "--load-db {app}"),
    ("register-validity", "--register-validity {app}"),
    ("init", "--init {app}"),
    ("import", "--import {app}"),
    ("dump", "--dump {app} {lib}"),
    ("dump-none", "--dump"),
    ("restore", "--restore a b"),
    ("print-env", "--print-env {app.drv} {lib.drv}"),
    ("keys", "--generate-binary-cache-key name secret"),
];
