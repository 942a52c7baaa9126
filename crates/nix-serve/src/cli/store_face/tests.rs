use super::*;

fn words(line: &str) -> Vec<OsString> {
    line.split(' ')
        .filter(|word| !word.is_empty())
        .map(|word| if word == "''" { "" } else { word }.into())
        .collect()
}

fn parsed(line: &str) -> LowArgs {
    parse(&words(line)).unwrap()
}

fn problem(line: &str) -> String {
    parse(&words(line)).unwrap_err().problem
}

#[test]
fn serve_takes_options_on_both_sides_and_in_any_order() {
    for line in [
        "--serve --write",
        "--write --serve",
        "--builders '' --serve --write",
        "--serve --write --builders ''",
        "--option cores 2 -v --serve --write -kQ -j4 --no-substitute --extra-platforms x",
    ] {
        assert_eq!(
            parsed(line).command,
            Command::Serve(ServeArgs::plain(true)),
            "{line}"
        );
    }
    assert_eq!(
        parsed("--serve").command,
        Command::Serve(ServeArgs::plain(false))
    );
    let with_store = parsed("--serve --write --store local?root=/x").global;
    assert_eq!(with_store.store.as_deref(), Some("local?root=/x"));
}

#[test]
fn settings_are_options() {
    let line = "--serve --builders '' --option a b --no-fsync-metadata --keep-outputs -K";
    let expected = [
        ("builders", ""),
        ("a", "b"),
        ("fsync-metadata", "false"),
        ("keep-outputs", "true"),
        ("keep-failed", "true"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(parsed(line).global.settings, expected);
}

#[test]
fn refusals_are_worded_as_nix_does() {
    assert_eq!(problem(""), "no operation specified");
    assert_eq!(
        problem("--serve --dump x"),
        "only one operation may be specified"
    );
    assert_eq!(problem("--serve --wr"), "unknown flag '--wr'");
    assert_eq!(problem("--serve --write=yes"), "unknown flag '--write'");
    assert_eq!(problem("--serve x"), "no arguments expected");
    assert_eq!(problem("--dump a --write"), "unknown flag '--write'");
    assert_eq!(problem("--dump a b"), "only one argument allowed");
    assert_eq!(
        problem("--serve --store"),
        "flag '--store' requires an argument"
    );
    assert_eq!(
        parse(&words("--wr")).unwrap_err().to_string(),
        "unknown flag '--wr'\nTry 'nix-store --help' for more information."
    );
}

#[test]
fn an_operation_that_is_missing_says_so() {
    assert_eq!(
        problem("--gc"),
        "operation '--gc' is not part of this program: use Nix's own nix-store for it"
    );
}

#[test]
fn realising_takes_its_own_options_and_those_of_builds() {
    let args = parsed("--dry-run -r /s/x.drv!out --add-root r --indirect -j 3 -kKQ --check");
    let Command::Build(build) = args.command else {
        panic!("a build");
    };
    assert!(build.dry_run && build.check && !build.show_log && !build.ignore_unknown);
    assert_eq!(build.links, Links::Roots("r".into()));
    assert_eq!(build.print, Print::Links);
    assert_eq!(build.targets, [PathBuf::from("/s/x.drv!out")]);
    let settings = [
        ("max-jobs", "3"),
        ("keep-going", "true"),
        ("keep-failed", "true"),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(args.global.settings, settings);
    assert_eq!(problem("--dump x --dry-run"), "unknown flag '--dry-run'");
    for line in ["--realise x", "--realize x", "-r x"] {
        assert!(matches!(parsed(line).command, Command::Build(_)), "{line}");
    }
    for line in ["-l x", "--read-log x"] {
        assert_eq!(parsed(line).command, Command::Log(vec!["x".into()]));
    }
}

#[test]
fn short_queries_may_be_clustered() {
    let Command::Query(args) = parsed("-qR --include-outputs ./result").command else {
        panic!("a query");
    };
    assert_eq!(args.query, Query::Requisites);
    assert!(args.include_outputs);
    assert_eq!(args.paths, [PathBuf::from("./result")]);
    assert_eq!(problem("-q --hash --size x"), "query type specified twice");
}

#[test]
fn version_and_help_win_over_everything_behind_them() {
    for line in ["--version", "--version --nonsense", "--help"] {
        assert!(matches!(parsed(line).command, Command::Print(_)), "{line}");
    }
}
