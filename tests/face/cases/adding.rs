//! Files into the store and out of it.

use super::{Case, ask, change};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        change("add/files", "--add files fixture.nix"),
        change("add/short", "-A fixture.nix"),
        change("add/again", "--add added"),
        change("add/link", "--add to-base"),
        change("add/odd-name", "--add 'file with blanks'"),
        change("add/missing", "--add nonsense"),
        change("add/good-and-missing", "--add fixture.nix nonsense"),
        change("add/executable", "--add script").before("cp added script; chmod 755 script"),
        change("add/fifo", "--add pipe").before("mkfifo pipe"),
        change("add/dot-name", "--add .hidden").before("cp added .hidden"),
        change("add/trailing-slash", "--add files/"),
        change("add/store-path", "--add {base}"),
        ask("add/nothing", "--add"),
        change("add-fixed/flat", "--add-fixed sha256 added"),
        change(
            "add-fixed/recursive",
            "--add-fixed --recursive sha256 files",
        ),
        change(
            "add-fixed/recursive-sha1",
            "--add-fixed --recursive sha1 files",
        ),
        change("add-fixed/md5", "--add-fixed md5 added fixture.nix"),
        change("add-fixed/sha512", "--add-fixed sha512 added"),
        change("add-fixed/flat-directory", "--add-fixed sha256 files"),
        change("add-fixed/bad-algorithm", "--add-fixed sha3 added"),
        change("add-fixed/missing", "--add-fixed sha256 nonsense"),
        ask("add-fixed/nothing", "--add-fixed"),
        change("add-fixed/no-files", "--add-fixed sha256"),
        ask(
            "print-fixed-path/hex",
            &format!("--print-fixed-path sha256 {SHA256} name"),
        ),
        ask(
            "print-fixed-path/base32",
            "--print-fixed-path sha256 00xyyr3fi8l6hb839bv3f7yb86yjv7xi1cgh1xnhipym4asvb4aq name",
        ),
        ask(
            "print-fixed-path/base64",
            "--print-fixed-path sha256 WJG1tSLV3whtD/CxEPvZ0hu0/HFjrzTQgoai6Eb2vgM= name",
        ),
        ask(
            "print-fixed-path/recursive",
            &format!("--print-fixed-path --recursive sha256 {SHA256} name"),
        ),
        ask(
            "print-fixed-path/sha1",
            "--print-fixed-path sha1 f572d396fae9206628714fb2ce00f72e94f2258f name",
        ),
        ask(
            "print-fixed-path/recursive-sha1",
            "--print-fixed-path --recursive sha1 f572d396fae9206628714fb2ce00f72e94f2258f name",
        ),
        ask(
            "print-fixed-path/md5",
            "--print-fixed-path md5 b1946ac92492d2347c6235b4d2611184 name",
        ),
        ask(
            "print-fixed-path/with-prefix",
            &format!("--print-fixed-path sha256 sha256:{SHA256} name"),
        ),
        ask(
            "print-fixed-path/other-prefix",
            &format!("--print-fixed-path sha1 sha256:{SHA256} name"),
        ),
        ask(
            "print-fixed-path/sri",
            "--print-fixed-path sha256 sha256-WJG1tSLV3whtD/CxEPvZ0hu0/HFjrzTQgoai6Eb2vgM= name",
        ),
        ask(
            "print-fixed-path/short-hash",
            "--print-fixed-path sha256 1234 name",
        ),
        ask(
            "print-fixed-path/bad-name",
            &format!("--print-fixed-path sha256 {SHA256} 'na me'"),
        ),
        ask(
            "print-fixed-path/two-arguments",
            &format!("--print-fixed-path sha256 {SHA256}"),
        ),
        ask(
            "print-fixed-path/four-arguments",
            &format!("--print-fixed-path sha256 {SHA256} a b"),
        ),
        ask("dump/file", "--dump added"),
        ask("dump/directory", "--dump files"),
        ask("dump/store-path", "--dump {base}"),
        ask("dump/missing", "--dump nonsense"),
        ask("export/one", "--export {base}"),
        ask("export/closure", "--export {base} {lib}"),
        ask("export/order", "--export {lib} {base}"),
        ask("export/invalid", "--export {invalid}"),
        ask("export/nothing", "--export"),
        change("restore/exists", "--restore added").stdin(""),
        change("restore/cut", "--restore fresh").stdin("\u{d}\0\0\0\0\0\0\0nix-archive-1\0\0\0"),
        change("restore/nonsense", "--restore fresh").stdin("nonsense"),
        change("import/nothing", "--import").stdin("\0\0\0\0\0\0\0\0"),
        change("import/nonsense", "--import").stdin("nonsense nonsense"),
        change("import/cut", "--import").stdin("\u{1}\0\0\0\0\0\0\0"),
        change("import/empty", "--import").stdin(""),
    ];
    for drv in ["environment", "app", "multi", "structured", "fixed"] {
        let words = format!("--print-env {{{drv}.drv}}");
        cases.push(ask(&format!("print-env/{drv}"), &words));
    }
    cases.extend([
        ask("print-env/output", "--print-env {app}"),
        ask("print-env/invalid", "--print-env {invalid}"),
        ask("print-env/nothing", "--print-env"),
        ask("read-log/built", "--read-log {app.drv}"),
        ask("read-log/output", "-l {app}"),
        ask("read-log/failed", "-l {failing.drv}"),
        ask("read-log/none", "-l {unbuilt.drv}"),
        ask("read-log/source", "-l {added}"),
        ask("read-log/link", "-l ./result"),
        ask("read-log/several", "-l {app.drv} {failing.drv}"),
        ask("read-log/invalid", "-l {invalid}"),
        ask("read-log/nothing", "-l"),
    ]);
    cases
}

const SHA256: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
