//! Signatures over store objects, and their keys.
//!
//! A signature is detached Ed25519 over the object's *fingerprint*:
//! `1;<path>;sha256:<nix32>;<nar size>;<ref>,<ref>…` with full paths, references
//! ascending. Text forms are `name:base64`; a secret key is the 32-byte seed followed by
//! the public key (the layout of libsodium).

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use ed25519_dalek::{Signer, SigningKey, Verifier, VerifyingKey};
use zeroize::Zeroizing;

use crate::hash::NarHash;
use crate::store_dir::StoreDir;
use crate::store_path::{StorePath, StorePathSet};

/// Why a text is not a signature or a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// No `name:` in front, or an empty name.
    #[error("{what} is corrupt: it must have the form 'name:base64'")]
    NoName {
        /// `signature`, `public key` or `secret key`.
        what: &'static str,
    },
    /// The part after the name is not base 64 of the right length.
    #[error("{what} of '{name}' is not valid")]
    BadBytes {
        /// `signature`, `public key` or `secret key`.
        what: &'static str,
        /// The key's name.
        name: String,
    },
    /// White space or control characters, which the database can't keep.
    #[error("signature contains white space or control characters")]
    Unprintable,
}

fn split<const N: usize>(
    what: &'static str,
    text: &str,
) -> Result<(String, [u8; N]), SignatureError> {
    let (name, encoded) = text
        .trim_end_matches('\n')
        .split_once(':')
        .filter(|(name, _)| !name.is_empty())
        .ok_or(SignatureError::NoName { what })?;
    let bad = || SignatureError::BadBytes {
        what,
        name: name.into(),
    };
    let encoded = Zeroizing::new(encoded.replace('\n', ""));
    let bytes = Zeroizing::new(BASE64.decode(encoded.as_bytes()).map_err(|_| bad())?);
    let bytes = bytes.as_slice().try_into().map_err(|_| bad())?;
    Ok((name.into(), bytes))
}

/// A signature as it was received, such as `cache.example.org-1:…`.
///
/// The text is kept verbatim, since stores may hold malformed ones that must survive a
/// copy of the database; [`Self::is_well_formed`] tells which may be sent to others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature(Box<str>);

impl Signature {
    /// Takes any text without white space or control characters.
    ///
    /// # Errors
    /// The text has such characters or is empty.
    pub fn verbatim(text: &str) -> Result<Self, SignatureError> {
        if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(SignatureError::Unprintable);
        }
        Ok(Self(text.into()))
    }

    /// A signature from its parts.
    #[must_use]
    pub fn from_parts(key_name: &str, bytes: &[u8; 64]) -> Self {
        Self(format!("{key_name}:{}", BASE64.encode(bytes)).into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the first colon.
    #[must_use]
    pub fn key_name(&self) -> Option<&str> {
        self.0.split_once(':').map(|(name, _)| name)
    }

    /// The 64 bytes, if the text is well-formed.
    #[must_use]
    pub fn to_bytes(&self) -> Option<[u8; 64]> {
        split("signature", &self.0).ok().map(|(_, bytes)| bytes)
    }

    /// Whether the text is a name and 64 bytes in base 64, as every release demands.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        self.to_bytes().is_some()
    }
}

impl FromStr for Signature {
    type Err = SignatureError;

    /// Parses strictly: only well-formed signatures.
    fn from_str(text: &str) -> Result<Self, SignatureError> {
        let signature = Self::verbatim(text)?;
        split::<64>("signature", text)?;
        Ok(signature)
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A named Ed25519 public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: VerifyingKey,
}

impl PublicKey {
    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether `signature` bears this key's name and verifies over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        signature.key_name() == Some(&self.name)
            && signature.to_bytes().is_some_and(|bytes| {
                let signature = ed25519_dalek::Signature::from_bytes(&bytes);
                self.key.verify(message, &signature).is_ok()
            })
    }
}

impl FromStr for PublicKey {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        let (name, bytes) = split::<32>("public key", text)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| SignatureError::BadBytes {
            what: "public key",
            name: name.clone(),
        })?;
        Ok(Self { name, key })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, BASE64.encode(self.key.as_bytes()))
    }
}

/// A named Ed25519 secret key; wiped when dropped, never shown by `Debug`.
#[derive(Clone)]
pub struct SecretKey {
    name: String,
    key: SigningKey,
}

