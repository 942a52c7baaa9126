//! How messages are written to stderr.

/// A form of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// A progress bar on a terminal, lines elsewhere.
    #[default]
    Auto,
    /// Lines.
    Raw,
    /// A progress bar.
    #[value(
        alias = "bar-with-logs",
        alias = "multiline",
        alias = "multiline-with-logs"
    )]
    Bar,
    /// One JSON object a line, each after the word `@nix`.
    InternalJson,
}

impl LogFormat {
    /// The format that `word` names on the command line.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        <Self as clap::ValueEnum>::from_str(word, false).ok()
    }
}
