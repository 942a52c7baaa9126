//! `nix-store --realise`.

use super::{Case, ask, change};

pub(super) fn cases() -> Vec<Case> {
    vec![
        ask("realise/built", "-r {app.drv}"),
        ask("realise/output", "-r {app} {added}"),
        ask("realise/several-outputs", "-r {multi.drv}"),
        ask("realise/selected-output", "-r '{multi.drv}!dev'"),
        ask("realise/selected-outputs", "-r '{multi.drv}!dev,doc'"),
        ask("realise/unknown-output", "-r '{multi.drv}!nonsense'"),
        ask("realise/output-of-unbuilt", "-r {unbuilt}"),
        ask("realise/invalid", "-r {invalid}"),
        ask(
            "realise/ignore-unknown",
            "-r --ignore-unknown {invalid} {app.drv}",
        ),
        ask("realise/nothing", "-r"),
        ask("realise/no-output", "-r --no-output {app.drv}"),
        ask("realise/no-gc-warning", "-r --no-gc-warning {app.drv}").all_errors(),
        ask("realise/gc-warning", "-r {app.drv}").all_errors(),
        ask("realise/link", "-r ./result"),
        ask("realise/long-spelling", "--realise {app.drv}"),
        ask("realise/american-spelling", "--realize {app.drv}"),
        ask("realise/dry-run/built", "-r --dry-run {app.drv}").all_errors(),
        ask("realise/dry-run/one", "-r --dry-run {unbuilt.drv}").all_errors(),
        ask(
            "realise/dry-run/several",
            "-r --dry-run {top.drv} {unbuilt-multi.drv}",
        )
        .all_errors(),
        ask("realise/dry-run/unknown", "-r --dry-run {invalid}").all_errors(),
        ask(
            "realise/dry-run/ignore-unknown",
            "-r --dry-run --ignore-unknown {invalid}",
        )
        .all_errors(),
        change("realise/unbuilt", "-r {unbuilt.drv}"),
        change("realise/graph", "-r {top.drv}"),
        change("realise/several-new-outputs", "-r {unbuilt-multi.drv}"),
        change("realise/one-new-output", "-r '{unbuilt-multi.drv}!man'"),
        change("realise/environment", "-r {environment.drv}"),
        change("realise/failing", "-r {failing.drv}").no_errors(),
        change("realise/above-failing", "-r {above-failing.drv}").no_errors(),
        change("realise/keep-going", "-r -k {failing.drv} {unbuilt.drv}").no_errors(),
        change("realise/wrong-hash", "-r {wrong-hash.drv}").no_errors(),
        change(
            "realise/two-failures",
            "-r -k {failing.drv} {wrong-hash.drv}",
        )
        .no_errors(),
        change("realise/elsewhere", "-r {elsewhere.drv}").no_errors(),
        change("realise/check/same", "-r --check {base.drv}").no_errors(),
        change("realise/check/changed", "-r --check {changing.drv}").no_errors(),
        change("realise/check/unbuilt", "-r --check {unbuilt.drv}").no_errors(),
        change("realise/add-root/one", "-r --add-root ./root {app.drv}"),
        change(
            "realise/add-root/indirect",
            "-r --add-root ./root --indirect {app.drv}",
        ),
        change(
            "realise/add-root/several-outputs",
            "-r --add-root ./root {multi.drv}",
        ),
        change(
            "realise/add-root/selected",
            "-r --add-root ./root '{multi.drv}!dev'",
        ),
        change(
            "realise/add-root/several-paths",
            "-r --add-root ./root {app.drv} {lib.drv} {added}",
        ),
        change(
            "realise/add-root/replaced",
            "-r --add-root ./result {lib.drv}",
        ),
        change(
            "realise/add-root/file-in-the-way",
            "-r --add-root ./added {lib.drv}",
        ),
        change(
            "realise/add-root/link-in-the-way",
            "-r --add-root ./outside {lib.drv}",
        ),
        change(
            "realise/add-root/absolute",
            "-r --add-root /nix/scratch/deep/root {lib.drv}",
        ),
        change(
            "realise/add-root/of-gcroots",
            "-r --add-root /nix/var/nix/gcroots/new {lib.drv}",
        ),
        change(
            "realise/add-root/in-store",
            "-r --add-root /nix/store/root {lib.drv}",
        ),
    ]
}
