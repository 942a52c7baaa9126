//! `nix-copy-closure`.

use super::{Case, Program, ask, change};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, words) in REFUSED {
        let case = ask(&format!("copy-closure/{name}"), words);
        cases.push(case.program(Program::NixCopyClosure));
    }
    for (name, words, before) in COPIES {
        let case = change(&format!("copy-closure/{name}"), words).before(before);
        cases.push(case.program(Program::NixCopyClosure).remote());
    }
    cases
}

const REFUSED: [(&str, &str); 9] = [
    ("no-host", ""),
    ("no-host-with-option", "--to"),
    ("unknown-option", "--nonsense host {app}"),
    ("dash-host", "--to -- {app}"),
    ("option-as-host", "ssh://-oProxyCommand=x {app}"),
    ("missing-path", "--to host ./nonsense"),
    ("outside", "--to host /etc/hostname"),
    ("option-value-missing", "--to host {app} --max-jobs"),
    ("version-with-host", "--version host"),
];

/// Name, words, and what is done before.
const COPIES: [(&str, &str, &str); 0] = [];
