//! Store addresses.
//!
//! ```text
//! auto            local              /path              ./path
//! auto?K=V&…      local?K=V&…        /path?K=V&…
//! ssh://[user@]host[:port][?K=V&…]   exec:COMMAND
//! ```
//!
//! Parameters are percent-decoded. A host is a name, an IPv4 address, or an IPv6 address,
//! with brackets (and then maybe a port) or without, with or without a zone. Users, hosts
//! and keys that begin with `-` are refused, since `ssh` would take them for options.

use std::collections::BTreeMap;
use std::fmt;

/// Parameters of a store address by name, percent-decoded.
pub type Parameters = BTreeMap<String, String>;

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreAddress {
    /// The local store, or what else is usual here.
    Auto(Parameters),
    /// A local store; a path as address is its parameter `root`.
    Local(Parameters),
    /// A server behind `ssh`.
    Ssh(SshAddress),
    /// A server that a shell command starts, speaking on its stdin and stdout.
    Exec(String),
    /// A well-formed address of a kind that is not spoken, such as `unix://`.
    Other {
        /// What stands before `://`.
        scheme: String,
        /// What stands between that and the parameters.
        authority: String,
        /// The parameters.
        parameters: Parameters,
    },
}

/// A server behind `ssh`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshAddress {
    /// The user to log in as.
    pub user: Option<String>,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port, if not the usual one.
    pub port: Option<u16>,
    /// The parameters.
    pub parameters: Parameters,
}

/// A text that is no store address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Of no known form.
    #[error("don't know how to open Nix store '{0}'")]
    Unknown(String),
    /// A parameter without `=`, or without a name.
    #[error("parameter '{parameter}' of '{address}' should have the form 'name=value'")]
    Parameter {
        /// The address.
        address: String,
        /// The parameter.
        parameter: String,
    },
    /// A `%` without two hexadecimal digits, or bytes that are not UTF-8.
    #[error("'{0}' has a malformed percent escape")]
    Escape(String),
    /// An empty host, or one that `ssh` would not take for a host.
    #[error("invalid SSH host name '{0}'")]
    Host(String),
    /// A user that `ssh` would not take for one.
    #[error("invalid SSH user name '{0}'")]
    User(String),
    /// Not a port.
    #[error("invalid port '{0}'")]
    Port(String),
    /// A parameter whose value can't be used.
    #[error("invalid value '{value}' of parameter '{name}'")]
    Value {
        /// The parameter.
        name: &'static str,
        /// The value.
        value: String,
    },
    /// A parameter that matters and is not supported.
    #[error("parameter '{0}' is not supported")]
    Unsupported(&'static str),
}

impl StoreAddress {
    /// Parses an address.
    ///
    /// # Errors
    /// The form is not known, or a part is malformed.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if let Some(command) = text.strip_prefix("exec:") {
            let unknown = || AddressError::Unknown(text.into());
            return match command.trim() {
                "" => Err(unknown()),
                command => Ok(Self::Exec(command.into())),
            };
        }
        let (base, parameters) = split_parameters(text)?;
        if let Some((scheme, authority)) = base.split_once("://") {
            return Self::with_scheme(text, scheme, authority, parameters);
        }
        match base {
            "" | "auto" => Ok(Self::Auto(parameters)),
            "local" => Ok(Self::Local(parameters)),
            "daemon" => Ok(Self::Other {
                scheme: "unix".into(),
                authority: String::new(),
                parameters,
            }),
            path if is_path(path) => Ok(Self::local_at(path, parameters)),
            _ => Err(AddressError::Unknown(text.into())),
        }
    }

    /// Parses what `nix-copy-closure` is given: `[user@]host[:port][?K=V&…]`, or a whole
    /// address.
    ///
    /// # Errors
    /// See [`Self::parse`].
    pub fn parse_host(text: &str) -> Result<Self, AddressError> {
        if text.starts_with("exec:") || text.contains("://") {
            Self::parse(text)
        } else {
            Self::parse(&format!("ssh://{text}"))
        }
    }

    /// Whether a server must be connected to.
    #[must_use]
    pub const fn is_remote(&self) -> bool {
        matches!(self, Self::Ssh(_) | Self::Exec(_))
    }

    fn with_scheme(
        text: &str,
        scheme: &str,
        authority: &str,
        parameters: Parameters,
    ) -> Result<Self, AddressError> {
        match (scheme, authority) {
            ("ssh", host) => SshAddress::parse(host, parameters).map(Self::Ssh),
            ("local", "") => Ok(Self::Local(parameters)),
            ("local", path) if is_path(path) => Ok(Self::local_at(path, parameters)),
            ("auto", "") => Ok(Self::Auto(parameters)),
            (scheme, _) if is_scheme(scheme) => Ok(Self::Other {
                scheme: scheme.into(),
                authority: authority.into(),
                parameters,
            }),
            _ => Err(AddressError::Unknown(text.into())),
        }
    }

    fn local_at(path: &str, mut parameters: Parameters) -> Self {
        parameters.insert("root".into(), path.into());
        Self::Local(parameters)
    }
}

