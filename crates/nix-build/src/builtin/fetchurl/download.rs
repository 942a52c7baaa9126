//! Getting things from servers.

use std::io::Read;
use std::time::Duration;

use data_encoding::BASE64;
use ureq::config::Config;
use ureq::http::{Response, StatusCode, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body};

use super::public::Addresses;

use super::address::{Credentials, HttpAddress};
use super::save::Saver;
use super::{FetchError, Patience, netrc, proxy};
use crate::builtin::{BuiltinCall, say};

/// Downloads with the settings of one call.
pub(super) struct Downloader<'a> {
    call: &'a BuiltinCall,
    patience: Patience,
    roots: Option<Vec<Certificate<'static>>>,
}

impl<'a> Downloader<'a> {
    pub(super) fn new(call: &'a BuiltinCall, patience: Patience) -> Self {
        let roots = call.ca_bundle.as_deref().map(|bundle| {
            parse_pem(bundle)
                // What else is in the file isn't needed.
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                })
                .collect()
        });
        Self {
            call,
            patience,
            roots,
        }
    }

    /// Downloads and saves, trying again what may go better the next time.
    pub(super) fn fetch(&self, address: &HttpAddress, saver: &Saver<'_>) -> Result<(), FetchError> {
        let mut wait = self.patience.first_wait;
        let mut attempt = 1;
        loop {
            let error = match self.try_fetch(address, saver) {
                Ok(()) => return Ok(()),
                Err(error) if attempt >= self.patience.attempts || !is_transient(&error) => {
                    return Err(error);
                }
                Err(error) => error,
            };
            say::warning(&format!(
                "{}; retrying in {} ms (attempt {attempt}/{})",
                say::with_causes(&error),
                wait.as_millis(),
                self.patience.attempts
            ));
            std::thread::sleep(wait);
            wait *= 2;
            attempt += 1;
        }
    }

    fn try_fetch(&self, address: &HttpAddress, saver: &Saver<'_>) -> Result<(), FetchError> {
        let mut here = address.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut response = self.request(&here)?;
            let status = response.status();
            if let Some(location) = location(&response) {
                here = here.redirected(&location)?;
            } else if is_success(status) {
                let mut body = response.body_mut().as_reader();
                // Whether it is compressed is said by the address that was asked for.
                return match saver.save(&address.shown(), &mut body)? {
                    None => Ok(()),
                    Some(source) => Err(FetchError::Body {
                        address: here.shown(),
                        source,
                    }),
                };
            } else {
                return Err(FetchError::Status {
                    address: here.shown(),
                    status: status.as_u16(),
                    body: beginning(&mut response),
                });
            }
        }
        Err(FetchError::Redirects {
            address: address.shown(),
            limit: MAX_REDIRECTS,
        })
    }

    fn request(&self, address: &HttpAddress) -> Result<Response<Body>, FetchError> {
        let agent = self.agent(address)?;
        let mut request = agent.get(&address.uri);
        if let Some(credentials) = self.credentials(address) {
            request = request.header(header::AUTHORIZATION, basic(&credentials));
        }
        request.call().map_err(|source| FetchError::Connection {
            address: address.shown(),
            source: Box::new(source),
        })
    }

    /// Those of the address, or else those for its host: a password never follows a
    /// redirect to another one.
    fn credentials(&self, address: &HttpAddress) -> Option<Credentials> {
        let from_file = || netrc::find(self.call.netrc.as_deref()?, address.host());
        address.credentials.clone().or_else(from_file)
    }

    fn agent(&self, address: &HttpAddress) -> Result<Agent, FetchError> {
        let roots = match &self.roots {
            Some(roots) => roots.clone(),
            None if address.is_https() => {
                return Err(FetchError::NoCertificates(address.shown()));
            }
            None => Vec::new(),
        };
        // Never those that come with the library.
        let roots = RootCerts::from(roots);
        let connect = match self.call.connect_timeout {
            0 => None,
            seconds => Some(Duration::from_secs(seconds.into())),
        };
        let config = Config::builder()
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .proxy(proxy::find(&self.call.env, address)?)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .accept_encoding("identity")
            .user_agent(concat!("nix-serve/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(connect)
            .timeout_per_read(Some(self.patience.stalled))
            .timeout_per_write(Some(self.patience.stalled))
            .build();
        let addresses = Addresses {
            public_only: self.call.public_only,
        };
        Ok(Agent::with_parts(
            config,
            DefaultConnector::default(),
            addresses,
        ))
    }
}

fn basic(credentials: &Credentials) -> String {
    let pair = [
        credentials.user.as_slice(),
        b":",
        credentials.password.as_slice(),
    ];
    format!("Basic {}", BASE64.encode(&pair.concat()))
}

/// Where a redirect leads; `None` if it isn't one.
fn location(response: &Response<Body>) -> Option<String> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(header::LOCATION)?;
    String::from_utf8(location.as_bytes().to_vec()).ok()
}

fn is_success(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 201 | 204 | 206)
}

/// What a server says about an error, in part, and without what could disturb a terminal.
fn beginning(response: &mut Response<Body>) -> String {
    let mut body = Vec::new();
    // An error while reading about an error helps nobody.
    let _ = response
        .body_mut()
        .as_reader()
        .take(ERROR_BODY)
        .read_to_end(&mut body);
    String::from_utf8_lossy(&body)
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect()
}

fn is_transient(error: &FetchError) -> bool {
    match error {
        FetchError::Body { .. } => true,
        FetchError::Status { status, .. } => match status {
            408 | 429 => true,
            501 | 505 | 511 => false,
            status => *status >= 500,
        },
        FetchError::Connection { source, .. } => match source.as_ref() {
            ureq::Error::Io(error) => error.kind() != std::io::ErrorKind::InvalidData,
            ureq::Error::Timeout(_)
            | ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::ConnectProxyFailed(_)
            | ureq::Error::Protocol(_) => true,
            _ => false,
        },
        _ => false,
    }
}

const MAX_REDIRECTS: usize = 10;

/// As much of an error's explanation is shown.
const ERROR_BODY: u64 = 2048;
