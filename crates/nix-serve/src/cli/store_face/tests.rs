use super::*;
use crate::cli::build_args::{Links, Print};
use crate::cli::gc_args::GcMode;
use crate::cli::low_args::ServeArgs;
use crate::cli::query_args::Query;

fn words(line: &str) -> Vec<OsString> {
    line.split(' ')
        .filter(|word| !word.is_empty())
        .map(|word| if word == "''" { "" } else { word }.into())
        .collect()
}

fn parsed(line: &str) -> LowArgs {
    parse(&words(line), Vec::new).unwrap()
}

fn problem(line: &str) -> String {
    parse(&words(line), Vec::new).unwrap_err().problem
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
    let sandbox = |line: &str| parsed(line).global.settings.pop().unwrap();
    for (flag, value) in [
        ("sandbox", "true"),
        ("no-sandbox", "false"),
        ("relaxed-sandbox", "relaxed"),
    ] {
        let expected = ("sandbox".to_owned(), value.to_owned());
        assert_eq!(sandbox(&format!("--serve --{flag}")), expected);
    }
}

#[test]
fn refusals_are_worded_as_nix_does() {
    assert_eq!(problem(""), "no operation specified");
    assert_eq!(
        problem("--serve --dump x"),
        "only one operation may be specified"
    );
    assert_eq!(problem("--serve --wr"), "unknown flag '--wr'");
    assert_eq!(problem("--serve x"), "no arguments expected");
    assert_eq!(problem("--dump a --write"), "unknown flag");
    assert_eq!(problem("--dump a b"), "only one argument allowed");
    assert_eq!(
        problem("--serve --store"),
        "flag '--store' requires 1 argument(s), but only 0 were given"
    );
    assert_eq!(
        parse(&words("--serve --wr"), Vec::new)
            .unwrap_err()
            .to_string(),
        "unknown flag '--wr'\nTry 'nix-store --help' for more information."
    );
}

#[test]
fn each_operation_refuses_flags_and_arguments_in_its_own_words() {
    for (line, words) in [
        ("--add --bogus", "unknown flag"),
        ("--add-fixed --bogus", "unknown flag '--bogus'"),
        ("--add-fixed", "first argument must be hash algorithm"),
        (
            "--print-fixed-path a b",
            "'--print-fixed-path' requires three arguments",
        ),
        (
            "--print-env",
            "'--print-env' requires one derivation store path",
        ),
        ("--gc --bogus", "bad sub-operation '--bogus' in GC"),
        ("--gc x", "no arguments expected"),
        ("--gc --max-freed", "'--max-freed' requires an argument"),
        ("--gc --max-freed 3y", "invalid unit specifier 'Y'"),
        ("--verify-path --bogus", "no flags expected"),
        ("--optimise --bogus", "no arguments expected"),
        (
            "--generate-binary-cache-key a b",
            "three arguments expected",
        ),
        ("-q -b", "expected binding name"),
        ("--hash x", "no operation specified"),
        (
            "--option x",
            "flag '--option' requires 2 argument(s), but only 1 were given",
        ),
        ("--add-root", "'--add-root' requires an argument"),
        ("-q --cores 3x", "invalid unit specifier 'X'"),
        (
            "-j many -q",
            "configuration setting 'max-jobs' should be 'auto' or an integer",
        ),
        (
            "--gc --no-timeout",
            "bad sub-operation '--no-timeout' in GC",
        ),
    ] {
        assert_eq!(problem(line), words, "{line}");
    }
    assert!(problem("--add-fixed md4 x").starts_with("unknown hash algorithm 'md4', expect "));
    assert!(problem("--gc --print-dead --max-freed 1").contains("cannot be combined"));
}

#[test]
fn collections_take_limits_in_units() {
    let Command::Gc(args) = parsed("--gc --max-freed 3k").command else {
        panic!("a collection");
    };
    assert_eq!(args.max_freed, Some(3 << 10));
    assert_eq!(args.mode, GcMode::Delete);
    assert_eq!(parse_bytes("2T"), Ok(2 << 40));
    assert_eq!(parse_bytes("-7"), Ok(0));
}

#[test]
fn the_name_of_a_binding_is_the_first_argument() {
    let Command::Query(args) = parsed("-q name -b x.drv").command else {
        panic!("a query");
    };
    assert_eq!(args.query, Query::Binding("name".into()));
    assert_eq!(args.paths, [PathBuf::from("x.drv")]);
}

#[test]
fn arguments_come_from_stdin_where_it_is_free() {
    let piped = || vec![PathBuf::from("piped")];
    let paths = |line: &str| match parse(&words(line), piped).unwrap().command {
        Command::Query(args) => args.paths,
        Command::Import => Vec::new(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        paths("-q --stdin given"),
        ["piped", "given"].map(PathBuf::from)
    );
    assert_eq!(
        paths("-q given --stdin last --stdin"),
        ["given", "piped", "last"].map(PathBuf::from)
    );
    assert_eq!(paths("-q given"), [PathBuf::from("given")]);
    assert!(paths("--import --stdin").is_empty());
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
    assert_eq!(problem("--dump x --dry-run"), "unknown flag");
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
    assert_eq!(
        problem("-q --hash --size x"),
        "query type '--size' conflicts with earlier flag"
    );
}

#[test]
fn version_and_help_win_over_everything_behind_them() {
    for line in ["--version", "--version --nonsense", "--help"] {
        assert!(matches!(parsed(line).command, Command::Print(_)), "{line}");
    }
}
