//! Keys and signatures: real Nix takes ours, and we take those of real Nix.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix_base::{NarHash, StorePath, UnkeyedValidPathInfo, ValidPathInfo};
use nix_store_core::ImportBatch;
use test_support::{Peer, TempStore, run, run_ok};

use crate::fixture::{NIX_SERVE, Said, nix_serve, open, say};

/// A directory for keys.
struct Keys(tempfile::TempDir);

impl Keys {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes a key with our program; gives the names of its files.
    fn generate(&self, name: &str) -> (PathBuf, String) {
        let (secret, public) = (self.path(&format!("{name}.sec")), self.path(name));
        let mut command = Command::new(NIX_SERVE);
        command.args(["key", "generate", name]);
        command.arg(&secret).arg(&public);
        run_ok(command);
        (secret, fs::read_to_string(public).unwrap())
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn piped(mut command: Command, input: &Path) -> String {
    command.stdin(fs::File::open(input).unwrap());
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn keys_of_either_side_are_keys_of_the_other() {
    let keys = Keys::new();
    let (secret, public) = keys.generate("ours-1");
    assert_eq!((mode(&secret), mode(&keys.path("ours-1"))), (0o600, 0o644));
    for peer in Peer::all() {
        let (theirs, their_public) = (keys.path("theirs.sec"), keys.path("theirs"));
        let mut command = peer.command("nix-store");
        command.args(["--generate-binary-cache-key", "theirs-1"]);
        command.arg(&theirs).arg(&their_public);
        run_ok(command);
        let expected = fs::read_to_string(&their_public).unwrap();
        let shape = |path: &Path| (fs::read(path).unwrap().len(), mode(path));
        assert_eq!(shape(&theirs).0, shape(&secret).0 + 2);
        assert_eq!(shape(&theirs).1, 0o600);
        let mut public_of = Command::new(NIX_SERVE);
        public_of.args(["key", "public"]);
        assert_eq!(piped(public_of, &theirs), expected, "{}", peer.label());
        if peer.is_at_least(2, 8) {
            let mut public_of = peer.command("nix");
            public_of.args(["key", "convert-secret-to-public"]);
            assert_eq!(piped(public_of, &secret), public, "{}", peer.label());
        }
    }
}

#[test]
fn a_key_is_printed_where_no_file_is_named() {
    let mut generate = Command::new(NIX_SERVE);
    generate.args(["key", "generate", "printed-1"]);
    let said = say(generate);
    let key: nix_base::SecretKey = said.stdout.parse().unwrap();
    assert_eq!(key.name(), "printed-1");
    assert!(!said.stdout.ends_with('\n'));
}

#[test]
fn secrets_stay_where_they_are() {
    let keys = Keys::new();
    let (secret, _) = keys.generate("k-1");
    let text = fs::read_to_string(&secret).unwrap();
    // No file is replaced.
    let mut again = Command::new(NIX_SERVE);
    again.args(["key", "generate", "k-1"]).arg(&secret);
    let said = say(again);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(fs::read_to_string(&secret).unwrap(), text);
    // A key that others can read isn't used, and not shown.
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let mut public = Command::new(NIX_SERVE);
    public.args(["key", "public"]).arg(&secret);
    let said = say(public);
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("mode 0644"), "{said:?}");
    assert!(!said.stderr.contains(&text[4..20]), "{said:?}");
    for name in ["", "a b", "a:b"] {
        let mut generate = Command::new(NIX_SERVE);
        generate.args(["key", "generate", name]);
        assert_eq!(say(generate).code, Some(1), "{name:?}");
    }
    let left: BTreeSet<_> = fs::read_dir(keys.0.path())
        .unwrap()
        .collect::<Result<Vec<_>, _>>()
        .unwrap()
        .iter()
        .map(fs::DirEntry::file_name)
        .collect();
    assert_eq!(left, BTreeSet::from(["k-1".into(), "k-1.sec".into()]));
}

/// A store with an object that is addressed by its content, one that isn't, one that was
/// built there, and one that refers to the second.
struct Signable {
    store: TempStore,
    ca: String,
    plain: String,
    built: String,
    referrer: String,
}

fn signable() -> Signable {
    let store = TempStore::new();
    let local = open(&store);
    let dir = local.store_dir().clone();
    let name = nix_base::StorePathName::new("ca").unwrap();
    let ca = local.add_text(b"text", Default::default(), &name).unwrap();
    let batch = ImportBatch::new(&local);
    let add = |digit: &str, references: &[&StorePath]| {
        let base = format!("{}-object", digit.repeat(32));
        let path = StorePath::from_base_name(&base).unwrap();
        let mut nar = Vec::new();
        nix_nar::write_regular(digit.as_bytes(), false, &mut nar).unwrap();
        let mut info = UnkeyedValidPathInfo::new(NarHash::of(&nar), nar.len() as u64);
        info.references = references.iter().map(|&path| path.clone()).collect();
        let info = ValidPathInfo {
            path: path.clone(),
            info,
        };
        batch.stage(info, &mut nar.as_slice()).unwrap();
        path
    };
    let plain = add("a", &[]);
    let built = add("b", &[]);
    let referrer = add("c", &[&plain, &ca]);
    assert!(batch.commit().failure.is_none());
    local.mark_built(&built, &BTreeSet::new()).unwrap();
    let print = |path: &StorePath| dir.print(path);
    Signable {
        ca: print(&ca),
        plain: print(&plain),
        built: print(&built),
        referrer: print(&referrer),
        store,
    }
}

impl Signable {
    /// `nix store sign` or what it was called.
    fn real_sign(&self, peer: &Peer, secret: &Path, paths: &[&String]) {
        let mut command = self.real(peer, ["store", "sign"], "sign-paths");
        command.arg("-k").arg(secret).args(paths);
        run_ok(command);
    }

    /// The exit status of `nix store verify`.
    fn real_status(&self, peer: &Peer, options: &[&str], path: &str) -> Option<i32> {
        let mut command = self.real(peer, ["store", "verify"], "verify");
        command.args(["--no-contents", "--option", "substituters", ""]);
        command.args(options).arg(path);
        run(command).status.code()
    }

    fn real(&self, peer: &Peer, words: [&str; 2], old: &str) -> Command {
        let mut command = peer.command("nix");
        match peer.is_at_least(2, 4) {
            true => command.args(words),
            false => command.arg(old),
        };
        command.args(["--store", &self.store.address()]);
        command
    }

    fn our_status(&self, options: &[&str], path: &str) -> Said {
        let words = ["check-sigs"].iter().chain(options).chain([&path]);
        say(nix_serve(&self.store, words))
    }

    fn signatures(&self, path: &str) -> BTreeSet<String> {
        let local = open(&self.store);
        let path = local.store_dir().parse(path).unwrap();
        let info = local.db().query_path_info(&path).unwrap().unwrap();
        info.info.sigs.iter().map(ToString::to_string).collect()
    }
}

#[test]
fn signatures_of_either_side_are_the_same() {
    let keys = Keys::new();
    let (secret, public) = keys.generate("key-1");
    let secret_text = secret.display().to_string();
    for peer in Peer::all() {
        let (ours, theirs) = (signable(), signable());
        let sign = [
            "sign",
            "--key-file",
            &secret_text,
            "--recursive",
            &ours.referrer,
        ];
        let said = say(nix_serve(&ours.store, sign));
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.stderr.contains("added 3 signatures"), "{said:?}");
        theirs.real_sign(
            peer,
            &secret,
            &[&theirs.ca, &theirs.plain, &theirs.referrer],
        );
        for path in [&ours.ca, &ours.plain, &ours.referrer] {
            let signatures = ours.signatures(path);
            assert_eq!(signatures.len(), 1);
            assert_eq!(signatures, theirs.signatures(path), "{}", peer.label());
        }
        // Neither adds what is there.
        let sign = ["sign", "-k", &secret_text, "--all"];
        let said = say(nix_serve(&theirs.store, sign));
        assert!(said.stderr.contains("added 1 signatures"), "{said:?}");
        ours.real_sign(peer, &secret, &[&ours.plain]);
        assert_eq!(ours.signatures(&ours.plain).len(), 1);
        let trusted = ["--option", "trusted-public-keys", &public];
        assert_eq!(ours.real_status(peer, &trusted, &ours.referrer), Some(0));
    }
}

#[test]
fn the_same_paths_are_trusted_as_by_real_nix() {
    let keys = Keys::new();
    let (secret, public) = keys.generate("key-1");
    let (_, other) = keys.generate("other-1");
    let secret = secret.display().to_string();
    let subject = signable();
    let sign = ["sign", "-k", &secret, &subject.referrer];
    assert_eq!(say(nix_serve(&subject.store, sign)).code, Some(0));
    let both = format!("{other} {public}");
    let options: [&[&str]; 7] = [
        &[],
        &["--option", "trusted-public-keys", &public],
        &["--option", "trusted-public-keys", &both],
        &["--option", "trusted-public-keys", &other],
        &["--option", "secret-key-files", &secret],
        &[
            "--option",
            "trusted-public-keys",
            &public,
            "--sigs-needed",
            "1",
        ],
        &[
            "--option",
            "trusted-public-keys",
            &public,
            "--sigs-needed",
            "2",
        ],
    ];
    let paths = [
        &subject.ca,
        &subject.plain,
        &subject.built,
        &subject.referrer,
    ];
    let mut statuses = BTreeSet::new();
    for options in options {
        for path in paths {
            let ours = subject.our_status(options, path);
            statuses.insert(ours.code);
            for peer in Peer::all() {
                let theirs = subject.real_status(peer, options, path);
                assert_eq!(
                    ours.code,
                    theirs,
                    "{} with {options:?} of '{path}': {ours:?}",
                    peer.label()
                );
            }
        }
    }
    assert_eq!(statuses, BTreeSet::from([Some(0), Some(2)]));
}

#[test]
fn what_is_trusted_is_told_as_json() {
    let keys = Keys::new();
    let (secret, public) = keys.generate("key-1");
    let subject = signable();
    let secret = secret.display().to_string();
    let sign = ["sign", "-k", &secret, &subject.referrer];
    assert_eq!(say(nix_serve(&subject.store, sign)).code, Some(0));
    let words = ["check-sigs", "--all", "--json", "--key", &public];
    let said = say(nix_serve(&subject.store, words));
    assert_eq!(said.code, Some(2), "{said:?}");
    assert_eq!(said.stderr.matches("is untrusted").count(), 1, "{said:?}");
    let verdicts = said.json();
    assert_eq!(verdicts.as_array().unwrap().len(), 4);
    let of = |path: &str| {
        let mut verdicts = verdicts.as_array().unwrap().iter();
        verdicts.find(|verdict| verdict["path"] == path).unwrap()
    };
    assert_eq!(
        of(&subject.referrer)["signedBy"],
        serde_json::json!(["key-1"])
    );
    assert_eq!(of(&subject.plain)["trusted"], false);
    assert_eq!(of(&subject.built)["ultimate"], true);
    assert_eq!(of(&subject.ca)["contentAddressed"], true);
}

#[test]
fn a_path_that_is_not_valid_is_not_signed() {
    let keys = Keys::new();
    let (secret, _) = keys.generate("key-1");
    let subject = signable();
    let missing = format!("/nix/store/{}-none", "d".repeat(32));
    let secret = secret.display().to_string();
    for words in [
        ["sign", "-k", &secret, &missing],
        ["check-sigs", "-n", "1", &missing],
    ] {
        let said = say(nix_serve(&subject.store, words));
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.stderr.contains("is not valid"), "{said:?}");
    }
}

