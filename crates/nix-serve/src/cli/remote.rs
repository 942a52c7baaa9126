//! Connections to other stores.

use anyhow::Context as _;
use nix_base::StoreDir;

use super::context::Context;
use super::signals::SignalWatch;
use crate::client::ssh::parse_ssh_options;
use crate::client::{ClientConnection, StoreAddress, Transport, TransportOptions};

/// Whether ssh compresses although the address doesn't say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compress {
    /// Only if the address says so.
    AsAddressed,
    /// In any case.
    Yes,
}

/// Starts what leads to the store at `address`; its stderr becomes part of our log. A signal
/// ends it, so that nobody waits for it any longer.
pub(crate) fn connect(
    address: &StoreAddress,
    dir: &StoreDir,
    compress: Compress,
    context: &Context,
    watch: &SignalWatch,
) -> anyhow::Result<ClientConnection> {
    let mut options = TransportOptions {
        compress: compress == Compress::Yes,
        log: match context.global().no_build_output {
            true => Box::new(|line| tracing::debug!("{line}")),
            false => Box::new(|line| tracing::info!("{line}")),
        },
        ..TransportOptions::default()
    };
    if let Some(text) = &context.environment().ssh_options {
        options.ssh_options =
            parse_ssh_options(text).context("cannot use the variable 'NIX_SSHOPTS'")?;
    }
    if let StoreAddress::Ssh(ssh) = address {
        for name in ssh.unknown_parameters() {
            // Nix compat: a warning only.
            tracing::warn!("unknown parameter '{name}' of store '{address}'");
        }
    }
    let transport = Transport::open(address, options)?;
    let terminator = transport.terminator();
    watch.on_signal(move || terminator.terminate());
    // One that came before the line above has not done it.
    watch.check()?;
    Ok(ClientConnection::new(transport, dir.clone()))
}
