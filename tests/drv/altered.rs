//! Derivations with one change: refused by both, or accepted by both.

use nix_base::{Hash, HashAlgo, StoreDir, StorePath};
use nix_drv::{
    Derivation, DerivationOutput, DerivationType, HashMemo, Strictness, check_derivation,
};
use test_support::{Peer, say};

use crate::private_store::PrivateStore;

#[test]
fn judged_as_by_2_3() {
    judged_as_by("2.3");
}

#[test]
fn judged_as_by_2_8() {
    judged_as_by("2.8");
}

#[test]
fn judged_as_by_2_26() {
    judged_as_by("2.26");
}

#[test]
fn judged_as_by_the_newest() {
    judged_as_by("newest");
}

/// Where a release judges otherwise, for derivations of which type, and why.
const DIFFERENCES: &[(&str, &[DerivationType], &str)] = &[
    // It accepts a derivation that makes nothing.
    (
        "2.3",
        &[DerivationType::InputAddressed, DerivationType::CaFixed],
        "no outputs",
    ),
    // It knows no outputs without paths.
    ("2.3", &[DerivationType::InputAddressed], "no paths"),
    // It doesn't look at these variables, and the next release does again.
    (
        "newest",
        &[DerivationType::InputAddressed],
        "output variable",
    ),
    // It computes the paths of deferred outputs if that can be done.
    ("newest", &[DerivationType::InputAddressed], "no paths"),
    // It computes the hash of deferred derivations, for nothing.
    (
        "newest",
        &[DerivationType::Deferred],
        "impossible wanted output",
    ),
];

/// Whether the release is known to judge such derivations otherwise.
fn is_known(label: &str, own: DerivationType, what: &str) -> bool {
    DIFFERENCES
        .iter()
        .any(|(l, types, w)| *l == label && types.contains(&own) && *w == what)
}

fn judged_as_by(label: &str) {
    let Some(peer) = Peer::find(label) else {
        return;
    };
    let store = PrivateStore::new(peer);
    let paths = store.instantiate();
    let (mut accepted, mut refused, mut surprises) = (0, 0, Vec::new());
    for path in samples(&paths) {
        let text = store.read(path).unwrap();
        let drv = Derivation::parse_file(&text, store.dir(), path, Strictness::Strict);
        let drv = drv.unwrap();
        let own = drv.derivation_type().unwrap();
        for (what, alter) in ALTERATIONS {
            let mut altered = drv.clone();
            if !alter(&mut altered, store.dir()) {
                continue;
            }
            let (ours, theirs) = judge(&store, &altered);
            match (&ours, &theirs) {
                (Ok(()), Ok(())) => accepted += 1,
                (Err(_), Err(_)) => refused += 1,
                _ => {}
            }
            let differs = ours.is_ok() != theirs.is_ok();
            if differs != is_known(label, own, what) {
                let name = &drv.name;
                surprises.push(format!("{name} {what}: ours {ours:?}, theirs {theirs:?}"));
            }
        }
    }
    say(&format!(
        "{label}: {accepted} accepted by both, {refused} refused by both"
    ));
    assert!(surprises.is_empty(), "{surprises:#?}");
}

/// A few of each kind.
fn samples(paths: &[StorePath]) -> Vec<&StorePath> {
    let names = [
        "chain-0",
        "chain-7",
        "multi-6",
        "fixed-3.tar",
        "structured-6",
        "on-fixed-4",
        "floating-6",
        "deferred-7",
        "impure-3",
    ];
    let is_named = |path: &&StorePath| {
        names
            .iter()
            .any(|name| path.name().as_str() == format!("{name}.drv"))
    };
    paths.iter().filter(is_named).collect()
}

/// What we and the release make of a derivation.
fn judge(store: &PrivateStore, drv: &Derivation) -> (Result<(), String>, Result<(), String>) {
    let store_dir = store.dir();
    let text = drv.to_aterm(store_dir).unwrap();
    let path = drv.store_path(store_dir).unwrap();
    let read = |path: &StorePath| store.read(path);
    let ours = Derivation::parse_file(&text, store_dir, &path, Strictness::Strict)
        .and_then(|drv| check_derivation(&drv, &path, store_dir, &mut HashMemo::new(), read))
        .map(|_| ())
        .map_err(|error| error.to_string());
    (ours, store.register(&path, &text, &drv.references()))
}

type Alter = fn(&mut Derivation, &StoreDir) -> bool;