impl SshAddress {
    fn parse(authority: &str, parameters: Parameters) -> Result<Self, AddressError> {
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        if let Some(user) = user.filter(|user| !is_safe_word(user)) {
            return Err(AddressError::User(user.into()));
        }
        let (host, port) = split_port(host)?;
        // A zone may be written with the `%` escaped.
        let host = host.replace("%25", "%");
        if !is_safe_word(&host) {
            return Err(AddressError::Host(host));
        }
        Ok(Self {
            user: user.map(Into::into),
            host,
            port: port.map(parse_port).transpose()?,
            parameters,
        })
    }

    /// Whether this is the machine itself, where no `ssh` is needed.
    #[must_use]
    pub fn is_localhost(&self) -> bool {
        // Nix compat: only this very word, without user and port.
        self.host == "localhost" && self.user.is_none() && self.port.is_none()
    }

    /// `[user@]host`, as an argument of `ssh`.
    #[must_use]
    pub fn destination(&self) -> String {
        match &self.user {
            Some(user) => format!("{user}@{}", self.host),
            None => self.host.clone(),
        }
    }

    /// Names of parameters that mean nothing here or anywhere, for a warning.
    pub fn unknown_parameters(&self) -> impl Iterator<Item = &str> {
        let known = |name: &&String| KNOWN_PARAMETERS.contains(&name.as_str());
        self.parameters
            .keys()
            .filter(move |name| !known(name))
            .map(String::as_str)
    }
}

impl fmt::Display for StoreAddress {
    /// The address without its parameters, for messages; the command of `exec:` is cut.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto(_) => f.write_str("auto"),
            Self::Local(parameters) => match parameters.get("root") {
                Some(root) => f.write_str(root),
                None => f.write_str("local"),
            },
            Self::Ssh(address) => address.fmt(f),
            Self::Exec(command) => {
                let word = command.split_whitespace().next().unwrap_or_default();
                write!(f, "exec:{word}")
            }
            Self::Other {
                scheme, authority, ..
            } => write!(f, "{scheme}://{authority}"),
        }
    }
}

impl fmt::Display for SshAddress {
    /// `ssh://[user@]host[:port]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ssh://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.port {
            Some(port) if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

fn split_parameters(text: &str) -> Result<(&str, Parameters), AddressError> {
    let Some((base, query)) = text.split_once('?') else {
        return Ok((text, Parameters::new()));
    };
    let mut parameters = Parameters::new();
    for parameter in query.split('&').filter(|p| !p.is_empty()) {
        match parameter.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                parameters.insert(percent_decode(name)?, percent_decode(value)?);
            }
            _ => {
                return Err(AddressError::Parameter {
                    address: text.into(),
                    parameter: parameter.into(),
                });
            }
        }
    }
    Ok((base, parameters))
}

fn percent_decode(text: &str) -> Result<String, AddressError> {
    let error = || AddressError::Escape(text.into());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first != b'%' {
            bytes.push(*first);
            rest = tail;
            continue;
        }
        let digits = tail
            .get(..2)
            .filter(|d| d.iter().all(u8::is_ascii_hexdigit));
        let digits = std::str::from_utf8(digits.ok_or_else(error)?).map_err(|_| error())?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| error())?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| error())
}

/// Host and port. An IPv6 address without brackets has several colons and no port.
fn split_port(text: &str) -> Result<(&str, Option<&str>), AddressError> {
    if let Some(rest) = text.strip_prefix('[') {
        let bad = || AddressError::Host(text.into());
        let (host, after) = rest.split_once(']').ok_or_else(bad)?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(bad()),
        };
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => Ok((host, Some(port))),
        _ => Ok((text, None)),
    }
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    let port = text.parse().ok().filter(|&port| port != 0);
    port.filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
        .ok_or_else(|| AddressError::Port(text.into()))
}

/// Whether `ssh` takes `word` for a host or a user and nothing else.
fn is_safe_word(word: &str) -> bool {
    let plain =
        |c: char| !c.is_control() && !c.is_whitespace() && !"/[]'\"\\`$;&|<>(){}".contains(c);
    !word.is_empty() && !word.starts_with('-') && word.chars().all(plain)
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') || text.starts_with("./") || text.starts_with("../")
}

fn is_scheme(text: &str) -> bool {
    let rest = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(rest)
}

/// Parameters of ssh stores in any release, heeded or not.
const KNOWN_PARAMETERS: [&str; 13] = [
    "base64-ssh-public-host-key",
    "compress",
    "log-fd",
    "max-connections",
    "path-info-cache-size",
    "priority",
    "remote-program",
    "remote-store",
    "ssh-key",
    "store",
    "system-features",
    "trusted",
    "want-mass-query",
];

#[cfg(test)]
mod tests;
