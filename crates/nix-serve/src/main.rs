//! One program, called by name: `nix-serve`, and through symlinks `nix-store` and
//! `nix-copy-closure`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before everything else: the process that runs builders has one thread and does
    // nothing of what a command does.
    nix_build::helper::main_if_asked();
    nix_serve::cli::main()
}
