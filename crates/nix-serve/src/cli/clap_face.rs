//! The face of `nix-serve` itself: its own commands, with help, completions and manual
//! pages made from the same description.

mod building;
mod gc;
mod inspect;
mod optimising;
mod signing;
mod trusting;
mod verifying;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

use super::drv_args::DrvCommand;
use super::log_format::LogFormat;
use super::low_args::{
    AddArgs, Command, CopyArgs, DEFAULT_VERBOSITY, Direction, GlobalArgs, LowArgs, PathInfoArgs,
};

use building::{BUILD_EXAMPLES, BuildOptions, parse_time};
use gc::{DELETE_EXAMPLES, DeleteOptions, GC_EXAMPLES, GcOptions};
use inspect::{DU_EXAMPLES, DuOptions, WHY_DEPENDS_EXAMPLES, WhyDependsOptions};
use optimising::{OPTIMISE_EXAMPLES, OptimiseOptions};
use signing::{
    CHECK_SIGS_EXAMPLES, CheckSigsOptions, KEY_EXAMPLES, KeyOptions, SIGN_EXAMPLES, SignOptions,
};
use trusting::{
    AUDIT_EXAMPLES, AUTHORIZE_EXAMPLES, AuditOptions, AuthorizeOptions, QUOTA_EXAMPLES,
    QuotaOptions, RoleOptions,
};
use verifying::{VERIFY_EXAMPLES, VerifyOptions};

/// Parses the whole command line.
pub(crate) fn parse(argv: &[OsString]) -> Result<LowArgs, clap::Error> {
    let face = NixServe::try_parse_from(argv)?;
    let mut global = GlobalArgs::from(face.global);
    global.settings.extend(face.command.settings());
    if let Own::Build(options) = &face.command {
        global.no_build_output = options.is_silent();
    }
    Ok(LowArgs {
        global,
        command: face.command.into(),
    })
}

/// The description of the program, for completions and manual pages.
pub(crate) fn description() -> clap::Command {
    NixServe::command()
}

/// A Nix-compatible store that speaks the serve protocol, and a client for it.
#[derive(Debug, Parser)]
#[command(
    name = "nix-serve",
    version,
    disable_help_subcommand = true,
    after_help = "Called as 'nix-store', 'nix-copy-closure' or 'nix-collect-garbage' (symlinks), the program has\n\
        the options of those. 'nix-serve --serve --write' is 'nix-serve serve --write'."
)]
struct NixServe {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Own,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// The store: auto, local, a directory, or local?root=DIR.
    #[arg(long, global = true, value_name = "ADDRESS")]
    store: Option<String>,
    /// Set a setting of nix.conf.
    #[arg(long, global = true, num_args = 2, value_names = ["NAME", "VALUE"])]
    option: Vec<String>,
    /// What survives a power cut: none, ordered or full.
    #[arg(long, global = true, value_name = "LEVEL", value_parser = ["none", "ordered", "full"])]
    durability: Option<String>,
    /// Say more; repeat for even more.
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Say only what is wrong.
    #[arg(long, global = true)]
    quiet: bool,
    /// How messages are written.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    log_format: LogFormat,
}

impl From<Global> for GlobalArgs {
    fn from(global: Global) -> Self {
        let mut settings: Vec<(String, String)> = Vec::new();
        let mut words = global.option.into_iter();
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            settings.push((name, value));
        }
        settings.extend(global.durability.map(|level| ("durability".into(), level)));
        let base = if global.quiet {
            QUIET
        } else {
            DEFAULT_VERBOSITY
        };
        Self {
            store: global.store,
            settings,
            verbosity: base.saturating_add(global.verbose),
            log_format: global.log_format,
            warns_of_no_root: false,
            no_build_output: false,
            warnings: Vec::new(),
        }
    }
}

