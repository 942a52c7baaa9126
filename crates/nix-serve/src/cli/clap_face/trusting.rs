//! Options that say what clients may do, and what they did.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::audit_log::parse_since;
use crate::cli::low_args::{AuditArgs, AuthorizeArgs, Install, ServeArgs};
use crate::cli::quota_args::QuotaArgs;
use crate::policy::{Capability, KeyName, UnknownCapability};

#[derive(Debug, Args)]
pub(super) struct RoleOptions {
    /// Let the client change the store, and build.
    #[arg(long)]
    write: bool,
    /// Take nothing on the client's word: imports and builds are verified.
    #[arg(long)]
    untrusted: bool,
    #[command(flatten)]
    limits: LimitOptions,
}

/// Options that `serve` and `authorize` have both.
#[derive(Debug, Args)]
struct LimitOptions {
    /// What the client may do, one by one: query, dump, import-ca, import-signed, import-any,
    /// build-verified, build-any, substitute, keep-failed, network.
    #[arg(long, value_name = "LIST", value_parser = capabilities)]
    allow: Option<CapabilityList>,
    /// The client's name, for the policy file, quotas and the audit log.
    #[arg(long = "as", value_name = "NAME")]
    key: Option<KeyName>,
    /// Show the client these paths and what they refer to, and else only what it brought or
    /// built itself.
    #[arg(long, value_name = "PATH", num_args = 1.., value_hint = ValueHint::AnyPath)]
    expose: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct AuthorizeOptions {
    /// The public key: a file such as id_ed25519.pub.
    #[arg(long = "key", value_name = "FILE", value_hint = ValueHint::FilePath)]
    key_file: PathBuf,
    /// Only let it look, and copy from here.
    #[arg(long, conflicts_with = "trusted")]
    read_only: bool,
    /// Take what it sends on its word: as good as root on the store.
    #[arg(long)]
    trusted: bool,
    #[command(flatten)]
    limits: LimitOptions,
    /// The program on the server, if not this one.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    program: Option<PathBuf>,
    /// Add the line to this user's authorized_keys, or to FILE.
    #[arg(long, value_name = "FILE", num_args = 0..=1, value_hint = ValueHint::FilePath)]
    install: Option<Option<PathBuf>>,
}

#[derive(Debug, Args)]
pub(super) struct AuditOptions {
    /// Only what this key did.
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// Only what was refused.
    #[arg(long)]
    refused: bool,
    /// Print the records as they are, one JSON object a line.
    #[arg(long)]
    json: bool,
    /// Nothing earlier: 2026-05-31, 2026-05-31T12:00:00Z, or an age such as 90m, 2h, 7d.
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct QuotaOptions {
    /// Set the time that builds of these keys took to nothing.
    #[arg(long, requires = "keys")]
    reset_build_time: bool,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
    /// Names of keys, as after '--as'; all keys if there is none.
    #[arg(value_name = "NAME")]
    keys: Vec<KeyName>,
}

/// A type of its own: clap takes sets for options that are repeated.
#[derive(Debug, Clone)]
struct CapabilityList(BTreeSet<Capability>);

fn capabilities(list: &str) -> Result<CapabilityList, UnknownCapability> {
    Capability::parse_list(list).map(CapabilityList)
}

impl From<RoleOptions> for ServeArgs {
    fn from(options: RoleOptions) -> Self {
        Self {
            write: options.write,
            untrusted: options.untrusted,
            ..options.limits.into()
        }
    }
}

impl From<LimitOptions> for ServeArgs {
    fn from(limits: LimitOptions) -> Self {
        Self {
            allow: limits.allow.map(|list| list.0),
            key: limits.key,
            expose: limits.expose,
            ..Self::default()
        }
    }
}

impl From<AuthorizeOptions> for AuthorizeArgs {
    fn from(options: AuthorizeOptions) -> Self {
        Self {
            key_file: options.key_file,
            serve: ServeArgs {
                write: !options.read_only,
                untrusted: !options.read_only && !options.trusted,
                ..options.limits.into()
            },
            program: options.program,
            install: match options.install {
                None => Install::No,
                Some(None) => Install::Own,
                Some(Some(file)) => Install::File(file),
            },
        }
    }
}

impl From<AuditOptions> for AuditArgs {
    fn from(options: AuditOptions) -> Self {
        Self {
            key: options.key,
            refused: options.refused,
            json: options.json,
            since: options.since,
        }
    }
}

impl From<QuotaOptions> for QuotaArgs {
    fn from(options: QuotaOptions) -> Self {
        Self {
            keys: options.keys,
            reset_build_time: options.reset_build_time,
            json: options.json,
        }
    }
}

pub(super) const AUTHORIZE_EXAMPLES: &str = "\
Examples:
  nix-serve authorize --key alice.pub --as alice
                                     print a line for ~/.ssh/authorized_keys: alice may build
                                     and upload, and everything is verified
  nix-serve authorize --key alice.pub --as alice --install
                                     add it to the file
  nix-serve authorize --key ci.pub --as ci --allow query,dump,import-signed --install
  nix-serve authorize --key guest.pub --as guest --read-only --expose /run/current-system

What the line grants is explained on stderr; limits for keys are set in
nix-serve/policy.toml in the store's state directory.";
pub(super) const AUDIT_EXAMPLES: &str = "\
Examples:
  nix-serve audit --since 2h
  nix-serve audit --key alice --refused
  nix-serve audit --json --since 2026-05-31 | jq .command";
pub(super) const QUOTA_EXAMPLES: &str = "\
Examples:
  nix-serve quota
  nix-serve quota --json alice
  nix-serve quota --reset-build-time alice ci

Limits are set in nix-serve/policy.toml in the store's state directory.";
