//! From a fingerprint to a store path.
//!
//! ```text
//! fingerprint = type ":sha256:" base16(inner) ":" storeDir ":" name
//! path        = storeDir "/" nix32(fold20(sha256(fingerprint))) "-" name
//! ```
//!
//! | object | type | inner |
//! |---|---|---|
//! | text | `text[:ref…]` | SHA-256 of the contents |
//! | NAR by SHA-256 | `source[:ref…][:self]` | SHA-256 of the NAR |
//! | any other fixed content | `output:out` | SHA-256 of `fixed:out:<method><algo>:<base16>:` |
//! | output of a derivation | `output:<id>` | hash modulo of the derivation |

use super::{NameError, StorePath, StorePathHash, StorePathName, StorePathSet};
use crate::content_address::{ContentAddress, ContentAddressMethod};
use crate::hash::{Hash, HashAlgo, HashFormat};
use crate::store_dir::StoreDir;

/// Why a content address gives no store path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MakePathError {
    /// Only text and NAR-by-SHA-256 objects may have references.
    #[error("content-addressed object '{0}' is not allowed to refer to other store paths")]
    ReferencesNotAllowed(String),
    /// A text object can't refer to itself.
    #[error("text object '{0}' is not allowed to refer to itself")]
    SelfReferenceNotAllowed(String),
    /// Text objects are always addressed by SHA-256.
    #[error("text object '{name}' must be addressed by sha256, not by {algo}")]
    TextNeedsSha256 {
        /// Name of the object.
        name: String,
        /// The algorithm given.
        algo: HashAlgo,
    },
    /// The name with its suffix breaks the rules of names.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// The references of an object, with the one to itself set apart (its path is what is to
/// be computed).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// Other objects.
    pub others: StorePathSet,
    /// Whether the object refers to itself.
    pub to_self: bool,
}

impl References {
    /// Splits the references of `path`.
    #[must_use]
    pub fn of(path: &StorePath, references: &StorePathSet) -> Self {
        Self {
            others: references.iter().filter(|r| *r != path).cloned().collect(),
            to_self: references.contains(path),
        }
    }
}

/// The path for a fingerprint with the given `kind` (its first component) and inner hash.
#[must_use]
pub fn make_store_path(
    dir: &StoreDir,
    kind: &str,
    inner: &Hash,
    name: &StorePathName,
) -> StorePath {
    let fingerprint = format!(
        "{kind}:{}:{dir}:{name}",
        inner.render_prefixed(HashFormat::Base16)
    );
    let digest = Hash::of(HashAlgo::Sha256, fingerprint.as_bytes());
    StorePath::new(
        StorePathHash::from_digest(fold20(digest.as_bytes())),
        name.clone(),
    )
}

/// Folds a digest onto 20 bytes by exclusive or; bytes 20… land on the first ones.
#[must_use]
pub fn fold20(digest: &[u8]) -> [u8; 20] {
    let mut folded = [0; 20];
    for (i, byte) in digest.iter().enumerate() {
        folded[i % 20] ^= byte;
    }
    folded
}

/// The path of a text object with these contents' SHA-256 and references.
#[must_use]
pub fn make_text_path(
    dir: &StoreDir,
    contents: &Hash,
    references: &StorePathSet,
    name: &StorePathName,
) -> StorePath {
    make_store_path(
        dir,
        &kind_with_references("text", dir, references, false),
        contents,
        name,
    )
}

/// The path of an output of a derivation: `inner` is its hash modulo (masked), `drv_name`
/// the derivation's name without `.drv`.
///
/// # Errors
/// The name with the output's suffix breaks the rules of names.
pub fn make_output_path(
    dir: &StoreDir,
    output: &str,
    inner: &Hash,
    drv_name: &str,
) -> Result<StorePath, NameError> {
    let name = output_path_name(drv_name, output)?;
    Ok(make_store_path(
        dir,
        &format!("output:{output}"),
        inner,
        &name,
    ))
}

/// The name of the path of `output`: the derivation's name, with `-<output>` unless it is
/// `out`.
///
/// # Errors
/// The result breaks the rules of names.
pub fn output_path_name(drv_name: &str, output: &str) -> Result<StorePathName, NameError> {
    if output == "out" {
        StorePathName::new(drv_name)
    } else {
        StorePathName::new(&format!("{drv_name}-{output}"))
    }
}

