use nix_base::{StorePath, StorePathSet};
use nix_drv::{DerivationOutput, Placeholder};

use super::*;
use crate::scratch::ScratchInput;

const DRV: &str = "abacpfh69g9sac8k49w2lhsv99ck13n6-sa.drv";
const OUT: &str = "b6kf1aqf47p7i68w28mcg8m8yfs7ys84-sa";

fn derivation(env: &[(&str, &str)]) -> BasicDerivation {
    let out = DerivationOutput::InputAddressed(OUT.parse().unwrap());
    BasicDerivation {
        name: "sa".parse().unwrap(),
        outputs: [("out".parse().unwrap(), out)].into(),
        input_srcs: StorePathSet::new(),
        platform: "x86_64-linux".into(),
        builder: "/some/where/sh//".into(),
        args: vec!["-c".into(), placeholder().into()],
        env: env
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect(),
    }
}

fn placeholder() -> String {
    Placeholder::of_own_output(&"out".parse().unwrap()).to_string()
}

struct Given {
    drv: BasicDerivation,
    drv_type: DerivationType,
    config: BuildConfig,
    graphs: GraphData,
}

impl Given {
    fn new(env: &[(&str, &str)]) -> Self {
        Self {
            drv: derivation(env),
            drv_type: DerivationType::InputAddressed,
            config: BuildConfig {
                cores: 3,
                ..BuildConfig::default()
            },
            graphs: GraphData::default(),
        }
    }

    fn prepare(&self) -> Result<BuilderEnvironment, EnvError> {
        let dir = StoreDir::default();
        let drv_path: StorePath = DRV.parse().unwrap();
        prepare(&EnvInput {
            drv: &self.drv,
            drv_type: self.drv_type,
            options: &self.drv.options(&dir).unwrap(),
            store_dir: &dir,
            config: &self.config,
            build_dir: Path::new("/build"),
            scratch: &ScratchPaths::compute(&ScratchInput {
                store_dir: &dir,
                drv_path: &drv_path,
                drv: &self.drv,
                valid: &std::collections::BTreeSet::new(),
                confined: true,
            })
            .unwrap(),
            graphs: &self.graphs,
        })
    }

    fn env(&self) -> String {
        let env = self.prepare().unwrap().env;
        let lines = env.iter().map(|(name, value)| format!("{name}={value}\n"));
        lines.collect()
    }

    fn file(&self, name: &str) -> String {
        let files = self.prepare().unwrap().files;
        let found = files.into_iter().find(|file| file.name == name).unwrap();
        assert_eq!(found.mode, 0o644);
        found.contents.to_string()
    }
}

