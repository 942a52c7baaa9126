//! Collection, deletion, and generations of profiles.

use super::{Case, Program, ask, change};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        ask("gc/print-roots", "--gc --print-roots").alone(),
        ask("gc/print-live", "--gc --print-live").alone(),
        ask("gc/print-dead", "--gc --print-dead").alone(),
        ask("gc/print-dead/keep-outputs", "--gc --print-dead --option keep-outputs true").alone(),
        ask("gc/print-dead/no-keep-derivations", "--gc --print-dead --option keep-derivations false").alone(),
        ask("gc/print-live/both", "--gc --print-live --keep-outputs --no-keep-derivations").alone(),
        ask("gc/two-actions", "--gc --print-live --print-dead").alone(),
        change("gc/delete-flag", "--gc --delete").alone(),
        change("gc/all", "--gc").alone(),
        change("gc/keep-outputs", "--gc --option keep-outputs true").alone(),
        change("gc/no-keep-derivations", "--gc --option keep-derivations false").alone(),
        change("gc/max-freed-zero", "--gc --max-freed 0").alone(),
        change("gc/max-freed-large", "--gc --max-freed 100G").alone(),
        change("gc/max-freed-huge", "--gc --max-freed 99999999999999999999").alone(),
        change("gc/max-freed-bad", "--gc --max-freed few").alone(),
        change("gc/leftovers", "--gc")
            .before("mkdir /nix/store/tmp-1-1; echo > /nix/store/44444444444444444444444444444444-left; echo > /nix/store/nonsense; echo > /nix/store/.hidden; touch {base}.lock")
            .alone(),
        change("gc/links", "--gc")
            .before("ln {base}/file /nix/store/.links/1111111111111111111111111111111111111111111111111111; echo > /nix/store/.links/2222222222222222222222222222222222222222222222222222")
            .alone(),
        change("gc/vanished", "--gc").before("rm -rf {files} {fixed}").alone(),
        change("gc/no-roots", "--gc").before("rm -rf /nix/var/nix/gcroots /nix/var/nix/profiles").alone(),
        change("gc/temporary-root-of-the-dead", "--gc")
            .before("mkdir -p /nix/var/nix/temproots; printf '%s\\0' {app} > /nix/var/nix/temproots/999999")
            .alone(),
        change("delete/dead", "--delete {environment.drv}").alone(),
        change("delete/several", "--delete {top.drv} {unbuilt.drv}").alone(),
        change("delete/referrers-too-late", "--delete {unbuilt.drv} {top.drv}").alone(),
        change("delete/live", "--delete {lib}").alone(),
        change("delete/live-by-referrer", "--delete {base}").alone(),
        change("delete/dead-with-dead-referrer", "--delete {unbuilt.drv}").alone(),
        change("delete/dead-and-live", "--delete {environment.drv} {lib}").alone(),
        change("delete/ignore-liveness", "--delete --ignore-liveness {other}").alone(),
        change("delete/ignore-liveness-in-use", "--delete --ignore-liveness {base}").alone(),
        change("delete/invalid", "--delete {invalid}").alone(),
        change("delete/leftover", "--delete /nix/store/44444444444444444444444444444444-left")
            .before("echo > /nix/store/44444444444444444444444444444444-left")
            .alone(),
        change("delete/outside", "--delete /etc/hostname").alone(),
        change("delete/link", "--delete ./result").alone(),
        change("delete/nothing", "--delete").alone(),
        change("delete/bad-name", "--delete /nix/store/nonsense").alone(),
    ];
    for (name, words) in GARBAGE {
        let case = change(&format!("collect-garbage/{name}"), words);
        cases.push(case.program(Program::CollectGarbage).alone());
    }
    cases
}

const GARBAGE: [(&str, &str); 17] = [
    ("plain", ""),
    ("delete-old", "-d"),
    ("delete-old-long", "--delete-old"),
    ("delete-old-dry-run", "-d --dry-run"),
    ("dry-run", "--dry-run"),
    ("older-than-days", "--delete-older-than 30d"),
    ("older-than-now", "--delete-older-than 0d"),
    ("older-than-and-old", "--delete-older-than 30d -d"),
    ("old-and-older-than", "-d --delete-older-than 30d"),
    ("older-than-bad", "--delete-older-than soon"),
    ("older-than-no-unit", "--delete-older-than 30"),
    ("older-than-dry-run", "--delete-older-than 30d --dry-run"),
    ("older-than-missing", "--delete-older-than"),
    ("max-freed", "--max-freed 0"),
    ("argument", "word"),
    ("unknown-option", "--nonsense"),
    ("setting", "--option keep-outputs true"),
];
