#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

#[cfg(feature = "arbitrary")]
pub mod arbitrary;
pub mod build;
pub mod content_address;
pub mod hash;
pub mod json;
pub mod nix32;
pub mod path_info;
pub mod realisation;
pub mod signature;
pub mod store_dir;
pub mod store_path;
pub mod wire;

pub use build::{BuildOptions, BuildResult, BuildStatus, BuiltOutputs};
pub use content_address::{ContentAddress, ContentAddressError, ContentAddressMethod};
pub use hash::modulo::{HashModuloSink, Positions};
pub use hash::sink::{HashSink, HashingWriter, NarHashSink};
pub use hash::{Hash, HashAlgo, HashError, HashFormat, Hasher, NarHash};
pub use path_info::{
    ReferenceCycle, UnkeyedValidPathInfo, ValidPathInfo, reference_order, references_first,
};
pub use realisation::{DrvOutput, OutputName, Realisation, UnkeyedRealisation};
pub use signature::{PublicKey, SecretKey, Signature, SignatureError};
pub use store_dir::StoreDir;
pub use store_path::{StorePath, StorePathError, StorePathHash, StorePathName, StorePathSet};
pub use wire::{WireError, WireRead, WireWrite};
