//! `nix-store --query` in all its modes.

use super::{Case, ask, change};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (mode, flag) in MODES {
        for (subject, words) in SUBJECTS {
            let words = format!("-q {flag} {words}");
            let case = ask(&format!("query/{mode}/{subject}"), &words);
            cases.push(match mode {
                // Real Nix prints them in the order of its hash table, and sees other processes'.
                "roots" => case.sorted().alone(),
                _ => case,
            });
        }
    }
    cases.extend([
        ask("query/default", "-q {app} {multi.drv}"),
        ask("query/deriver/short", "-q -d {app} {base}"),
        ask("query/twice", "-q --hash --size {app}"),
        ask("query/same-twice", "-q --hash --hash {app}"),
        ask("query/mode-before-operation", "--requisites -q {lib}"),
        ask(
            "query/requisites/include-outputs",
            "-qR --include-outputs {app.drv}",
        ),
        ask(
            "query/requisites/include-outputs-of-output",
            "-qR --include-outputs {app}",
        ),
        ask("query/requisites/drv-and-output", "-qR {lib.drv} {lib}"),
        ask("query/requisites/use-output", "-qRu {app.drv}"),
        ask(
            "query/referrers-closure/use-output",
            "-q --referrers-closure -u {lib.drv}",
        ),
        ask(
            "query/references/use-output",
            "-q --references --use-output {app.drv}",
        ),
        ask(
            "query/references/use-output-several",
            "-q --references -u {multi.drv}",
        ),
        ask("query/size/use-output", "-q --size -u {app.drv}"),
        ask(
            "query/hash/use-output-unbuilt",
            "-q --hash -u {unbuilt.drv}",
        ),
        ask(
            "query/force-realise/built",
            "-q -f --references -u {app.drv}",
        ),
        change(
            "query/force-realise/unbuilt",
            "-q --force-realise --hash -u {unbuilt.drv}",
        )
        .no_errors(),
        ask("query/outputs/selected", "-q --outputs '{multi.drv}!dev'"),
        ask("query/outputs/no-paths", "-q --outputs"),
        ask("query/binding/text", "-q --binding text {environment.drv}"),
        ask(
            "query/binding/empty",
            "-q --binding empty {environment.drv}",
        ),
        ask(
            "query/binding/short",
            "-q -b name {environment.drv} {app.drv}",
        ),
        ask(
            "query/binding/missing",
            "-q --binding nonsense {environment.drv}",
        ),
        ask("query/binding/of-output", "-q --binding name {app}"),
        ask("query/binding/of-source", "-q --binding name {added}"),
        ask("query/binding/no-name", "-q --binding"),
        ask(
            "query/binding/structured",
            "-q --binding name {structured.drv}",
        ),
        ask(
            "query/binding/structured-list",
            "-q --binding list {structured.drv}",
        ),
        ask("query/stdin", "-q --hash --stdin").stdin("{app}\n{lib} {base}\n\n"),
        ask("query/stdin-empty", "-q --hash --stdin").stdin(""),
        ask("query/stdin-and-words", "-q --hash --stdin {app}").stdin("{lib}"),
        ask(
            "query/stdin-between-words",
            "-q --hash {app} --stdin {base}",
        )
        .stdin("{lib}"),
        ask("query/stdin-behind-binding", "-q -b name --stdin").stdin("{app.drv}"),
        ask("query/stdin-before-binding", "-q --stdin -b {app.drv}").stdin("name"),
    ]);
    cases
}

/// Name and flag of each mode.
const MODES: [(&str, &str); 15] = [
    ("outputs", "--outputs"),
    ("requisites", "-R"),
    ("references", "--references"),
    ("referrers", "--referrers"),
    ("referrers-closure", "--referrers-closure"),
    ("deriver", "--deriver"),
    ("valid-derivers", "--valid-derivers"),
    ("hash", "--hash"),
    ("size", "--size"),
    ("tree", "--tree"),
    ("graph", "--graph"),
    ("graphml", "--graphml"),
    ("resolve", "--resolve"),
    ("roots", "--roots"),
    ("binding-name", "--binding name"),
];

/// What each mode is asked about.
const SUBJECTS: [(&str, &str); 17] = [
    ("output", "{app}"),
    ("self-reference", "{lib}"),
    ("leaf", "{base}"),
    ("derivation", "{app.drv}"),
    ("several-outputs", "{multi.drv}"),
    ("unbuilt", "{top.drv}"),
    ("fixed", "{fixed.drv} {fixed}"),
    ("source", "{source.txt} {added}"),
    ("several", "{app} {base} {multi.doc} {lib}"),
    ("repeated", "{lib} {lib}"),
    ("link", "./result to-link"),
    ("sub-path", "{app}/source {base}/link"),
    ("invalid", "{invalid}"),
    ("valid-and-invalid", "{base} {invalid}"),
    ("outside", "./outside /etc/hostname"),
    ("missing-file", "./to-nothing ./nonsense"),
    ("bad-name", "/nix/store/nonsense"),
];