#[test]
fn a_builder_gets_fixed_variables_and_its_own() {
    let given = Given::new(&[("out", &placeholder()), ("PATH", "/p"), ("TMP", "/t")]);
    insta::assert_snapshot!(given.env(), @r"
    HOME=/homeless-shelter
    NIX_BUILD_CORES=3
    NIX_BUILD_TOP=/build
    NIX_LOG_FD=2
    NIX_STORE=/nix/store
    PATH=/p
    PWD=/build
    TEMP=/build
    TEMPDIR=/build
    TERM=xterm-256color
    TMP=/build
    TMPDIR=/build
    out=/nix/store/b6kf1aqf47p7i68w28mcg8m8yfs7ys84-sa
    ");
}

#[test]
fn program_and_arguments_are_as_stated_but_for_placeholders() {
    let prepared = Given::new(&[]).prepare().unwrap();
    assert_eq!(prepared.program, "/some/where/sh//");
    assert_eq!(prepared.args, ["sh", "-c", &format!("/nix/store/{OUT}")]);
}

#[test]
fn base_names_are_those_of_real_nix() {
    for (path, base) in [
        ("/bin/sh", "sh"),
        ("sh", "sh"),
        ("a/b//", "b"),
        ("/", "/"),
        ("//", "/"),
        ("", ""),
    ] {
        assert_eq!(base_name(path.as_bytes()), base.as_bytes(), "{path}");
    }
}

#[test]
fn no_cores_are_all_cores() {
    let mut given = Given::new(&[]);
    given.config.cores = 0;
    let all = std::thread::available_parallelism().unwrap();
    assert!(given.env().contains(&format!("NIX_BUILD_CORES={all}\n")));
}

#[test]
fn variables_passed_as_files_leave_a_path() {
    let text = format!("hello {}\n", placeholder());
    let given = Given::new(&[
        ("passAsFile", "t u missing"),
        ("t", &text),
        ("tPath", "mine"),
        ("u", "x"),
    ]);
    let env = given.env();
    let file = ".attr-1mha3hgpyv8cq0qvn27049a8pyd21h6wwxgw7b5cf8f3f1g97zhb";
    assert!(env.contains(&format!("uPath=/build/{file}\n")), "{env}");
    assert!(env.contains("tPath=mine\n"));
    assert!(!env.contains("\nu=") && !env.contains("\nt=") && !env.contains("missing="));
    assert_eq!(given.file(file), "x");
    assert_eq!(
        given.file(".attr-1n1x4zv2nh21xiq1rsxp1smlq9xscqzh6hvfvr5ps4hsld6qmfg3"),
        format!("hello /nix/store/{OUT}\n")
    );
    assert_eq!(given.prepare().unwrap().files.len(), 2);
}

#[test]
fn variables_from_outside_are_for_builders_with_network_alone() {
    let mut given = Given::new(&[("impureEnvVars", "A B UNSET TERM PWD"), ("A", "own")]);
    given.config.environment = [("A", "a"), ("B", "b"), ("TERM", "dumb"), ("PWD", "/x")]
        .map(|(name, value)| (name.into(), value.into()))
        .into();
    given.config.impure_env = [("B".to_owned(), "set".to_owned())].into();
    let env = given.env();
    assert!(env.contains("A=own\n") && !env.contains("UNSET=") && !env.contains("CHECKED"));
    for drv_type in [DerivationType::CaFixed, DerivationType::Impure] {
        given.drv_type = drv_type;
        let env = given.env();
        for line in [
            "A=a\n",
            "B=set\n",
            "UNSET=\n",
            "PWD=/x\n",
            "TERM=xterm-256color\n",
        ] {
            assert!(env.contains(line), "{line} {env}");
        }
        let is_checked = env.contains("NIX_OUTPUT_CHECKED=1\n");
        assert_eq!(is_checked, drv_type == DerivationType::CaFixed);
    }
}

/// The attributes of the example that real Nix was given, see the specification of builders.
const EXAMPLE: &str = r#"{"builder":"/bin/sh","f":1.5,"fa":false,"l":["a",1,true],"n":3,
    "name":"sa","nested":{"a":[1]},"nu":null,"o":{"x":"y","z":1},"outputs":["out"],
    "str":"a'b","system":"x86_64-linux","t":true,"bad-key":1}"#;

