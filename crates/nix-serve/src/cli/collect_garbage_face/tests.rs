use super::*;

fn parsed(line: &str) -> Result<CollectGarbageArgs, UsageError> {
    let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
    match parse(&words)?.command {
        Command::CollectGarbage(args) => Ok(args),
        other => panic!("{other:?}"),
    }
}

#[test]
fn generations_and_limits_are_options() {
    let args = parsed("-d --dry-run --max-freed 2K").unwrap();
    assert_eq!(args.generations, OldGenerations::All);
    assert!(args.dry_run);
    assert_eq!(args.max_freed, Some(2048));
    let args = parsed("--delete-older-than 30d -v").unwrap();
    assert_eq!(args.generations, OldGenerations::OlderThan("30d".into()));
    assert_eq!(parsed("").unwrap().generations, OldGenerations::Keep);
}

#[test]
fn an_age_counts_wherever_it_stands() {
    for line in ["-d --delete-older-than 30d", "--delete-older-than 30d -d"] {
        let expected = OldGenerations::OlderThan("30d".into());
        assert_eq!(parsed(line).unwrap().generations, expected, "{line}");
    }
}

#[test]
fn refusals_are_worded_as_nix_does() {
    let problem = |line: &str| parsed(line).unwrap_err().problem;
    assert_eq!(problem("word"), "unexpected argument 'word'");
    assert_eq!(problem("--bogus"), "unrecognised flag '--bogus'");
    assert_eq!(
        problem("--delete-older-than"),
        "'--delete-older-than' requires an argument"
    );
    assert_eq!(problem("--max-freed 5X"), "invalid unit specifier 'X'");
    assert_eq!(problem("--max-freed M"), "'' is not an integer");
}