/// Changes by name; they say whether they apply.
const ALTERATIONS: &[(&str, Alter)] = &[
    ("platform", |drv, _| set(&mut drv.platform, "other-system")),
    ("builder", |drv, _| set(&mut drv.builder, "/bin/other")),
    ("argument", |drv, _| {
        drv.args.push("one more".into());
        true
    }),
    ("variable", |drv, _| {
        drv.env.insert("onemore".into(), "x".into()).is_none()
    }),
    ("output variable", |drv, dir| {
        let first = first_output(drv);
        drv.env.insert(first.into(), made_up(dir)).is_some()
    }),
    ("no output variable", |drv, _| {
        let first = first_output(drv);
        drv.env.remove(first.as_bytes()).is_some()
    }),
    ("output path", |drv, _| set_first_path(drv)),
    ("output path and variable", |drv, dir| {
        let first = first_output(drv);
        drv.env.insert(first.into(), made_up(dir));
        set_first_path(drv)
    }),
    ("no input", |drv, _| drv.input_drvs.pop_first().is_some()),
    ("impossible wanted output", |drv, _| {
        let node = drv.input_drvs.values_mut().next();
        node.is_some_and(|node| node.outputs.insert("nope".parse().unwrap()))
    }),
    ("nothing wanted", |drv, _| {
        let node = drv.input_drvs.values_mut().next();
        node.is_some_and(|node| !std::mem::take(&mut node.outputs).is_empty())
    }),
    ("source", |drv, _| {
        let input = drv.input_drvs.keys().next().cloned();
        input.is_some_and(|input| drv.input_srcs.insert(input))
    }),
    ("hash", |drv, _| set_hash(drv)),
    ("hash and variable", |drv, dir| {
        set_hash(drv) && {
            let path = drv.known_outputs(dir).unwrap().remove(0).1;
            drv.env.insert("out".into(), dir.print(&path).into());
            true
        }
    }),
    ("name of the output", |drv, _| {
        let (_, output) = drv.outputs.pop_first().unwrap();
        drv.outputs
            .insert("renamed".parse().unwrap(), output)
            .is_none()
    }),
    ("another kind of output", |drv, _| {
        let is_deferred = drv
            .outputs
            .values()
            .any(|o| *o == DerivationOutput::Deferred);
        !is_deferred
            && drv
                .outputs
                .insert("zzz".parse().unwrap(), DerivationOutput::Deferred)
                .is_none()
    }),
    ("no outputs", |drv, _| {
        drv.outputs.clear();
        true
    }),
    ("no paths", |drv, _| {
        let is_known = drv.derivation_type().unwrap() == DerivationType::InputAddressed;
        for name in drv.outputs.keys().cloned().collect::<Vec<_>>() {
            drv.env.insert(name.as_str().into(), "".into());
            drv.outputs.insert(name, DerivationOutput::Deferred);
        }
        is_known
    }),
    ("algorithm", |drv, _| {
        match drv.outputs.values_mut().next() {
            Some(DerivationOutput::CaFloating { algo, .. }) => {
                *algo = HashAlgo::Sha1;
                true
            }
            _ => false,
        }
    }),
];

/// A path that no derivation leads to.
const MADE_UP: &str = "00bgd045z0d4icpbc2yyz4gx48ak44la-made-up";

fn made_up(store_dir: &StoreDir) -> bstr::BString {
    store_dir.print(&MADE_UP.parse().unwrap()).into()
}

fn set(field: &mut bstr::BString, value: &str) -> bool {
    *field = value.into();
    true
}

fn first_output(drv: &Derivation) -> String {
    drv.outputs.keys().next().unwrap().to_string()
}

/// Gives the first output a path that was made up, also where it had none.
fn set_first_path(drv: &mut Derivation) -> bool {
    match drv.outputs.values_mut().next() {
        Some(output @ (DerivationOutput::InputAddressed(_) | DerivationOutput::Deferred)) => {
            let path = MADE_UP.parse().unwrap();
            *output = DerivationOutput::InputAddressed(path);
            true
        }
        _ => false,
    }
}

fn set_hash(drv: &mut Derivation) -> bool {
    match drv.outputs.values_mut().next() {
        Some(DerivationOutput::CaFixed(ca)) => {
            ca.hash = Hash::of(ca.hash.algo(), b"something else");
            true
        }
        _ => false,
    }
}
