//! Where good copies of damaged objects come from: servers, caches and other local stores.

use std::io::BufRead;
use std::time::Duration;

use anyhow::Context as _;
use nix_base::{StoreDir, ValidPathInfo};
use nix_cache::{CacheError, CacheOptions, CacheSource};
use nix_store_core::{BoxedCause, Fetched, LocalStore, RepairSource, Result};

use super::address::Address;
use super::build_config;
use super::context::Context;
use super::remote::{Compress, connect};
use super::settings::load_config;
use super::signals::SignalWatch;
use crate::client::{ClientConnection, RemoteStore};

/// Sources in the order in which they are asked.
pub(crate) type Sources<'a> = Vec<Box<dyn RepairSource + 'a>>;

/// The sources that a user named.
pub(crate) fn named<'a>(
    addresses: &[String],
    dir: &StoreDir,
    context: &'a Context,
    watch: &'a SignalWatch,
) -> anyhow::Result<Sources<'a>> {
    let open = |address: &String| open(address, dir, context, watch);
    addresses.iter().map(open).collect()
}

/// The `substituters` of nix.conf, as far as they can be used.
pub(crate) fn substituters<'a>(
    dir: &StoreDir,
    context: &'a Context,
    watch: &'a SignalWatch,
) -> anyhow::Result<Sources<'a>> {
    let config = load_config(context.environment(), &context.global().settings)?;
    if config.boolean("substitute")? == Some(false) {
        return Ok(Vec::new());
    }
    let mut addresses: Vec<&str> = config.words("substituters").unwrap_or_default();
    if config.value("substituters").is_none() || config.is_only_appended("substituters") {
        addresses.push(DEFAULT_SUBSTITUTER);
    }
    let mut sources = Sources::new();
    for address in addresses {
        match open(address, dir, context, watch) {
            Ok(source) => sources.push(source),
            Err(error) => tracing::warn!("{}", super::report::one_line(&error)),
        }
    }
    Ok(sources)
}

fn open<'a>(
    address: &str,
    dir: &StoreDir,
    context: &'a Context,
    watch: &'a SignalWatch,
) -> anyhow::Result<Box<dyn RepairSource + 'a>> {
    if CacheSource::is_address(address) {
        return open_cache(address, dir, context);
    }
    let opened = match Address::parse(address, context.environment())? {
        Address::Remote(_, remote) => {
            let dir = dir.clone();
            let connect = move || connect(&remote, &dir, Compress::AsAddressed, context, watch);
            Box::new(Remote {
                name: address.to_owned(),
                connect: Box::new(connect),
                store: None,
                is_lost: false,
            }) as Box<dyn RepairSource + 'a>
        }
        Address::Local(_) => Box::new(OtherStore {
            name: address.to_owned(),
            store: context.open_other_store(address)?,
        }),
    };
    Ok(opened)
}

fn open_cache<'a>(
    address: &str,
    dir: &StoreDir,
    context: &'a Context,
) -> anyhow::Result<Box<dyn RepairSource + 'a>> {
    let config = load_config(context.environment(), &context.global().settings)?;
    let fetch = build_config::fetch(&config, context.environment())?;
    let seconds = |count: u64| Some(Duration::from_secs(count)).filter(|time| !time.is_zero());
    let mut options = CacheOptions {
        connect_timeout: seconds(fetch.connect_timeout.into()),
        ..CacheOptions::default()
    };
    if let Some(count) = config.number("stalled-download-timeout")? {
        options.stalled = seconds(count);
    }
    if let Some(count) = config.number("download-attempts")? {
        options.attempts = count;
    }
    if address.starts_with("https:")
        && let Some(file) = fetch.ca_bundle
    {
        let bundle = std::fs::read(&file)
            .with_context(|| format!("cannot read the certificates in '{}'", file.display()))?;
        options.ca_bundle = Some(bundle);
    }
    Ok(Box::new(Cache {
        source: CacheSource::open(address, dir, &options)?,
        is_lost: false,
    }))
}

/// A server. It is connected to when it is first asked, and anew after a failed exchange.
struct Remote<'a> {
    name: String,
    connect: Box<dyn Fn() -> anyhow::Result<ClientConnection> + 'a>,
    store: Option<RemoteStore>,
    /// It could not be reached; it is not tried again for each path.
    is_lost: bool,
}

impl Remote<'_> {
    fn connected(&mut self) -> Result<RemoteStore, BoxedCause> {
        if let Some(store) = self.store.take() {
            return Ok(store);
        }
        if self.is_lost {
            return Err(LOST.into());
        }
        let connected = (self.connect)().and_then(|mut connection| {
            connection.handshake()?;
            Ok(RemoteStore::new(connection))
        });
        self.is_lost = connected.is_err();
        Ok(connected?)
    }
}

impl RepairSource for Remote<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn fetch(
        &mut self,
        info: &ValidPathInfo,
        take: &mut dyn FnMut(&mut dyn BufRead) -> Result<()>,
    ) -> Result<Fetched, BoxedCause> {
        let mut store = self.connected()?;
        let asked = [info.path.clone()].into();
        let infos = store.query_path_infos(&asked)?;
        // Servers below 2.4 don't tell hashes.
        let has_it = |theirs: &ValidPathInfo| {
            theirs.nar_hash == info.nar_hash || theirs.nar_hash.is_unknown()
        };
        let found = infos.iter().any(has_it);
        if found {
            store.read_archive(&info.path, &mut |nar| Ok(take(nar)?))?;
        }
        // After an error the connection is of no use, and dropped.
        self.store = Some(store);
        Ok(if found { Fetched::Yes } else { Fetched::No })
    }
}

/// A cache.
struct Cache {
    source: CacheSource,
    /// It could not be reached; it is not tried again for each path.
    is_lost: bool,
}

impl RepairSource for Cache {
    fn name(&self) -> &str {
        self.source.address()
    }

    fn fetch(
        &mut self,
        info: &ValidPathInfo,
        take: &mut dyn FnMut(&mut dyn BufRead) -> Result<()>,
    ) -> Result<Fetched, BoxedCause> {
        if self.is_lost {
            return Err(LOST.into());
        }
        let narinfo = self.source.query(&info.path);
        self.is_lost = narinfo.as_ref().is_err_and(CacheError::is_unreachable);
        let narinfo = narinfo?;
        let Some(narinfo) = narinfo.filter(|found| found.info.nar_hash == info.nar_hash) else {
            return Ok(Fetched::No);
        };
        take(&mut self.source.archive(&narinfo)?)?;
        Ok(Fetched::Yes)
    }
}

/// Another store on this machine.
struct OtherStore {
    name: String,
    store: LocalStore,
}

impl RepairSource for OtherStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn fetch(
        &mut self,
        info: &ValidPathInfo,
        take: &mut dyn FnMut(&mut dyn BufRead) -> Result<()>,
    ) -> Result<Fetched, BoxedCause> {
        let theirs = self.store.db().query_path_info(&info.path)?;
        if theirs.is_none_or(|theirs| theirs.nar_hash != info.nar_hash) {
            return Ok(Fetched::No);
        }
        self.store.read_object(&info.path, |nar| take(nar))?;
        Ok(Fetched::Yes)
    }
}

const LOST: &str = "it could not be reached before";
/// What real Nix uses unless told otherwise.
const DEFAULT_SUBSTITUTER: &str = "https://cache.nixos.org/";
