//! Public keys of ssh, as in `id_ed25519.pub`.

use data_encoding::BASE64;

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SshKey {
    kind: String,
    pub(super) base64: String,
    /// What stands behind the key.
    pub(super) comment: String,
}

/// A text that isn't one public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SshKeyError {
    #[error("there is no public key in it")]
    None,
    #[error("there is more than one public key in it")]
    Several,
    #[error("it is a private key: use the file whose name ends in '.pub'")]
    Private,
    #[error("'{0}' is no kind of key that ssh servers know; options before a key aren't taken")]
    Kind(String),
    #[error("the key is damaged")]
    Damaged,
}

impl SshKey {
    /// Reads a text with one key.
    pub(super) fn parse(text: &str) -> Result<Self, SshKeyError> {
        if text.contains("PRIVATE KEY-----") {
            return Err(SshKeyError::Private);
        }
        let lines = text.lines().map(str::trim);
        let mut keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let key = keys.next().ok_or(SshKeyError::None)?;
        if keys.next().is_some() {
            return Err(SshKeyError::Several);
        }
        Self::parse_line(key)
    }

    fn parse_line(line: &str) -> Result<Self, SshKeyError> {
        let (kind, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        if !KINDS.contains(&kind) {
            return Err(SshKeyError::Kind(kind.to_owned()));
        }
        let rest = rest.trim_start();
        let (base64, comment) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
        let blob = BASE64.decode(base64.as_bytes());
        let blob = blob.map_err(|_| SshKeyError::Damaged)?;
        if string_at_start(&blob) != Some(kind.as_bytes()) {
            return Err(SshKeyError::Damaged);
        }
        Ok(Self {
            kind: kind.to_owned(),
            base64: base64.to_owned(),
            comment: comment.trim().to_owned(),
        })
    }

    /// The key as one line, with what stands behind it.
    pub(super) fn line(&self) -> String {
        let comment: String = self.comment.chars().filter(|c| !c.is_control()).collect();
        let line = format!("{} {} {comment}", self.kind, self.base64);
        line.trim_end().to_owned()
    }
}

/// The first string of a key: its kind again, behind its length.
fn string_at_start(blob: &[u8]) -> Option<&[u8]> {
    let (length, rest) = blob.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    rest.get(..length).filter(|_| rest.len() > length)
}

/// Kinds of keys; certificates are authorized in other ways.
const KINDS: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];