/// What is copied from elsewhere needs a signature where the operator demands it; a key that
/// signs here is one that is trusted.
#[test]
fn copies_need_signatures_on_demand() {
    let keys = Keys::new();
    let (secret, public) = keys.generate("key-1");
    let subject = signable();
    let secret = secret.display().to_string();
    let address = crate::fixture::served_by_us(&subject.store);
    let copy = |path: &str, option: [&str; 2]| {
        let target = TempStore::new();
        let words = [
            "copy",
            "--from",
            &address,
            "--option",
            "require-sigs",
            "true",
        ];
        let words = words.into_iter().chain(["--option"]).chain(option);
        say(nix_serve(&target, words.chain([path])))
    };
    let keys = ["trusted-public-keys", &public];
    let unsigned = copy(&subject.plain, keys);
    assert_eq!(unsigned.code, Some(1));
    assert!(unsigned.stderr.contains("lacks a"), "{unsigned:?}");
    assert_eq!(copy(&subject.ca, keys).code, Some(0));
    let sign = ["sign", "-k", &secret, &subject.plain];
    assert_eq!(say(nix_serve(&subject.store, sign)).code, Some(0));
    for option in [keys, ["secret-key-files", &secret]] {
        let said = copy(&subject.plain, option);
        assert_eq!(said.code, Some(0), "{said:?}");
    }
}
