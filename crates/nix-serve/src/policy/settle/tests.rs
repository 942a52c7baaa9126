use super::*;

fn wish(flags: &str) -> Wish {
    let mut wish = Wish::default();
    let mut words = flags.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "--write" => wish.write = true,
            "--untrusted" => wish.untrusted = true,
            "--allow" => wish.allow = Capability::parse_list(words.next().unwrap()).ok(),
            "--as" => wish.key = Some(words.next().unwrap().parse().unwrap()),
            "--expose" => wish.expose.push(words.next().unwrap().parse().unwrap()),
            _ => panic!("{word}"),
        }
    }
    wish
}

fn settled(flags: &str, policy: Option<&str>) -> Result<Role, PolicyError> {
    let location = Path::new("/p.toml");
    let policy = policy.map(|text| PolicyFile::parse(text, location).unwrap());
    let around = Surroundings {
        location,
        policy: policy.as_ref(),
        store_dir: &StoreDir::default(),
        trusted_keys: Vec::new(),
    };
    settle(&wish(flags), around)
}

fn words(role: &Role) -> String {
    let words: Vec<_> = role.capabilities.iter().map(|one| one.word()).collect();
    words.join(" ")
}

fn allowed(flags: &str, policy: Option<&str>) -> String {
    words(&settled(flags, policy).unwrap())
}

fn problem(flags: &str, policy: Option<&str>) -> String {
    settled(flags, policy).unwrap_err().to_string()
}

const SAFE: &str = "query dump import-ca import-signed build-verified";
const PATH: &str = "i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt";

#[test]
fn plain_flags_are_those_of_upstream_whatever_the_policy_says() {
    for policy in [None, Some("[default]\nallow = ['query']\n")] {
        let role = settled("--write", policy).unwrap();
        assert!(role.is_full() && role.writes() && role.scope().is_none());
        assert_eq!(role.capabilities.len(), Capability::ALL.len());
        assert_eq!(allowed("", policy), "query dump");
    }
}

#[test]
fn an_untrusted_client_gets_the_safe_set() {
    let role = settled("--write --untrusted", None).unwrap();
    assert_eq!(words(&role), SAFE);
    assert_eq!(
        (role.key.as_deref(), role.view),
        (Some("unnamed"), View::Own)
    );
    assert!(!role.is_full() && !role.weak_hashes);
    assert_eq!(role.system_features, Some(BTreeSet::new()));
    let named = settled("--write --untrusted --as bob", None).unwrap();
    assert_eq!(named.scope().as_deref(), Some("key:bob"));
}

#[test]
fn flags_and_policy_both_hold() {
    let policy = Some("[key.bob]\nallow = ['query', 'import-ca', 'build-verified', 'network']\n");
    let bob = "--write --untrusted --as bob";
    assert_eq!(
        allowed(bob, policy),
        "query import-ca build-verified network"
    );
    let fewer = format!("{bob} --allow query,dump,import-ca");
    assert_eq!(allowed(&fewer, policy), "query import-ca");
    assert_eq!(allowed("--as bob", policy), "query");
}

#[test]
fn contradictions_fail_at_the_start() {
    let flags = [
        "--untrusted",
        "--allow import-ca",
        "--write --untrusted --allow import-any",
        "--write --untrusted --allow keep-failed",
        "--write --allow network,query",
        "--write --as bob",
    ];
    let problems = flags.map(|flags| problem(flags, None));
    insta::assert_snapshot!(problems.join("\n"), @r#"
    '--untrusted' says what a client that may write is trusted with: it needs '--write'
    'import-ca' can't be allowed on the command line: it needs '--write'
    'import-any' can't be allowed on the command line: an untrusted client could do harm with it
    'keep-failed' can't be allowed on the command line: an untrusted client could do harm with it
    'network' is for builds, and needs 'build-verified' or 'build-any'
    '--as bob' needs '--untrusted', '--allow' or an entry for the key in '/p.toml', which isn't there
    "#);
}

#[test]
fn contradictions_in_the_policy_fail_at_the_start() {
    let no_entry = problem("--write --as bob", Some("[key.alice]\n"));
    let exposed = format!("view = 'everything'\nexpose = ['/nix/store/{PATH}']");
    let entries = [
        "slots = 1\nallow = ['query', 'build-any']",
        "allow = ['query', 'network']",
        "expose = ['/etc/passwd']",
        "view = 'everything'\nshare = true",
        &exposed,
    ];
    let bob = "--write --untrusted --as bob";
    let problems = entries.map(|text| problem(bob, Some(&format!("[key.bob]\n{text}\n"))));
    insta::assert_snapshot!(format!("{no_entry}\n{}", problems.join("\n")), @r#"
    the policy '/p.toml' has neither [key."bob"] nor [default]
    'build-any' can't be allowed at /p.toml:3: an untrusted client could do harm with it
    /p.toml:2: 'network' is for builds, and needs 'build-verified' or 'build-any'
    /p.toml:2: '/etc/passwd' is not a path of this store
    /p.toml:3: a key that sees everything has no view to share
    /p.toml:2: a key that sees everything can't be limited to exposed paths
    "#);
}

#[test]
fn exposure_limits_the_view_of_readers_too() {
    let role = settled(&format!("--expose {PATH}"), None).unwrap();
    assert_eq!(
        (words(&role).as_str(), role.view),
        ("query dump", View::Own)
    );
    assert_eq!((role.key.as_ref(), role.scope()), (None, None));
    assert_eq!(allowed("--as bob", None), "query dump");
    let policy = format!("[key.bob]\nexpose = ['/nix/store/{PATH}']\n");
    let role = settled("--as bob", Some(&policy)).unwrap();
    assert_eq!((role.exposed.len(), role.view), (1, View::Own));
}

#[test]
fn keys_that_share_have_one_scope_that_no_name_collides_with() {
    let policy = "[default]\nshare = true\n[key.shared]\nshare = false\n";
    let scope = |key: &str| {
        let flags = format!("--write --untrusted --as {key}");
        settled(&flags, Some(policy)).unwrap().scope().unwrap()
    };
    assert_eq!(scope("a"), scope("b"));
    assert_ne!(scope("shared"), scope("a"));
}

#[test]
fn a_trusted_key_may_be_held_to_an_entry() {
    let policy = Some("[key.ci]\nallow = ['query', 'dump', 'import-any']\nslots = 2\n");
    let role = settled("--write --as ci", policy).unwrap();
    assert_eq!(words(&role), "query dump import-any");
    assert_eq!((role.view, role.quotas.slots), (View::Everything, Some(2)));
    assert!(!role.is_full());
}

#[test]
fn the_client_without_a_name_gets_the_default() {
    let policy = Some("[default]\nstored-bytes = '1M'\nsystem-features = ['big-parallel']\n");
    let role = settled("--write --untrusted", policy).unwrap();
    assert_eq!(role.quotas.stored_bytes, Some(1 << 20));
    assert_eq!(
        role.system_features,
        Some(["big-parallel".to_owned()].into())
    );
    let only_named = Some("[key.bob]\n");
    assert_eq!(allowed("--write --untrusted", only_named), SAFE);
}
