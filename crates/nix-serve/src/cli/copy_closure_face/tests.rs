use super::*;

fn parsed(line: &str) -> Result<LowArgs, UsageError> {
    let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
    parse(&words)
}

fn copy(line: &str) -> CopyArgs {
    match parsed(line).unwrap().command {
        Command::Copy(args) => args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_word_is_the_host_and_to_the_default() {
    let args = copy("-v alice@host a --include-outputs b -s");
    assert_eq!(args.address, "ssh://alice@host");
    assert_eq!(args.direction, Direction::To);
    assert_eq!(args.paths, [PathBuf::from("a"), PathBuf::from("b")]);
    assert!(args.include_outputs && args.substitute && args.recursive && !args.dry_run);
}

#[test]
fn directions_and_compression_are_options() {
    let args = copy("--from --gzip --dry-run host a");
    assert_eq!(args.direction, Direction::From);
    assert_eq!(args.address, "ssh://host");
    assert!(args.dry_run && args.compress);
}

#[test]
fn what_has_no_effect_is_said() {
    let args = parsed("--xz --show-progress host a").unwrap();
    assert_eq!(
        args.global.warnings,
        [
            "'--xz' is not implemented, falling back to gzip",
            "'--show-progress' is not implemented"
        ]
    );
}

#[test]
fn a_missing_host_and_unknown_flags_are_refused() {
    assert_eq!(
        parsed("--to").unwrap_err().problem,
        "no host name specified"
    );
    assert_eq!(
        parsed("--too host").unwrap_err().problem,
        "unknown flag '--too'"
    );
}