#[derive(Debug, Subcommand)]
enum Own {
    /// Speak the serve protocol on stdin and stdout
    #[command(after_help = SERVE_EXAMPLES)]
    Serve {
        #[command(flatten)]
        role: RoleOptions,
        /// How long a build goes on when its client has left: seconds, or 10m, 2h.
        #[arg(long, value_name = "TIME", value_parser = parse_time)]
        linger: Option<u64>,
    },
    /// Let an ssh key do certain things here, and nothing else
    #[command(after_help = AUTHORIZE_EXAMPLES)]
    Authorize(AuthorizeOptions),
    /// Print what clients did, or were refused
    #[command(after_help = AUDIT_EXAMPLES)]
    Audit(AuditOptions),
    /// Print what keys have used up, or begin a new accounting period
    #[command(after_help = QUOTA_EXAMPLES)]
    Quota(QuotaOptions),
    /// Build derivations, here or on another machine
    #[command(after_help = BUILD_EXAMPLES)]
    Build(BuildOptions),
    /// Print what builders wrote
    #[command(after_help = LOG_EXAMPLES)]
    Log {
        /// Derivations, or what was built from them.
        #[arg(required = true, value_name = "PATH", value_hint = ValueHint::AnyPath)]
        paths: Vec<PathBuf>,
    },
    /// Check whether builds can run here, and say how to get what is missing
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor {
        /// Print the checks as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Copy paths and what they refer to, to or from another store
    #[command(after_help = COPY_EXAMPLES)]
    Copy(CopyOptions),
    /// Add files and directories to the store, and print their store paths
    #[command(after_help = ADD_EXAMPLES)]
    Add {
        /// The name of the store path, instead of the file's.
        #[arg(long)]
        name: Option<String>,
        /// What to add.
        #[arg(required = true, value_name = "FILE", value_hint = ValueHint::AnyPath)]
        files: Vec<PathBuf>,
    },
    /// Write the archive of a file or directory to stdout
    #[command(after_help = DUMP_EXAMPLES)]
    Dump {
        /// A file, directory or symlink, in a store or not.
        #[arg(value_hint = ValueHint::AnyPath)]
        path: PathBuf,
    },
    /// Unpack the archive on stdin
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore {
        /// What to make; it must not be there yet.
        #[arg(value_hint = ValueHint::AnyPath)]
        path: PathBuf,
    },
    /// Print what a store knows of paths
    #[command(after_help = PATH_INFO_EXAMPLES)]
    PathInfo(PathInfoOptions),
    /// Make a store
    #[command(after_help = INIT_EXAMPLES)]
    Init,
    /// Compare the database with what is on disk
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(VerifyOptions),
    /// Make files with the same contents one, to free disk space
    #[command(after_help = OPTIMISE_EXAMPLES)]
    Optimise(OptimiseOptions),
    /// Make keys for signatures
    #[command(after_help = KEY_EXAMPLES)]
    Key {
        #[command(subcommand)]
        command: KeyOptions,
    },
    /// Sign paths
    #[command(after_help = SIGN_EXAMPLES)]
    Sign(SignOptions),
    /// Say which paths are signed by nobody who is trusted
    #[command(after_help = CHECK_SIGS_EXAMPLES)]
    CheckSigs(CheckSigsOptions),
    /// Say why one path depends on another
    #[command(after_help = WHY_DEPENDS_EXAMPLES)]
    WhyDepends(WhyDependsOptions),
    /// Say what takes the space
    #[command(after_help = DU_EXAMPLES)]
    Du(DuOptions),
    /// Delete what nothing needs, or say what that is
    #[command(after_help = GC_EXAMPLES)]
    Gc(GcOptions),
    /// Delete paths that nothing needs
    #[command(after_help = DELETE_EXAMPLES)]
    Delete(DeleteOptions),
    /// Register paths that are on disk; their registrations are on stdin
    #[command(after_help = LOAD_DB_EXAMPLES)]
    LoadDb,
    /// Print registrations, of all paths if none is named
    #[command(after_help = DUMP_DB_EXAMPLES)]
    DumpDb {
        /// Store paths, or symlinks to them.
        #[arg(value_hint = ValueHint::AnyPath)]
        paths: Vec<PathBuf>,
    },
    /// Look into derivations
    #[command(after_help = DRV_EXAMPLES)]
    Drv {
        #[command(subcommand)]
        command: DrvCommand,
    },
    /// Print a completion script
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// For which shell.
        shell: Shell,
    },
    /// Print the manual page, or write the pages of all commands into a directory
    #[command(after_help = MAN_EXAMPLES)]
    Man {
        /// An existing directory.
        #[arg(value_hint = ValueHint::DirPath)]
        dir: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct CopyOptions {
    #[command(flatten)]
    address: Addresses,
    /// Say what would be copied, and copy nothing.
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Copy the outputs of derivations too.
    #[arg(long)]
    include_outputs: bool,
    /// The destination may fetch from its substituters.
    #[arg(long, short = 's')]
    substitute_on_destination: bool,
    /// Copy only the given paths; what they refer to must be there.
    #[arg(long)]
    no_recursive: bool,
    /// Print a summary as JSON on stdout.
    #[arg(long)]
    json: bool,
    /// Store paths, or symlinks to them.
    #[arg(required = true, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    paths: Vec<PathBuf>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Addresses {
    /// Copy to this store: ssh://[USER@]HOST, exec:COMMAND.
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// Copy from this store.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
}

#[derive(Debug, Args)]
struct PathInfoOptions {
    /// All that the paths refer to as well.
    #[arg(long, short)]
    recursive: bool,
    /// Print the size of each archive, in bytes.
    #[arg(long, short)]
    size: bool,
    /// Print the size of each closure, in bytes.
    #[arg(long, short = 'S')]
    closure_size: bool,
    /// Print everything, as JSON.
    #[arg(long)]
    json: bool,
    /// Store paths, or symlinks to them.
    #[arg(required = true, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    paths: Vec<PathBuf>,
}

impl Own {
    /// Options that are settings.
    fn settings(&self) -> Vec<(String, String)> {
        match self {
            Self::Serve { linger, .. } => linger
                .map(|seconds| ("build-linger".to_owned(), seconds.to_string()))
                .into_iter()
                .collect(),
            Self::Build(options) => options.settings(),
            _ => Vec::new(),
        }
    }
}

impl From<Own> for Command {
    fn from(own: Own) -> Self {
        match own {
            Own::Serve { role, .. } => Self::Serve(role.into()),
            Own::Authorize(options) => Self::Authorize(options.into()),
            Own::Audit(options) => Self::Audit(options.into()),
            Own::Quota(options) => Self::Quota(options.into()),
            Own::Build(options) => Self::Build(options.into()),
            Own::Log { paths } => Self::Log(paths),
            Own::Doctor { json } => Self::Doctor { json },
            Own::Copy(options) => Self::Copy(options.into()),
            Own::Add { name, files } => Self::Add(AddArgs { files, name }),
            Own::Dump { path } => Self::Dump(path),
            Own::Restore { path } => Self::Restore(path),
            Own::PathInfo(options) => Self::PathInfo(PathInfoArgs {
                paths: options.paths,
                recursive: options.recursive,
                size: options.size,
                closure_size: options.closure_size,
                json: options.json,
            }),
            Own::Init => Self::Init,
            Own::Verify(options) => Self::Verify(options.into()),
            Own::Optimise(options) => Self::Optimise(options.into()),
            Own::Key { command } => Self::Key(command.into()),
            Own::Sign(options) => Self::Sign(options.into()),
            Own::CheckSigs(options) => Self::CheckSigs(options.into()),
            Own::WhyDepends(options) => Self::WhyDepends(options.into()),
            Own::Du(options) => Self::Du(options.into()),
            Own::Gc(options) => Self::Gc(options.into()),
            Own::Delete(options) => Self::Gc(options.into()),
            Own::LoadDb => Self::LoadDb,
            Own::DumpDb { paths } => Self::DumpDb(paths),
            Own::Drv { command } => Self::Drv(command),
            Own::Completions { shell } => Self::Completions(shell),
            Own::Man { dir } => Self::Man(dir),
        }
    }
}

impl From<CopyOptions> for CopyArgs {
    fn from(options: CopyOptions) -> Self {
        let (direction, address) = match (options.address.to, options.address.from) {
            (Some(address), _) => (Direction::To, address),
            (None, address) => (Direction::From, address.unwrap_or_default()),
        };
        Self {
            direction,
            address,
            paths: options.paths,
            dry_run: options.dry_run,
            include_outputs: options.include_outputs,
            substitute: options.substitute_on_destination,
            recursive: !options.no_recursive,
            json: options.json,
            compress: false,
        }
    }
}

/// Nix's level at which only warnings and errors are said.
const QUIET: u8 = 1;

const SERVE_EXAMPLES: &str = "\
Examples:
  nix-serve serve                    a client may look, and copy from here
  nix-serve serve --write            a client may also copy to here, and build
  nix-serve serve --write --untrusted --as alice
                                     the same, but nothing is taken on the client's word
  nix-serve serve --write --linger 1h
                                     builds go on for an hour when the connection is cut
  command=\"nix-serve serve --write\",restrict ssh-ed25519 AAAA…
                                     in ~/.ssh/authorized_keys: this key does nothing else";
const LOG_EXAMPLES: &str = "\
Examples:
  nix-serve log /nix/store/…-hello-2.12.drv
  nix-serve log ./result";
const DOCTOR_EXAMPLES: &str = "\
Examples:
  nix-serve doctor
  nix-serve doctor --json --store local?root=/tmp/store

The exit status is 1 if builds can't run.";
const COPY_EXAMPLES: &str = "\
Examples:
  nix-serve copy --to ssh://alice@server ./result
  nix-serve copy --from ssh://server?compress=true /nix/store/…-hello-2.12
  nix-serve copy --to 'ssh://server?remote-program=nix-serve' --dry-run ./result
  nix-serve copy --to 'exec:nix-store --serve --write --store local?root=/mnt' ./result";
const ADD_EXAMPLES: &str = "\
Examples:
  nix-serve add ./src
  nix-serve add --name hello-src ./src";
const DUMP_EXAMPLES: &str = "\
Examples:
  nix-serve dump ./dir > dir.nar
  nix-serve dump ./dir | nix-serve restore ./copy";
const RESTORE_EXAMPLES: &str = "\
Examples:
  nix-serve restore ./copy < dir.nar";
const PATH_INFO_EXAMPLES: &str = "\
Examples:
  nix-serve path-info -rsS ./result
  nix-serve path-info --json --store ssh://server /nix/store/…-hello-2.12";
const INIT_EXAMPLES: &str = "\
Examples:
  nix-serve init --store local?root=/tmp/store";
const LOAD_DB_EXAMPLES: &str = "\
Examples:
  nix-store --dump-db | nix-serve load-db --store local?root=/mnt";
const DUMP_DB_EXAMPLES: &str = "\
Examples:
  nix-serve dump-db > registrations
  nix-serve dump-db $(nix-store -qR ./result)";
const DRV_EXAMPLES: &str = "\
Examples:
  nix-serve drv show /nix/store/…-hello.drv
  nix-serve drv outputs --check /nix/store/…-hello.drv
  nix-serve drv diff old.drv new.drv

A file elsewhere is called NAME.drv or HASH-NAME.drv; its inputs are looked for in the
store, and beside it.";
const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  nix-serve completions bash > ~/.local/share/bash-completion/completions/nix-serve";
const MAN_EXAMPLES: &str = "\
Examples:
  nix-serve man | man -l -
  nix-serve man ~/.local/share/man/man1";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::build_args::Links;
    use crate::cli::low_args::ServeArgs;

    #[test]
    fn the_description_is_consistent() {
        description().debug_assert();
    }

    #[test]
    fn global_options_go_anywhere() {
        let words = [
            "nix-serve",
            "--store",
            "/s",
            "init",
            "-v",
            "--option",
            "cores",
            "2",
        ];
        let args = parse(&words.map(OsString::from)).unwrap();
        assert_eq!(args.command, Command::Init);
        assert_eq!(args.global.store.as_deref(), Some("/s"));
        assert_eq!(args.global.settings, [("cores".into(), "2".into())]);
        assert_eq!(args.global.verbosity, DEFAULT_VERBOSITY + 1);
    }

    #[test]
    fn lingering_and_building_are_settings_too() {
        let parsed = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            parse(&words)
        };
        let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let serve = parsed("nix-serve serve --write --linger 10m").unwrap();
        assert_eq!(serve.command, Command::Serve(ServeArgs::plain(true)));
        assert_eq!(serve.global.settings, [setting("build-linger", "600")]);
        let build = parsed("nix-serve build -k -j auto --check x.drv^out").unwrap();
        let settings = [setting("keep-going", "true"), setting("max-jobs", "auto")];
        assert_eq!(build.global.settings, settings);
        let Command::Build(args) = build.command else {
            panic!("a build");
        };
        assert!(args.check && args.links == Links::Named("result".into()));
        assert!(parsed("nix-serve serve --linger soon").is_err());
        assert!(parsed("nix-serve build --no-link -o x x.drv").is_err());
        assert!(parsed("nix-serve build").is_err());
    }

    #[test]
    fn copying_needs_exactly_one_direction() {
        for words in [
            &["nix-serve", "copy", "x"][..],
            &["nix-serve", "copy", "--to", "a", "--from", "b", "x"],
        ] {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            assert!(parse(&words).is_err());
        }
    }
}