/// The path of an object with content address `ca`.
///
/// # Errors
/// The method does not allow these references, or the algorithm.
pub fn make_content_addressed_path(
    dir: &StoreDir,
    ca: &ContentAddress,
    references: &References,
    name: &StorePathName,
) -> Result<StorePath, MakePathError> {
    let algo = ca.hash.algo();
    match ca.method {
        ContentAddressMethod::Text => {
            if references.to_self {
                return Err(MakePathError::SelfReferenceNotAllowed(name.to_string()));
            }
            if algo != HashAlgo::Sha256 {
                return Err(MakePathError::TextNeedsSha256 {
                    name: name.to_string(),
                    algo,
                });
            }
            Ok(make_text_path(dir, &ca.hash, &references.others, name))
        }
        ContentAddressMethod::NixArchive if algo == HashAlgo::Sha256 => {
            let kind = kind_with_references("source", dir, &references.others, references.to_self);
            Ok(make_store_path(dir, &kind, &ca.hash, name))
        }
        _ => {
            if references.to_self || !references.others.is_empty() {
                return Err(MakePathError::ReferencesNotAllowed(name.to_string()));
            }
            let inner = format!(
                "fixed:out:{}{}:",
                ca.method.prefix(),
                ca.hash.render_prefixed(HashFormat::Base16)
            );
            let inner = Hash::of(HashAlgo::Sha256, inner.as_bytes());
            Ok(make_store_path(dir, "output:out", &inner, name))
        }
    }
}

fn kind_with_references(
    kind: &str,
    dir: &StoreDir,
    references: &StorePathSet,
    to_self: bool,
) -> String {
    let mut text = String::from(kind);
    for reference in references {
        text.push(':');
        dir.append_to(reference, &mut text);
    }
    if to_self {
        text.push_str(":self");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(ca: &str, references: &References, name: &str) -> String {
        make_content_addressed_path(
            &StoreDir::default(),
            &ca.parse().unwrap(),
            references,
            &name.parse().unwrap(),
        )
        .unwrap()
        .base_name()
    }

    const TEXT: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    const NAR: &str = "1c37d01af40be2e80691de3cc3df44377a699afbb17c68f080964b2fd071fc13";

    #[test]
    fn published_paths_of_hello() {
        let none = References::default();
        let cases = [
            (
                format!("text:sha256:{TEXT}"),
                "qa1w9gdfrba6jl2r57mb3c43863gqywp-hello.txt",
            ),
            (
                format!("fixed:r:sha256:{NAR}"),
                "i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt",
            ),
            (
                format!("fixed:sha256:{TEXT}"),
                "gy454w1cxaq731grqwylhzf4pp9r5izh-hello.txt",
            ),
            (
                "fixed:r:sha1:0deb52c2735eb38d360f976b7b3823c4ad05cce7".into(),
                "hzq8n5jpi3g2d0xhlvqd8q1gx5c9s6i3-hello.txt",
            ),
        ];
        for (ca, path) in cases {
            assert_eq!(make(&ca, &none, "hello.txt"), path);
        }
        let with_self = References {
            others: [path_of("i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt")].into(),
            to_self: true,
        };
        assert_eq!(
            make(&format!("fixed:r:sha256:{NAR}"), &with_self, "x"),
            "m37iv6svc73dmrpbr28ip7xp9d9fnpgh-x"
        );
    }

    fn path_of(base: &str) -> StorePath {
        StorePath::from_base_name(base).unwrap()
    }

    #[test]
    fn refuses_references_that_a_method_cannot_carry() {
        let dir = StoreDir::default();
        let name: StorePathName = "x".parse().unwrap();
        let others = References {
            others: [path_of("i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt")].into(),
            to_self: false,
        };
        let flat = format!("fixed:sha256:{TEXT}").parse().unwrap();
        assert!(make_content_addressed_path(&dir, &flat, &others, &name).is_err());
        let to_self = References {
            to_self: true,
            ..References::default()
        };
        let text = format!("text:sha256:{TEXT}").parse().unwrap();
        assert!(make_content_addressed_path(&dir, &text, &to_self, &name).is_err());
    }

    #[test]
    fn output_paths_of_the_worked_example() {
        let masked = Hash::parse_digits(
            HashAlgo::Sha256,
            "64717bbf8d6de587dc318a01e27b48b97b8896c3d68321968ba0cb21a3a93bb6",
        )
        .unwrap();
        let dir = StoreDir::default();
        let path = |output| {
            make_output_path(&dir, output, &masked, "b")
                .unwrap()
                .base_name()
        };
        assert_eq!(path("out"), "k52pddii1gzgjlbj42l672jdxa13kn3j-b");
        assert_eq!(path("dev"), "09ypglil1mi9ddavq6g97n9b61s1h3hv-b-dev");
    }
}
