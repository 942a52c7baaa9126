//! Arguments of one task: options first or last, values in order.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use anyhow::{Context, Result, bail};
use lexopt::Arg;

/// Parsed arguments of a task.
#[derive(Debug, Default)]
pub(crate) struct Args {
    values: Vec<OsString>,
    options: BTreeMap<&'static str, OsString>,
    help: bool,
}

impl Args {
    /// Reads what is left in `parser`. `known` names the options of the task; a name that ends
    /// in `=` takes a value. A task without options takes every word as a value, since what
    /// follows may be the command line of another program.
    pub(crate) fn parse(mut parser: lexopt::Parser, known: &[&'static str]) -> Result<Self> {
        let mut args = Self::default();
        if known.is_empty() {
            args.values = parser.raw_args()?.collect();
            if args.values.first().is_some_and(|value| value == "--help") {
                args.help = true;
            }
            return Ok(args);
        }
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Value(value) => args.values.push(value),
                Arg::Long("help") | Arg::Short('h') => args.help = true,
                Arg::Long(name) => {
                    let found = known
                        .iter()
                        .find(|option| option.trim_end_matches('=') == name);
                    let Some(&option) = found else {
                        bail!("unknown option '--{name}'");
                    };
                    let value = if option.ends_with('=') {
                        parser.value()?
                    } else {
                        OsString::new()
                    };
                    args.options.insert(option.trim_end_matches('='), value);
                }
                Arg::Short(_) => return Err(arg.unexpected().into()),
            }
        }
        Ok(args)
    }

    /// Whether `--help` was given.
    pub(crate) fn wants_help(&self) -> bool {
        self.help
    }

    /// Whether the option was given.
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.contains_key(option)
    }

    /// The value of an option as text.
    pub(crate) fn option(&self, option: &str) -> Result<Option<&str>> {
        self.options
            .get(option)
            .map(|value| utf8(value).with_context(|| format!("option '--{option}'")))
            .transpose()
    }

    /// The values of an option that takes a comma-separated list.
    pub(crate) fn list(&self, option: &str) -> Result<Vec<String>> {
        let text = self.option(option)?.unwrap_or_default();
        Ok(text
            .split(',')
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect())
    }

    /// All values, as they were given.
    pub(crate) fn values(&self) -> &[OsString] {
        &self.values
    }

    /// All values as text.
    pub(crate) fn words(&self) -> Result<Vec<&str>> {
        self.values.iter().map(|value| utf8(value)).collect()
    }

    /// Fails if there are values: for tasks that take none.
    pub(crate) fn no_values(&self) -> Result<()> {
        match self.values.first() {
            None => Ok(()),
            Some(value) => bail!("unexpected argument '{}'", value.to_string_lossy()),
        }
    }
}

fn utf8(value: &OsStr) -> Result<&str> {
    value
        .to_str()
        .with_context(|| format!("'{}' is not UTF-8", value.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str], known: &[&'static str]) -> Result<Args> {
        Args::parse(lexopt::Parser::from_args(words), known)
    }

    #[test]
    fn options_may_stand_before_or_after_values() {
        let args = parse(
            &["2.8", "--require", "2.8,2.26", "2.3", "--keep"],
            &["require=", "keep"],
        )
        .unwrap();
        assert_eq!(args.words().unwrap(), ["2.8", "2.3"]);
        assert_eq!(args.list("require").unwrap(), ["2.8", "2.26"]);
        assert!(args.has("keep"));
    }

    #[test]
    fn an_unknown_option_is_refused() {
        let error = parse(&["--frobnicate"], &["keep"]).unwrap_err();
        assert_eq!(error.to_string(), "unknown option '--frobnicate'");
    }

    #[test]
    fn a_task_without_options_takes_another_program_with_its_own() {
        let args = parse(&["100", "prog", "--serve", "--write"], &[]).unwrap();
        assert_eq!(args.words().unwrap(), ["100", "prog", "--serve", "--write"]);
    }
}
