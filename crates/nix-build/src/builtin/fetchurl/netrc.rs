//! Passwords by host: `machine NAME login USER password WORD`, or `default` for a host
//! that isn't named.

use super::address::Credentials;

/// The credentials for a host in the text of a netrc file: those of the first entry that
/// fits.
pub(super) fn find(text: &[u8], host: &str) -> Option<Credentials> {
    let mut words = Words { rest: text };
    while let Some(word) = words.next() {
        match word.as_slice() {
            b"machine" => {
                let name = words.next()?;
                if name.eq_ignore_ascii_case(host.as_bytes()) {
                    return words.entry();
                }
            }
            b"default" => return words.entry(),
            b"login" | b"password" | b"account" => {
                words.next()?;
            }
            b"macdef" => words.skip_macro(),
            // Nothing that has a meaning.
            _ => {}
        }
    }
    None
}

/// Words between white space, some of them in quotes; `#` at the start of one hides the
/// rest of the line.
struct Words<'a> {
    rest: &'a [u8],
}

impl Words<'_> {
    /// What is said about a host, up to the next one.
    fn entry(&mut self) -> Option<Credentials> {
        let (mut user, mut password) = (None, None);
        while let Some(word) = self.next() {
            match word.as_slice() {
                b"machine" | b"default" => break,
                b"login" => user = self.next(),
                b"password" => password = self.next(),
                b"account" => drop(self.next()),
                b"macdef" => self.skip_macro(),
                _ => {}
            }
        }
        (user.is_some() || password.is_some()).then(|| Credentials {
            user: user.unwrap_or_default(),
            password: password.unwrap_or_default(),
        })
    }

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
