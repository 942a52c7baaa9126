//! Passwords by host: `machine NAME login USER password WORD`, or `default` for a host
//! that isn't named.

use super::address::Credentials;

/// The credentials for a host in the text of a netrc file: those of the first entry that
/// fits.
pub(super) fn find(text: &[u8], host: &str) -> Option<Credentials> {
    let mut words = Words { rest: text };
    let mut current: Option<(Option<Vec<u8>>, Option<Vec<u8>>)> = None;
    while let Some(word) = words.next() {
        match (word.as_slice(), &mut current) {
            (b"machine" | b"default", Some(_)) => break,
            (b"machine", None) => {
                if words.next()?.eq_ignore_ascii_case(host.as_bytes()) {
                    current = Some((None, None));
                }
            }
            (b"default", None) => current = Some((None, None)),
            (b"login", Some((login, _))) => *login = Some(words.next()?),
            (b"password", Some((_, password))) => *password = Some(words.next()?),
            (b"login" | b"password" | b"account", _) => {
                words.next()?;
            }
            (b"macdef", _) => words.skip_macro(),
            // Nothing that has a meaning.
            _ => {}
        }
    }
    match current? {
        (None, None) => None,
        (login, password) => Some(Credentials {
            user: login.unwrap_or_default(),
            password: password.unwrap_or_default(),
        }),
    }
}

/// Words between white space, some of them in quotes; `#` at the start of one hides the
/// rest of the line.
struct Words<'a> {
    rest: &'a [u8],
}

impl Words<'_> {
    fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            self.rest = self.rest.trim_ascii_start();
            match self.rest.first()? {
                b'#' => self.skip_line(),
                b'"' => return Some(self.quoted()),
                _ => return Some(self.plain()),
            }
        }
    }

    fn plain(&mut self) -> Vec<u8> {
        let end = self
            .rest
            .iter()
            .position(u8::is_ascii_whitespace)
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_vec()
    }

    fn quoted(&mut self) -> Vec<u8> {
        let mut word = Vec::new();
        let mut bytes = self.rest[1..].iter();
        while let Some(&byte) = bytes.next() {
            match byte {
                b'"' => break,
                b'\\' => word.extend(bytes.next().map(|escaped| match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => *other,
                })),
                other => word.push(other),
            }
        }
        self.rest = bytes.as_slice();
        word
    }

    fn skip_line(&mut self) {
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        self.rest = &self.rest[end.unwrap_or(self.rest.len())..];
    }

    /// A macro goes on up to an empty line.
    fn skip_macro(&mut self) {
        let end = self.rest.windows(2).position(|two| two == b"\n\n");
        self.rest = &self.rest[end.unwrap_or(self.rest.len())..];
    }
}

#[cfg(test)]
mod tests;
