//! What untrusted clients bring: by content address or by a signature that counts, or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;

use nix_base::{NarHash, SecretKey, StoreDir, UnkeyedValidPathInfo, ValidPathInfo};
use test_support::{Machine, PathToAdd, RawDrv, RawLimits, ServeSession, nar, verify_with};

use crate::proofs::{Client, requests};
use crate::site::{confined, newest, ours, stocked};

/// Valid paths of a machine as its server gives them away.
pub(crate) fn paths_of<'a>(
    machine: &Machine,
    paths: impl IntoIterator<Item = &'a String>,
) -> Vec<PathToAdd> {
    let mut session = ServeSession::open(machine.command(ours(), ["serve"]), 7);
    let infos = session.query_path_infos(paths);
    session.finish_ok();
    let infos = infos.into_iter();
    infos
        .map(|info| {
            let archive = nar::of_path(&machine.on_disk(&info.path));
            PathToAdd {
                ca: info.ca,
                references: info.references,
                ..PathToAdd::from_nar(info.path, archive)
            }
        })
        .collect()
}

/// A path under a name that says nothing of its contents.
fn arbitrary(name: &str) -> PathToAdd {
    let digits: String = name
        .chars()
        .map(|letter| {
            if "eotu.-".contains(letter) {
                'x'
            } else {
                letter
            }
        })
        .collect();
    PathToAdd::file(&format!("{digits:0>32}"), name, name.as_bytes())
}

fn sign(path: &mut PathToAdd, key: &SecretKey) {
    let dir = StoreDir::default();
    let parse = |text: &String| dir.parse(text.as_bytes()).unwrap();
    let mut info = UnkeyedValidPathInfo::new(NarHash::of(&path.nar), path.nar.len() as u64);
    info.references = path.references.iter().map(parse).collect();
    let info = ValidPathInfo {
        path: parse(&path.path),
        info,
    };
    let signature = key.sign(info.fingerprint(&dir).as_bytes());
    path.sigs.insert(signature.to_string());
}

/// Writes the policy of a machine's store.
pub(crate) fn write_policy(machine: &Machine, text: &str) {
    let place = machine.path("nix/var/nix/nix-serve");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o755)).unwrap();
    let file = place.join("policy.toml");
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn is_valid(client: &mut Client<'_>, path: &str) -> bool {
    !client
        .session()
        .query_valid_paths(false, false, [path])
        .is_empty()
}

#[track_caller]
fn assert_refused(client: &mut Client<'_>, path: &PathToAdd, what: &str) {
    let said = client.add(&path.request()).expect_err(what);
    assert!(
        said.contains("error"),
        "{what} is refused without a word: {said}"
    );
    assert!(!is_valid(client, &path.path), "{what}");
}

/// How a path is made something else than it was.
type Lie<'p> = &'p dyn Fn(&mut PathToAdd);

