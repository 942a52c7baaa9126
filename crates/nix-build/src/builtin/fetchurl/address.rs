//! Addresses: of files, and of things on servers.

use std::path::PathBuf;

use ureq::http::Uri;
use ureq::http::uri::Authority;

use super::FetchError;
use crate::builtin::path_of;

/// What an address leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    File(PathBuf),
    Http(HttpAddress),
}

/// An `http:` or `https:` address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HttpAddress {
    /// Without user and password.
    pub(super) uri: Uri,
    /// What stood before `@`.
    pub(super) credentials: Option<Credentials>,
}

/// A user's name and password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: Vec<u8>,
    pub(super) password: Vec<u8>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, FetchError> {
        let bad = |problem: &str| FetchError::BadAddress {
            address: text.to_owned(),
            problem: problem.to_owned(),
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(bad("it has no scheme"));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "file" => {
                let path = rest.strip_prefix("localhost").unwrap_or(rest);
                if !path.starts_with('/') {
                    return Err(bad("a file's path must be absolute"));
                }
                Ok(Self::File(path_of(&percent_decode(path))))
            }
            "http" | "https" => HttpAddress::parse(text).map(Self::Http),
            _ => Err(FetchError::Scheme {
                address: text.to_owned(),
                scheme: scheme.to_owned(),
            }),
        }
    }
}

impl HttpAddress {
    fn parse(text: &str) -> Result<Self, FetchError> {
        let bad = |problem: String| FetchError::BadAddress {
            address: text.to_owned(),
            problem,
        };
        let whole: Uri = text.parse().map_err(|error| bad(format!("{error}")))?;
        let mut parts = whole.into_parts();
        let Some(authority) = parts.authority.take() else {
            return Err(bad("it names no host".to_owned()));
        };
        let (credentials, host) = match authority.as_str().rsplit_once('@') {
            Some((credentials, host)) => (Some(Credentials::parse(credentials)), host.to_owned()),
            None => (None, authority.to_string()),
        };
        let host: Authority = host.parse().map_err(|error| bad(format!("{error}")))?;
        if host.host().is_empty() {
            return Err(bad("it names no host".to_owned()));
        }
        parts.authority = Some(host);
        let uri = Uri::from_parts(parts).map_err(|error| bad(format!("{error}")))?;
        Ok(Self { uri, credentials })
    }

    pub(super) fn is_https(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    pub(super) fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    pub(super) fn shown(&self) -> String {
        self.uri.to_string()
    }

    /// Where a server at this address sends us to. Never to a file.
    pub(super) fn redirected(&self, location: &str) -> Result<Self, FetchError> {
        let forbidden = || FetchError::RedirectTo {
            address: self.shown(),
            to: location.to_owned(),
        };
        let scheme = self.uri.scheme_str().unwrap_or("http");
        let host = self.uri.authority().map_or("", Authority::as_str);
        let path = self.uri.path();
        let directory = &path[..path.rfind('/').map_or(0, |at| at + 1)];
        let whole = if has_scheme(location) {
            location.to_owned()
        } else if let Some(rest) = location.strip_prefix("//") {
            format!("{scheme}://{rest}")
        } else if location.starts_with('/') {
            format!("{scheme}://{host}{location}")
        } else if location.starts_with('?') {
            format!("{scheme}://{host}{path}{location}")
        } else {
            format!("{scheme}://{host}{directory}{location}")
        };
        match Address::parse(&whole) {
            Ok(Address::Http(address)) => Ok(address),
            _ => Err(forbidden()),
        }
    }
}

impl Credentials {
    fn parse(text: &str) -> Self {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        Self {
            user: percent_decode(user),
            password: percent_decode(password),
        }
    }
}

fn has_scheme(location: &str) -> bool {
    location.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
}

/// Replaces `%` and two hexadecimal digits by their byte; anything else stays.
fn percent_decode(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let byte = match behind {
            [high, low, ..] if first == b'%' => hex_digit(*high).zip(hex_digit(*low)),
            _ => None,
        };
        match byte {
            Some((high, low)) => {
                decoded.push(high << 4 | low);
                rest = &behind[2..];
            }
            None => {
                decoded.push(first);
                rest = behind;
            }
        }
    }
    decoded
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
