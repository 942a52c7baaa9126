//! Caches on web servers.

use std::io::Read;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::error::{CacheError, Result};
use crate::source::CacheOptions;

/// A server, which is asked several times before it is given up.
#[derive(Debug)]
pub(crate) struct Server {
    agent: Agent,
    attempts: u32,
}

impl Server {
    pub(crate) fn new(options: &CacheOptions) -> Self {
        let bundle = options.ca_bundle.as_deref().unwrap_or_default();
        let certificates = parse_pem(bundle).filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            // What else is in the file isn't needed.
            _ => None,
        });
        // Never those that come with the library.
        let roots = RootCerts::from(certificates.collect::<Vec<_>>());
        let agent = Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            // Nobody below the command line looks at the environment.
            .proxy(None)
            .http_status_as_error(false)
            .accept_encoding("identity")
            .user_agent(concat!("nix-serve/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(options.connect_timeout)
            .timeout_recv_response(options.stalled)
            // The one above ends with the headers.
            .timeout_per_read(options.stalled)
            .timeout_per_write(options.stalled)
            .build();
        Self {
            agent: agent.into(),
            attempts: options.attempts.max(1),
        }
    }

    /// The contents at `address`; nothing if the server says that they aren't there.
    pub(crate) fn get(&self, address: &str) -> Result<Option<Box<dyn Read + 'static>>> {
        let mut wait = FIRST_WAIT;
        let mut attempt = 1;
        loop {
            match self.try_get(address) {
                Err(error) if attempt < self.attempts && is_transient(&error) => {
                    std::thread::sleep(wait);
                    wait *= 2;
                    attempt += 1;
                }
                got => return got,
            }
        }
    }

    fn try_get(&self, address: &str) -> Result<Option<Box<dyn Read + 'static>>> {
        let answer = self.agent.get(address).call();
        let response = answer.map_err(|source| CacheError::Connection {
            address: address.to_owned(),
            source: Box::new(source),
        })?;
        match response.status().as_u16() {
            200 => Ok(Some(Box::new(response.into_body().into_reader()))),
            // Nix compat: object stores refuse to tell what isn't there.
            403 | 404 | 410 => Ok(None),
            status => Err(CacheError::Status {
                address: address.to_owned(),
                status,
            }),
        }
    }
}

fn is_transient(error: &CacheError) -> bool {
    match error {
        CacheError::Status { status, .. } => match status {
            408 | 429 => true,
            501 | 505 | 511 => false,
            status => *status >= 500,
        },
        CacheError::Connection { .. } => true,
        _ => false,
    }
}

const FIRST_WAIT: Duration = Duration::from_millis(250);
