//! One program, called by name: `nix-serve`, and through symlinks `nix-store` and
//! `nix-copy-closure`.

use std::process::ExitCode;

fn main() -> ExitCode {
    nix_serve::cli::main()
}
