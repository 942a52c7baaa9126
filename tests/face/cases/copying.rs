//! `nix-copy-closure`.

use super::{Case, Program, Remote, ask, change};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, words) in REFUSED {
        let case = ask(&format!("copy-closure/{name}"), words);
        cases.push(case.program(Program::CopyClosure));
    }
    for (name, words, before) in COPIES {
        let case = change(&format!("copy-closure/{name}"), words).before(before);
        let case = case.program(Program::CopyClosure);
        cases.push(case.remote(Remote::Empty));
    }
    for (name, words) in FROM {
        let case = change(&format!("copy-closure/from/{name}"), words);
        let case = case.program(Program::CopyClosure).before(EMPTY);
        cases.push(case.remote(Remote::Filled));
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
const COPIES: [(&str, &str, &str); 13] = [
    ("to", "--to {host} {app}", ""),
    ("default-direction", "{host} {app}", ""),
    ("several", "--to {host} {base} {fixed}", ""),
    ("derivation", "--to {host} {app.drv}", ""),
    (
        "include-outputs",
        "--to --include-outputs {host} {base.drv}",
        "",
    ),
    ("gzip", "--to --gzip {host} {base}", ""),
    ("xz", "--to --xz {host} {base}", ""),
    ("use-substitutes", "--to -s {host} {base}", ""),
    ("dry-run", "--to --dry-run {host} {base}", ""),
    ("link", "--to {host} ./result", ""),
    ("nothing", "--to {host}", ""),
    ("invalid", "--to {host} {invalid}", ""),
    ("from-where-it-is-not", "--from {host} {unbuilt}", ""),
];

/// Copies from the other machine to one that has nothing.
const FROM: [(&str, &str); 3] = [
    ("closure", "--from {host} {app}"),
    ("several", "--from {host} {fixed} {multi.dev}"),
    ("derivation", "--from --gzip {host} {app.drv}"),
];

const EMPTY: &str = "chmod -R u+w /nix/store; rm -rf /nix/store /nix/var/nix; \
                     mkdir /nix/store /nix/var/nix";
