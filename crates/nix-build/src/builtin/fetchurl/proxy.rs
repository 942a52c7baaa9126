//! Proxies: `http_proxy`, `https_proxy`, `all_proxy`, and `no_proxy` for hosts that are
//! reached without.

use std::collections::BTreeMap;

use ureq::Proxy;

use super::FetchError;
use super::address::HttpAddress;

/// The proxy through which a builder with these variables reaches an address.
pub(super) fn find(
    variables: &BTreeMap<Vec<u8>, Vec<u8>>,
    address: &HttpAddress,
) -> Result<Option<Proxy>, FetchError> {
    let value = |name: &str| {
        let value = variables.get(name.as_bytes())?;
        let value = str::from_utf8(value).ok()?.trim();
        (!value.is_empty()).then_some(value)
    };
    // As curl does it: `HTTP_PROXY` has no meaning, since a web server may have set it.
    let names: &[&str] = match address.is_https() {
        true => &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
        false => &["http_proxy", "all_proxy", "ALL_PROXY"],
    };
    let Some(proxy) = names.iter().find_map(|name| value(name)) else {
        return Ok(None);
    };
    let exceptions = value("no_proxy").or_else(|| value("NO_PROXY"));
    if exceptions.is_some_and(|list| is_excepted(list, address.host())) {
        return Ok(None);
    }
    match Proxy::new(proxy) {
        Ok(proxy) => Ok(Some(proxy)),
        Err(source) => Err(FetchError::Proxy {
            address: without_password(proxy).to_owned(),
            source: Box::new(source),
        }),
    }
}

/// Whether a list of domains, or `*`, has one that the host is or is in.
fn is_excepted(list: &str, host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    list.split([',', ' ', '\t'])
        .map(|entry| entry.trim_start_matches('.').to_ascii_lowercase())
        .filter(|entry| !entry.is_empty())
        .any(|entry| {
            entry == "*"
                || host
                    .strip_suffix(entry.as_str())
                    .is_some_and(|front| front.is_empty() || front.ends_with('.'))
        })
}

fn without_password(proxy: &str) -> &str {
    proxy.rsplit_once('@').map_or(proxy, |(_, host)| host)
}

#[cfg(test)]
mod tests;