#[test]
fn structured_attributes_are_written_as_real_nix_writes_them() {
    let given = Given::new(&[("__json", EXAMPLE), ("x", "y")]);
    let env = given.env();
    assert!(env.contains("NIX_ATTRS_JSON_FILE=/build/.attrs.json\n"));
    assert!(env.contains("NIX_ATTRS_SH_FILE=/build/.attrs.sh\n"));
    assert!(!env.contains("x=y") && !env.contains("__json"));
    insta::assert_snapshot!(given.file(".attrs.json"), @r#"{"bad-key":1,"builder":"/bin/sh","f":1.5,"fa":false,"l":["a",1,true],"n":3,"name":"sa","nested":{"a":[1]},"nu":null,"o":{"x":"y","z":1},"outputs":{"out":"/nix/store/b6kf1aqf47p7i68w28mcg8m8yfs7ys84-sa"},"str":"a'b","system":"x86_64-linux","t":true}"#);
    insta::assert_snapshot!(given.file(".attrs.sh"), @r"
    declare builder='/bin/sh'
    declare fa=
    declare -a l=('a' 1 1 )
    declare n=3
    declare name='sa'
    declare nu=''
    declare -A o=(['x']='y' ['z']=1 )
    declare -A outputs=(['out']='/nix/store/b6kf1aqf47p7i68w28mcg8m8yfs7ys84-sa' )
    declare str='a'\''b'
    declare system='x86_64-linux'
    declare t=1
    ");
}

#[test]
fn numbers_for_shells_are_those_of_real_nix() {
    for (json, shell) in [
        ("5000000000", "declare k=705032704\n"),
        ("2147483648", "declare k=-2147483648\n"),
        ("9223372036854775807", "declare k=-1\n"),
        ("18446744073709551615", "declare k=-1\n"),
        ("-5", "declare k=-5\n"),
        ("16777217", "declare k=16777217\n"),
        ("2.0", "declare k=2\n"),
        ("-0.0", "declare k=0\n"),
        ("1e10", "declare k=-2147483648\n"),
        ("1e20", "declare k=-2147483648\n"),
        ("1e300", "declare k=-2147483648\n"),
        ("16777217.5", "declare k=16777217\n"),
        ("1.5", ""),
        ("[1.5, 2]", ""),
        ("[1, null, 2.0]", "declare -a k=(1 '' 2 )\n"),
        ("[]", "declare -a k=()\n"),
        ("{}", "declare -A k=()\n"),
        (
            "{\"a b\":null,\"c'd\":\"e\"}",
            "declare -A k=(['a b']='' ['c'\\''d']='e' )\n",
        ),
        ("{\"a\":[]}", ""),
    ] {
        let given = Given::new(&[("__json", &format!("{{\"k\":{json}}}"))]);
        let text = given.file(".attrs.sh");
        assert_eq!(
            text.split("declare -A outputs").next().unwrap(),
            shell,
            "{json}"
        );
    }
}

#[test]
fn graphs_replace_attributes_of_their_name() {
    let mut given = Given::new(&[("__json", r#"{"g":1,"exportReferencesGraph":{"g":[]}}"#)]);
    given.graphs = GraphData::Attributes([("g".to_owned(), serde_json::json!([]))].into());
    let json = given.file(".attrs.json");
    assert!(
        json.starts_with(r#"{"exportReferencesGraph":{"g":[]},"g":[],"#),
        "{json}"
    );
    let mut given = Given::new(&[]);
    given.graphs = GraphData::Files([("g".into(), b"text".to_vec())].into());
    assert_eq!(given.file("g"), "text");
}

#[test]
fn nul_bytes_are_refused() {
    for env in [[("a", "x\0y")], [("a\0", "x")]] {
        let error = Given::new(&env).prepare().unwrap_err();
        assert!(error.to_string().ends_with("of 'sa' has a NUL byte"));
    }
    let mut given = Given::new(&[]);
    given.drv.args = vec!["\0".into()];
    let failure = BuildFailure::from(given.prepare().unwrap_err());
    assert_eq!(failure.message, "an argument of 'sa' has a NUL byte");
}

/// The failure for attributes as they were given to real Nix.
fn failure(env: &[(&str, &str)]) -> String {
    let dir = StoreDir::default();
    let error = derivation(env).options(&dir).unwrap_err();
    let failure = options_failure(&dir, &DRV.parse().unwrap(), &error);
    format!("{}: {}", failure.status.code(), failure.message)
}

#[test]
fn attributes_that_cannot_be_read_fail_in_real_nixs_words() {
    let structured = |json: &str| failure(&[("__json", json)]);
    insta::assert_snapshot!(structured("{"), @"9: cannot process __json attribute of 'abacpfh69g9sac8k49w2lhsv99ck13n6-sa.drv': EOF while parsing an object at line 1 column 1");
    insta::assert_snapshot!(structured(r#"{"preferLocalBuild":"1"}"#), @"9: attribute 'preferLocalBuild' of derivation 'abacpfh69g9sac8k49w2lhsv99ck13n6-sa.drv' must be a Boolean");
    insta::assert_snapshot!(structured(r#"{"requiredSystemFeatures":"kvm"}"#), @"9: attribute 'requiredSystemFeatures' of derivation 'abacpfh69g9sac8k49w2lhsv99ck13n6-sa.drv' must be a list of strings");
    insta::assert_snapshot!(structured(r#"{"exportReferencesGraph":{"g":"x"}}"#), @"9: path 'x' is not in the Nix store");
    insta::assert_snapshot!(failure(&[("exportReferencesGraph", "g")]), @"9: odd number of tokens in 'exportReferencesGraph': 'g'");
    insta::assert_snapshot!(failure(&[("exportReferencesGraph", "1g /x")]), @"9: invalid file name '1g' in 'exportReferencesGraph'");
    insta::assert_snapshot!(failure(&[("exportReferencesGraph", "g /etc/passwd")]), @"9: path '/etc/passwd' is not in the Nix store");
    insta::assert_snapshot!(failure(&[("allowedReferences", "no/pe")]), @"5: derivation contains an illegal reference specifier 'no/pe'");
}
