//! The face of supervisors, which this program starts by itself: settings, a store and the
//! directory of a build, in the words that [`Context::supervisor`] writes.
//!
//! [`Context::supervisor`]: super::context::Context::supervisor

use std::ffi::OsString;
use std::path::PathBuf;

use super::context::SUPERVISE;
use super::low_args::{Command, GlobalArgs, LowArgs};
use super::options::{UsageError, Word, Words};

/// Parses the words behind the command.
pub(crate) fn parse(words: &[OsString]) -> Result<LowArgs, UsageError> {
    let mut words = Words::new("nix-serve", words);
    let mut global = GlobalArgs::default();
    let mut dir: Option<PathBuf> = None;
    while let Some(word) = words.next(&mut global)? {
        match word {
            Word::Argument(argument) if dir.is_none() => dir = Some(argument.into()),
            _ => return Err(words.unknown()),
        }
    }
    match dir {
        Some(dir) => Ok(LowArgs {
            global,
            command: Command::SuperviseBuild(dir),
        }),
        None => Err(words.usage(format!("'{SUPERVISE}' needs the directory of a build"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_context_are_understood() {
        let global = GlobalArgs {
            store: Some("./store".into()),
            settings: vec![
                ("build-linger".into(), "600".into()),
                ("sandbox-paths".into(), "/bin/sh=/x /y".into()),
            ],
            ..GlobalArgs::default()
        };
        let context = super::super::Context::new(global.clone(), Default::default());
        let config = nix_build::BuildConfig {
            linger: std::time::Duration::from_secs(600),
            ..Default::default()
        };
        let command = context.supervisor(&config).unwrap();
        let (first, rest) = command.args.split_first().unwrap();
        assert_eq!(first, SUPERVISE);
        let words = [rest, &["/dir".into()]].concat();
        let parsed = parse(&words).unwrap();
        assert_eq!(parsed.command, Command::SuperviseBuild("/dir".into()));
        assert_eq!(parsed.global, global);
        assert!(context.supervisor(&Default::default()).is_none());
    }

    #[test]
    fn a_directory_is_needed() {
        assert!(parse(&[]).is_err());
        assert!(parse(&["a".into(), "b".into()]).is_err());
    }
}
