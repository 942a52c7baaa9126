//! Texts with a meaning: paths, hashes, signatures, keys.

use nix_base::{
    ContentAddress, DrvOutput, Hash, HashFormat, NarHash, OutputName, PublicKey, SecretKey,
    Signature, StoreDir, StorePath, nix32,
};

use super::Target;
use crate::{class, seeds};

pub(crate) const STORE_PATH: Target = Target {
    name: "store_path",
    make: || Box::new(store_path),
    seeds: seeds::store_paths,
    words: &[
        b"/nix/store/",
        b"//",
        b"/..",
        b".drv",
        b"-",
        b"!out",
        b"/nix/../",
    ],
};

pub(crate) const SIGNATURE: Target = Target {
    name: "signature",
    make: || Box::new(signature),
    seeds: seeds::signatures,
    words: &[b"cache.example.org-1:", b":", b"==", b"=", b"AAAA"],
};

pub(crate) const HASH: Target = Target {
    name: "hash",
    make: || Box::new(hash),
    seeds: seeds::hashes,
    words: &[
        b"sha256:", b"sha256-", b"sha1:", b"md5:", b"sha512-", b"blake3:", b"fixed:", b"r:",
        b"text:", b"git:", b"=", b"==",
    ],
};

fn store_path(input: &[u8]) -> u64 {
    let dir = StoreDir::default();
    let full = dir.parse(input);
    if let Ok(path) = &full {
        let printed = dir.print(path);
        assert_eq!(&dir.parse(&printed).unwrap(), path);
        // Nix compat: what is equal after repeated slashes are gone is the same path.
        assert!(printed.len() <= input.len());
        assert_eq!(
            StorePath::from_base_name(&path.base_name()).as_ref(),
            Ok(path)
        );
    }
    let base = StorePath::from_base_name_bytes(input);
    if let Ok(path) = &base {
        assert_eq!(path.base_name().as_bytes(), input);
    }
    let Ok(text) = str::from_utf8(input) else {
        return class::of((
            class::of_result(&full, |_| ()),
            class::of_result(&base, |_| ()),
        ));
    };
    let inside = dir.parse_in_store(text);
    let other = StoreDir::new(text);
    let output: Result<OutputName, _> = text.parse();
    let id: Result<DrvOutput, _> = text.parse();
    if let Ok(id) = &id {
        assert_eq!(id.to_string().parse::<DrvOutput>().as_ref().ok(), Some(id));
    }
    class::of((
        class::of_result(&full, |path| path.is_derivation()),
        class::of_result(&base, |path| path.is_derivation()),
        class::of_result(&inside, |(_, rest)| class::size(rest.len())),
        class::of_result(&other, |_| ()),
        class::of_result(&output, |_| ()),
        class::of_result(&id, |_| ()),
    ))
}

fn signature(input: &[u8]) -> u64 {
    let Ok(text) = str::from_utf8(input) else {
        return 0;
    };
    let parsed: Result<Signature, _> = text.parse();
    if let Ok(signature) = &parsed {
        assert!(signature.is_well_formed());
        let (name, bytes) = (signature.key_name().unwrap(), signature.to_bytes().unwrap());
        let again = Signature::from_parts(name, &bytes);
        assert_eq!(again.to_bytes(), Some(bytes));
    }
    let verbatim = Signature::verbatim(text);
    if let Ok(signature) = &verbatim {
        assert_eq!(signature.as_str(), text);
    }
    let key: Result<PublicKey, _> = text.parse();
    if let (Ok(key), Ok(signature)) = (&key, &verbatim) {
        assert!(!key.verifies(b"message", signature));
    }
    let secret: Result<SecretKey, _> = text.parse();
    if let Ok(secret) = &secret {
        let signed = secret.sign(b"message");
        assert!(secret.public_key().verifies(b"message", &signed));
    }
    class::of((
        class::of_result(&parsed, |_| ()),
        class::of_result(&verbatim, |_| ()),
        class::of_result(&key, |_| ()),
        class::of_result(&secret, |_| ()),
    ))
}

fn hash(input: &[u8]) -> u64 {
    let digits = nix32::decode(input);
    if let Ok(bytes) = &digits {
        assert_eq!(nix32::encode(bytes).as_bytes(), input);
    }
    let Ok(text) = str::from_utf8(input) else {
        return class::of_result(&digits, |_| ());
    };
    let any = Hash::parse_any(text, None);
    if let Ok(hash) = &any {
        for format in [HashFormat::Base16, HashFormat::Nix32, HashFormat::Base64] {
            let printed = hash.render_prefixed(format);
            assert_eq!(&Hash::parse_any(&printed, None).unwrap(), hash);
        }
    }
    let nar = NarHash::parse_any(text);
    if let Ok(hash) = &nar {
        assert_eq!(&NarHash::parse_any(&hash.to_base16()).unwrap(), hash);
    }
    let address: Result<ContentAddress, _> = text.parse();
    if let Ok(address) = &address {
        let printed = address.to_string();
        assert_eq!(&printed.parse::<ContentAddress>().unwrap(), address);
    }
    class::of((
        class::of_result(&digits, |bytes| class::size(bytes.len())),
        class::of_result(&any, |hash| format!("{:?}", hash.algo())),
        class::of_result(&nar, |_| ()),
        class::of_result(&address, |address| address.method.prefix()),
    ))
}
