//! The operations of `nix-store`, by their flags.

/// What `nix-store` is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Serve,
    Add,
    AddFixed,
    PrintFixedPath,
    Query,
    PrintEnv,
    Dump,
    Restore,
    LoadDb,
    DumpDb,
    RegisterValidity,
    CheckValidity,
    Verify,
    VerifyPath,
    RepairPath,
    Export,
    Import,
    Init,
    Realise,
    ReadLog,
    Gc,
    Delete,
    Optimise,
    GenerateKey,
}

impl Operation {
    /// The operation that `option` asks for.
    pub(super) fn from_option(option: &str) -> Option<Self> {
        Some(match option {
            "--serve" => Self::Serve,
            "-A" | "--add" => Self::Add,
            "--add-fixed" => Self::AddFixed,
            "--print-fixed-path" => Self::PrintFixedPath,
            "-q" | "--query" => Self::Query,
            "--print-env" => Self::PrintEnv,
            "--dump" => Self::Dump,
            "--restore" => Self::Restore,
            "--load-db" => Self::LoadDb,
            "--dump-db" => Self::DumpDb,
            "--register-validity" => Self::RegisterValidity,
            "--check-validity" => Self::CheckValidity,
            "--verify" => Self::Verify,
            "--verify-path" => Self::VerifyPath,
            "--repair-path" => Self::RepairPath,
            "--export" => Self::Export,
            "--import" => Self::Import,
            "--init" => Self::Init,
            "-r" | "--realise" | "--realize" => Self::Realise,
            "-l" | "--read-log" => Self::ReadLog,
            "--gc" => Self::Gc,
            "--delete" => Self::Delete,
            "--optimise" | "--optimize" => Self::Optimise,
            "--generate-binary-cache-key" => Self::GenerateKey,
            _ => return None,
        })
    }

    /// Whether `--stdin` gives it arguments; others have their own use for stdin.
    pub(super) fn takes_piped_arguments(self) -> bool {
        !matches!(self, Self::Import | Self::Restore | Self::Serve)
    }
}
