//! Verification, repair, hard links, keys.

use super::{Case, ask, change};

pub(super) fn cases() -> Vec<Case> {
    let damage = "chmod u+w {base}/file; echo more >> {base}/file";
    let removal = "chmod -R u+w {app}; rm -r {app}";
    vec![
        ask("verify/clean", "--verify").all_errors(),
        ask("verify/contents", "--verify --check-contents").all_errors(),
        change("verify/modified", "--verify --check-contents").before(damage).all_errors(),
        change("verify/modified-unseen", "--verify").before(damage).all_errors(),
        change("verify/disappeared", "--verify").before(removal).all_errors(),
        change("verify/disappeared-in-use", "--verify").before("chmod -R u+w {base}; rm -r {base}").all_errors(),
        change("verify/chain-disappeared", "--verify")
            .before("chmod -R u+w {app} {multi.dev} {multi} {multi.doc} {lib}; rm -r {app} {multi.dev} {multi} {multi.doc} {lib}")
            .all_errors()
            .sorted(),
        change("verify/bad-link", "--verify --check-contents")
            .before("ln {base}/file /nix/store/.links/1111111111111111111111111111111111111111111111111111")
            .all_errors(),
        change("verify/repair-link", "--verify --check-contents --repair")
            .before("ln {base}/file /nix/store/.links/1111111111111111111111111111111111111111111111111111")
            .all_errors(),
        change("verify/repair-hopeless", "--verify --check-contents --repair")
            .before("chmod u+w {added}; echo more >> {added}")
            .no_errors(),
        change("verify/repair-clean", "--verify --check-contents --repair").all_errors(),
        change("verify/unknown-size", "--verify --check-contents --repair")
            .before("sqlite3 /nix/var/nix/db/db.sqlite \"update ValidPaths set narSize = null where path like '%-base-1.0'\"")
            .no_errors(),
        change("verify/zero-hash", "--verify --check-contents --repair")
            .before("sqlite3 /nix/var/nix/db/db.sqlite \"update ValidPaths set hash = 'sha256:' || hex(zeroblob(32)) where path like '%-base-1.0'\"")
            .no_errors(),
        ask("verify-path/good", "--verify-path {app} {base}").all_errors(),
        change("verify-path/modified", "--verify-path {app} {base}").before(damage).all_errors(),
        change("verify-path/missing", "--verify-path {app}").before(removal),
        ask("verify-path/invalid", "--verify-path {invalid}"),
        ask("verify-path/link", "--verify-path ./result").all_errors(),
        ask("verify-path/nothing", "--verify-path"),
        change("repair-path/good", "--repair-path {base}").no_errors(),
        change("repair-path/built", "--repair-path {base}").before(damage).no_errors(),
        change("repair-path/hopeless", "--repair-path {added}")
            .before("chmod u+w {added}; echo more >> {added}")
            .no_errors(),
        ask("repair-path/invalid", "--repair-path {invalid}").no_errors(),
        change("optimise/once", "--optimise"),
        change("optimise/twins", "--optimise")
            .before("echo plain > /nix/store/44444444444444444444444444444444-left")
            .all_errors(),
        change("optimise/some-linked", "--optimise")
            .before("ln {files}/plain /nix/store/.links/0000000000000000000000000000000000000000000000000000"),
        change("keys/bad-name", "--generate-binary-cache-key '' secret public"),
        change("keys/existing", "--generate-binary-cache-key name added public").no_errors(),
        change("keys/new", "--generate-binary-cache-key name secret public")
            .before("umask 022"),
        change("keys/one-file", "--generate-binary-cache-key name secret"),
    ]
}
