//! The words of a command line that isn't clap's: `nix-store`, `nix-copy-closure` and
//! `nix-collect-garbage`.
//!
//! Nix's own rules: options and arguments in any order, a value is the next word and never
//! behind `=`, short options may be clustered, every setting is an option too.

use std::ffi::OsString;

use lexopt::Arg;

use super::log_format::LogFormat;
use super::low_args::GlobalArgs;
use super::setting_names::{SettingKind, setting_kind};
use super::store_face::parse_bytes;

/// A command line that can't be understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{problem}\nTry '{program} --help' for more information.")]
pub(crate) struct UsageError {
    /// What is wrong.
    pub(crate) problem: String,
    /// The name of the program that was called.
    pub(crate) program: &'static str,
}

/// The words behind the program's name.
pub(crate) struct Words {
    parser: lexopt::Parser,
    program: &'static str,
    /// The option whose value may follow, as typed.
    current: String,
}

/// One word, understood as far as possible.
pub(crate) enum Word {
    /// An option with its dashes, not one of those that every command has.
    Option(String),
    /// Anything else.
    Argument(OsString),
}

impl Words {
    /// The words of a program's command line.
    pub(crate) fn new(program: &'static str, words: &[OsString]) -> Self {
        Self {
            parser: lexopt::Parser::from_args(words.iter().cloned()),
            program,
            current: String::new(),
        }
    }

    /// The next word that isn't an option of every command; those are put into `global`.
    pub(crate) fn next(&mut self, global: &mut GlobalArgs) -> Result<Option<Word>, UsageError> {
        loop {
            self.refuse_attached_value()?;
            let word = match self.parser.next() {
                Err(error) => return Err(self.usage(error.to_string())),
                Ok(None) => return Ok(None),
                Ok(Some(Arg::Value(word))) => return Ok(Some(Word::Argument(word))),
                Ok(Some(Arg::Short(letter))) => format!("-{letter}"),
                Ok(Some(Arg::Long(name))) => format!("--{name}"),
            };
            self.current.clone_from(&word);
            if !self.common(&word, global)? {
                return Ok(Some(Word::Option(word)));
            }
        }
    }

    /// The value of an option that every command has.
    pub(crate) fn value(&mut self) -> Result<String, UsageError> {
        self.value_of(1, 0)
    }

    /// The value numbered `given` of an option with `wanted` values.
    fn value_of(&mut self, wanted: u8, given: u8) -> Result<String, UsageError> {
        // Nix compat: its words.
        self.next_value(format!(
            "flag '{}' requires {wanted} argument(s), but only {given} were given",
            self.current
        ))
    }

    /// The value of an option that is the program's own.
    pub(crate) fn own_value(&mut self) -> Result<String, UsageError> {
        self.next_value(format!("'{}' requires an argument", self.current))
    }

    fn next_value(&mut self, missing: String) -> Result<String, UsageError> {
        self.refuse_attached_value()?;
        let value = self.parser.value().map_err(|_| self.usage(missing))?;
        value.into_string().map_err(|value| {
            self.usage(format!(
                "the value '{}' of flag '{}' is not UTF-8",
                value.display(),
                self.current
            ))
        })
    }

    // Nix compat: `--name=value` is the name of an unknown option.
    fn refuse_attached_value(&mut self) -> Result<(), UsageError> {
        if !self.current.starts_with("--") {
            return Ok(());
        }
        match self.parser.optional_value() {
            Some(value) => {
                let (name, value) = (&self.current, value.display());
                Err(self.usage(format!("unknown flag '{name}={value}'")))
            }
            None => Ok(()),
        }
    }

    /// The error for an option that nobody knows.
    pub(crate) fn unknown(&self) -> UsageError {
        self.usage(format!("unknown flag '{}'", self.current))
    }

    /// An error of the command line.
    pub(crate) fn usage(&self, problem: impl Into<String>) -> UsageError {
        UsageError {
            problem: problem.into(),
            program: self.program,
        }
    }

    /// Takes an option that every command has; false if it is another one.
    fn common(&mut self, word: &str, global: &mut GlobalArgs) -> Result<bool, UsageError> {
        match word {
            "-v" | "--verbose" => global.verbosity = global.verbosity.saturating_add(1),
            "--quiet" => global.verbosity = global.verbosity.saturating_sub(1),
            "--debug" => global.verbosity = DEBUG,
            "--log-format" => {
                let format = self.value()?;
                global.log_format = LogFormat::parse(&format)
                    .ok_or_else(|| self.usage(format!("unknown log format '{format}'")))?;
            }
            "--option" => {
                let name = self.value_of(2, 0)?;
                global.settings.push((name, self.value_of(2, 1)?));
            }
            "--store" => global.store = Some(self.value()?),
            "-j" => {
                let value = self.setting_value(SettingKind::Jobs)?;
                global.settings.push(("max-jobs".into(), value));
            }
            "-k" => global.settings.push(("keep-going".into(), "true".into())),
            "-K" => global.settings.push(("keep-failed".into(), "true".into())),
            "-Q" | "--no-build-output" => global.no_build_output = true,
            "--no-gc-warning" => global.warns_of_no_root = false,
            "--readonly-mode" => {}
            _ => return self.setting(word, global),
        }
        Ok(true)
    }

    /// Takes a setting as a flag, in one of the forms of its kind.
    fn setting(&mut self, word: &str, global: &mut GlobalArgs) -> Result<bool, UsageError> {
        let Some(name) = word.strip_prefix("--") else {
            return Ok(false);
        };
        let (name, value) = match setting_kind(name) {
            Some(SettingKind::Boolean | SettingKind::Sandbox) => (name, "true".to_owned()),
            Some(kind) => (name, self.setting_value(kind)?),
            None => match self.changed_setting(name)? {
                Some(setting) => setting,
                None => return Ok(false),
            },
        };
        global.settings.push((name.to_owned(), value));
        Ok(true)
    }

    /// `no-NAME`, `relaxed-NAME` or `extra-NAME VALUE` of a setting.
    fn changed_setting<'n>(
        &mut self,
        name: &'n str,
    ) -> Result<Option<(&'n str, String)>, UsageError> {
        let known = |prefix, kinds: &[SettingKind]| {
            let rest = name.strip_prefix(prefix)?;
            setting_kind(rest).filter(|kind| kinds.contains(kind))?;
            Some(rest)
        };
        if let Some(rest) = known("no-", &[SettingKind::Boolean, SettingKind::Sandbox]) {
            return Ok(Some((rest, "false".to_owned())));
        }
        if let Some(rest) = known("relaxed-", &[SettingKind::Sandbox]) {
            return Ok(Some((rest, "relaxed".to_owned())));
        }
        if known("extra-", &[SettingKind::List]).is_some() {
            return Ok(Some((name, self.value()?)));
        }
        Ok(None)
    }

    /// The value of a setting, which is refused early if it isn't even a number.
    fn setting_value(&mut self, kind: SettingKind) -> Result<String, UsageError> {
        let value = self.value()?;
        let checked = match kind {
            SettingKind::Number => parse_bytes(&value).map(drop),
            // Nix compat: its words.
            SettingKind::Jobs if value != "auto" && value.parse::<u32>().is_err() => {
                Err("configuration setting 'max-jobs' should be 'auto' or an integer".to_owned())
            }
            _ => Ok(()),
        };
        checked.map_err(|problem| self.usage(problem))?;
        Ok(value)
    }
}

const DEBUG: u8 = 6;
