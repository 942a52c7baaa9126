//! Rows of the database as text, and whether paths are valid.

use super::{Case, ask, change};

pub(super) fn cases() -> Vec<Case> {
    vec![
        ask("init/again", "--init"),
        ask("dump-db/all", "--dump-db"),
        ask("dump-db/paths", "--dump-db {app} {base} {app.drv}"),
        ask("dump-db/link", "--dump-db ./result"),
        ask("dump-db/invalid", "--dump-db {invalid}"),
        ask("dump-db/twice", "--dump-db {lib} {lib}"),
        change("load-db/empty", "--load-db").stdin(""),
        change("load-db/known", "--load-db").stdin(&row("{base}", "{base.drv}", "0")),
        change("load-db/new", "--load-db").stdin(&row(NEW, "", "1\n{base}")),
        change("load-db/two", "--load-db")
            .stdin(&(row(NEWER, "", &format!("2\n{NEW}\n{{base}}")) + &row(NEW, "", "0"))),
        change("load-db/self", "--load-db").stdin(&row(NEW, "", &format!("1\n{NEW}"))),
        change("load-db/cycle", "--load-db")
            .stdin(&(row(NEW, "", &format!("1\n{NEWER}")) + &row(NEWER, "", &format!("1\n{NEW}")))),
        change("load-db/unknown-reference", "--load-db").stdin(&row(
            NEW,
            "",
            &format!("1\n{NEWER}"),
        )),
        change("load-db/cut", "--load-db").stdin(&format!("{NEW}\n{SHA256}\n12")),
        change("load-db/bad-hash", "--load-db").stdin(&format!("{NEW}\nnonsense\n120\n\n0\n")),
        change("load-db/bad-size", "--load-db").stdin(&format!("{NEW}\n{SHA256}\nlarge\n\n0\n")),
        change("load-db/bad-count", "--load-db").stdin(&row(NEW, "", "many")),
        change("load-db/bad-path", "--load-db").stdin(&row("nonsense", "", "0")),
        change("register-validity/new", "--register-validity")
            .before(&format!("echo new > {NEW}"))
            .stdin(&format!("{NEW}\n\n1\n{{base}}\n")),
        change(
            "register-validity/reregister",
            "--register-validity --reregister",
        )
        .before("chmod u+w {base}/file; echo more >> {base}/file")
        .stdin("{base}\n{base.drv}\n0\n"),
        change("register-validity/known", "--register-validity").stdin("{base}\n{other.drv}\n0\n"),
        change(
            "register-validity/hash-given",
            "--register-validity --hash-given",
        )
        .before(&format!("echo new > {NEW}"))
        .stdin(&row(NEW, "{base.drv}", "1\n{base}")),
        change("register-validity/missing", "--register-validity").stdin(&format!("{NEW}\n\n0\n")),
        change("register-validity/empty", "--register-validity").stdin(""),
        ask("check-validity/valid", "--check-validity {app} {base}"),
        ask("check-validity/invalid", "--check-validity {app} {invalid}"),
        ask(
            "check-validity/print-invalid",
            "--check-validity --print-invalid {app} {invalid} {unbuilt}",
        ),
        ask(
            "check-validity/order",
            "--check-validity --print-invalid /nix/store/33333333333333333333333333333333-newer \
             /nix/store/22222222222222222222222222222222-new {app} \
             /nix/store/33333333333333333333333333333333-newer",
        ),
        ask(
            "check-validity/first-invalid",
            "--check-validity /nix/store/33333333333333333333333333333333-newer \
             /nix/store/22222222222222222222222222222222-new",
        ),
        ask("check-validity/link", "--check-validity ./result"),
        ask("check-validity/sub-path", "--check-validity {app}/source"),
        ask("check-validity/outside", "--check-validity /etc/hostname"),
        ask("check-validity/missing", "--check-validity ./nonsense"),
        ask("check-validity/nothing", "--check-validity"),
    ]
}

/// A row as `--load-db` reads it.
fn row(path: &str, deriver: &str, references: &str) -> String {
    format!("{path}\n{SHA256}\n120\n{deriver}\n{references}\n")
}

const NEW: &str = "/nix/store/22222222222222222222222222222222-new";
const NEWER: &str = "/nix/store/33333333333333333333333333333333-newer";
const SHA256: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