#[test]
fn only_what_its_content_address_gives_comes_in() {
    let Some(peer) = newest() else { return };
    let machine = confined();
    let mut client = Client::new(&machine, "carol");
    let honest = PathToAdd::added_file("honest", b"honest");
    let first = PathToAdd::added_file("first", b"first");
    client.add(&first.request()).unwrap();

    assert_refused(
        &mut client,
        &arbitrary("unsigned"),
        "a path without an address",
    );
    let lies: [(&str, Lie<'_>); 7] = [
        ("no address", &|path| path.ca.clear()),
        ("an address of something else", &|path| {
            path.ca.clone_from(&first.ca)
        }),
        ("an address of another method", &|path| {
            path.ca = path.ca.replace("fixed:r:", "fixed:");
        }),
        ("references that the address lacks", &|path| {
            path.references.insert(first.path.clone());
        }),
        ("a path that its address doesn't give", &|path| {
            path.path = path.path.replace("-honest", "-honesty");
        }),
        ("contents that its address lacks", &|path| {
            path.nar = nar::regular(b"h0nest");
            path.nar_hash = PathToAdd::from_nar(String::new(), path.nar.clone()).nar_hash;
        }),
        ("a hash of something else", &|path| {
            path.nar_hash.clone_from(&first.nar_hash)
        }),
    ];
    for (what, lie) in lies {
        let mut path = honest.clone();
        lie(&mut path);
        assert_refused(&mut client, &path, what);
    }
    let mut boasting = honest.clone();
    boasting.ultimate = true;
    boasting.registration_time = 12_345;
    boasting.deriver = arbitrary("deriver.drv").path;
    client.add(&boasting.request()).unwrap();
    assert_eq!(facts(&machine, &honest.path), (false, false, String::new()));
    verify_with(peer, &machine);
}

/// Whether a path is `ultimate` and was registered at the time that a client said, and its deriver.
fn facts(machine: &Machine, path: &str) -> (bool, bool, String) {
    let database = rusqlite::Connection::open(machine.path("nix/var/nix/db/db.sqlite")).unwrap();
    database
        .query_row(
            "select ifnull(ultimate, 0), registrationTime = 12345, ifnull(deriver, '')
             from ValidPaths where path = ?",
            [path],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap()
}

#[test]
fn signatures_count_for_what_they_were_made_over() {
    let Some(peer) = newest() else { return };
    let machine = confined();
    let trusted = SecretKey::from_seed("trusted-1", &[1; 32]);
    let other = SecretKey::from_seed("trusted-1", &[2; 32]);
    write_policy(
        &machine,
        &format!(
            "[key.dave]\nallow = [\"query\", \"dump\", \"import-ca\", \"import-signed\"]\n\
             trusted-keys = [\"{}\"]\n\
             [key.erin]\nallow = [\"query\", \"import-ca\", \"import-signed\"]\n",
            trusted.public_key()
        ),
    );
    let mut client = Client::new(&machine, "dave");
    let mut base = arbitrary("base");
    sign(&mut base, &trusted);
    client.add(&base.request()).unwrap();

    let mut by_another = arbitrary("by-another");
    sign(&mut by_another, &other);
    assert_refused(
        &mut client,
        &by_another,
        "a signature by another key of the same name",
    );
    let mut referring = arbitrary("referring");
    sign(&mut referring, &trusted);
    referring.references.insert(base.path.clone());
    assert_refused(&mut client, &referring, "a signature over other references");
    let mut swapped = arbitrary("swapped");
    swapped.sigs.clone_from(&base.sigs);
    assert_refused(&mut client, &swapped, "a signature over another path");
    let mut contents = arbitrary("contents");
    sign(&mut contents, &trusted);
    let other = PathToAdd::from_nar(contents.path.clone(), nar::regular(b"other"));
    let contents = PathToAdd {
        sigs: contents.sigs,
        ..other
    };
    assert_refused(&mut client, &contents, "a signature over other contents");

    referring.sigs.clear();
    sign(&mut referring, &trusted);
    client.add(&referring.request()).unwrap();
    let mut stranger = Client::new(&machine, "erin");
    assert_refused(
        &mut stranger,
        &by_another,
        "a signature for whom no key counts",
    );
    verify_with(peer, &machine);
}

const UNCONFINED: &str = r#"
plain = make "plain" { } "echo plain > $out";
unconfined = make "unconfined" { __noChroot = true; } "echo > $out";
featured = make "featured" { requiredSystemFeatures = [ "kvm" ]; } "echo > $out";
weak = make "weak" {
  outputHashMode = "flat"; outputHashAlgo = "sha1";
  outputHash = builtins.hashString "sha1" "weak\n";
} "echo weak > $out";
wrong = make "wrong" {
  outputHashMode = "flat"; outputHashAlgo = "sha256";
  outputHash = builtins.hashString "sha256" "another\n";
} "echo wrong > $out";
"#;

#[test]
fn what_verified_builds_may_not_do() {
    let Some(peer) = newest() else { return };
    let (here, drvs) = stocked(peer, UNCONFINED);
    let there = confined();
    // The configuration that the environment names isn't read: flags say what it would.
    let lax = [
        "--option",
        "sandbox",
        "relaxed",
        "--option",
        "system-features",
        "kvm",
    ];
    let mut client = Client::new(&there, "frank").told(&lax);
    let requests: BTreeMap<&str, _> = drvs
        .iter()
        .map(|(name, path)| (name.as_str(), requests(&here, path).pop().unwrap()))
        .collect();
    let sources: BTreeSet<String> = requests["plain"].proof.sources.iter().cloned().collect();
    for source in paths_of(&here, &sources) {
        client.add(&source.request()).unwrap();
    }
    for (name, request) in &requests {
        let built = client.build(&request.plain());
        assert_eq!(built.is_ok(), *name == "plain", "'{name}': {built:?}");
        for output in request.outputs() {
            assert_eq!(is_valid(&mut client, &output), *name == "plain", "'{name}'");
        }
    }
    let limits = RawLimits {
        keep_failed: true,
        ..RawLimits::default()
    };
    let failing = RawDrv::read(&here.on_disk(&drvs["wrong"]));
    // Kept or not is the server's affair; the request is not to be an error of the protocol.
    let _ = client.build(&failing.request(&drvs["wrong"], &limits, 7));
    let builds = there.path("nix/var/nix/builds");
    let left = std::fs::read_dir(builds).map_or(0, Iterator::count);
    assert_eq!(left, 0, "directories of failed builds");
    verify_with(peer, &there);
}