impl SecretKey {
    /// A key from its 32-byte seed.
    #[must_use]
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Self {
        Self {
            name: name.into(),
            key: SigningKey::from_bytes(seed),
        }
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey {
            name: self.name.clone(),
            key: self.key.verifying_key(),
        }
    }

    /// Signs `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature::from_parts(&self.name, &self.key.sign(message).to_bytes())
    }

    /// The text form of key files, wiped when dropped.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let bytes = Zeroizing::new(self.key.to_keypair_bytes());
        let encoded = Zeroizing::new(BASE64.encode(&*bytes));
        Zeroizing::new(format!("{}:{}", self.name, &*encoded))
    }
}

impl FromStr for SecretKey {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        let (name, bytes) = split::<64>("secret key", text)?;
        let bytes = Zeroizing::new(bytes);
        let key = SigningKey::from_keypair_bytes(&bytes).map_err(|_| SignatureError::BadBytes {
            what: "secret key",
            name: name.clone(),
        })?;
        Ok(Self { name, key })
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.name)
    }
}

/// The text that signatures of a store object cover.
#[must_use]
pub fn fingerprint(
    dir: &StoreDir,
    path: &StorePath,
    nar_hash: &NarHash,
    nar_size: u64,
    references: &StorePathSet,
) -> String {
    let mut text = String::from("1;");
    dir.append_to(path, &mut text);
    text.push_str(&format!(";{};{nar_size};", nar_hash.to_prefixed_nix32()));
    for (i, reference) in references.iter().enumerate() {
        if i > 0 {
            text.push(',');
        }
        dir.append_to(reference, &mut text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "test-1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8DoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuA==";
    const PUBLIC: &str = "test-1:A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";
    const SIGNATURE: &str = "test-1:GEOKzKtcQQJDLaxdPZSYOX9BZhkCHZvHNMGx2KTS4/m5mZ8ROkYezx0mTXp01O+i7x0dWcBJBmLqSdnNjSGmCw==";

    #[test]
    fn published_signature_of_hello() {
        let dir = StoreDir::default();
        let path = dir
            .parse("/nix/store/i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt")
            .unwrap();
        let hash =
            NarHash::parse_any("sha256:04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw")
                .unwrap();
        let text = fingerprint(&dir, &path, &hash, 120, &StorePathSet::new());
        assert_eq!(
            text,
            "1;/nix/store/i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt;sha256:04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw;120;"
        );
        let secret: SecretKey = SECRET.parse().unwrap();
        let seed: [u8; 32] = std::array::from_fn(|i| u8::try_from(i).unwrap());
        assert_eq!(
            SecretKey::from_seed("test-1", &seed).to_text().as_str(),
            SECRET
        );
        assert_eq!(secret.public_key().to_string(), PUBLIC);
        let signature = secret.sign(text.as_bytes());
        assert_eq!(signature.as_str(), SIGNATURE);
        let public: PublicKey = PUBLIC.parse().unwrap();
        assert!(public.verifies(text.as_bytes(), &signature));
        assert!(!public.verifies(b"another text", &signature));
        let renamed = Signature::verbatim(&SIGNATURE.replace("test-1", "test-2")).unwrap();
        assert!(!public.verifies(text.as_bytes(), &renamed));
    }

    #[test]
    fn malformed_signatures_are_kept_but_known_as_such() {
        for text in ["k:AAAA", "no-colon", ":AAAA", "k:BB"] {
            let signature = Signature::verbatim(text).unwrap();
            assert!(!signature.is_well_formed(), "{text}");
            assert_eq!(signature.to_string(), text);
            assert!(text.parse::<Signature>().is_err());
        }
        assert!(Signature::verbatim("a b").is_err());
        assert!(Signature::verbatim("").is_err());
        assert!(SIGNATURE.parse::<Signature>().is_ok());
    }

    #[test]
    fn secret_keys_do_not_show() {
        let secret: SecretKey = SECRET.parse().unwrap();
        insta::assert_snapshot!(format!("{secret:?}"), @"SecretKey(test-1)");
        insta::assert_snapshot!("x".parse::<SecretKey>().unwrap_err(), @"secret key is corrupt: it must have the form 'name:base64'");
    }
}
