//! What is run: each operation and mode, good and bad.

mod adding;
mod collecting;
mod copying;
mod querying;
mod realising;
mod registering;
mod usage;
mod verifying;

/// One command.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// `family/what`.
    pub(crate) name: String,
    pub(crate) program: Program,
    pub(crate) words: Vec<String>,
    /// A shell script that is run before, in the same place.
    pub(crate) before: String,
    pub(crate) stdin: Option<String>,
    pub(crate) errors: Errors,
    /// Whether it gets a store of its own, which is compared afterwards.
    pub(crate) changes: bool,
    /// Whether it sees no processes but its own, since those hold roots.
    pub(crate) alone: bool,
    /// Whether the lines of each stream are sorted first, since their order means nothing.
    pub(crate) sorted: bool,
    /// What is on another machine, `{host}`, if there is one.
    pub(crate) remote: Option<Remote>,
}

/// What is on the other machine of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remote {
    /// Nothing.
    Empty,
    /// What is here.
    Filled,
}

/// By which name a program is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Store,
    CopyClosure,
    CollectGarbage,
}

/// What is compared of stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errors {
    /// Nothing.
    None,
    /// The lines that name an error.
    Lines,
    /// All of it.
    All,
}

/// All cases.
pub(crate) fn all() -> Vec<Case> {
    [
        usage::cases(),
        querying::cases(),
        adding::cases(),
        registering::cases(),
        realising::cases(),
        collecting::cases(),
        verifying::cases(),
        copying::cases(),
    ]
    .concat()
}

impl Program {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Store => "nix-store",
            Self::CopyClosure => "nix-copy-closure",
            Self::CollectGarbage => "nix-collect-garbage",
        }
    }
}

/// `nix-store` with these words, which change nothing.
fn ask(name: &str, words: &str) -> Case {
    Case {
        name: name.to_owned(),
        program: Program::Store,
        words: shlex::split(words).unwrap(),
        before: String::new(),
        stdin: None,
        errors: Errors::Lines,
        changes: false,
        alone: false,
        sorted: false,
        remote: None,
    }
}

/// `nix-store` with these words, on a store of its own.
fn change(name: &str, words: &str) -> Case {
    Case {
        changes: true,
        ..ask(name, words)
    }
}

impl Case {
    fn program(self, program: Program) -> Self {
        Self { program, ..self }
    }

    fn stdin(self, text: &str) -> Self {
        let stdin = Some(text.to_owned());
        Self { stdin, ..self }
    }

    fn before(self, script: &str) -> Self {
        let before = script.to_owned();
        Self { before, ..self }
    }

    /// Compares all of stderr.
    fn all_errors(self) -> Self {
        let errors = Errors::All;
        Self { errors, ..self }
    }

    /// Compares nothing of stderr.
    fn no_errors(self) -> Self {
        let errors = Errors::None;
        Self { errors, ..self }
    }

    fn sorted(self) -> Self {
        let sorted = true;
        Self { sorted, ..self }
    }

    fn alone(self) -> Self {
        let alone = true;
        Self { alone, ..self }
    }

    fn remote(self, remote: Remote) -> Self {
        let remote = Some(remote);
        Self { remote, ..self }
    }
}
