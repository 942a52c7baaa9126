//! Policy files, capability lists and names of keys.

use std::path::Path;

use nix_base::StoreDir;
use nix_serve::policy::{Capability, KeyName, PolicyFile, Surroundings, Wish, settle};

use super::Target;
use crate::class;

pub(crate) const POLICY: Target = Target {
    name: "policy",
    make: || Box::new(policy),
    seeds,
    words: &[
        b"[default]\n",
        b"[key.\"a@b\"]\n",
        b"allow = [\"query\", \"import-ca\"]\n",
        b"build-verified",
        b"network",
        b"import-any",
        b"view = \"own\"\n",
        b"share = true\n",
        b"expose = [\"/nix/store/i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt\"]\n",
        b"stored-bytes = \"20G\"\n",
        b"build-time = \"1d\"\n",
        b"slots = 2\n",
    ],
};

/// What is granted follows from what is written: never more than the flags, whatever the file.
fn policy(input: &[u8]) -> u64 {
    let Ok(text) = str::from_utf8(input) else {
        return class::of(());
    };
    let list = Capability::parse_list(text);
    let name: Result<KeyName, _> = text.parse();
    let location = Path::new("policy.toml");
    let file = PolicyFile::parse(text, location);
    let dir = StoreDir::default();
    let settled = file.as_ref().ok().map(|policy| {
        let key = policy.names().next().cloned();
        let around = |policy| Surroundings {
            location,
            policy: Some(policy),
            store_dir: &dir,
            trusted_keys: Vec::new(),
        };
        let reader = Wish {
            key: key.clone(),
            ..Wish::default()
        };
        let reads = settle(&reader, around(policy));
        if let Ok(role) = &reads {
            assert!(!role.writes());
        }
        let untrusted = Wish {
            write: true,
            untrusted: true,
            key,
            ..Wish::default()
        };
        let role = settle(&untrusted, around(policy));
        if let Ok(role) = &role {
            assert!(!role.capabilities.iter().any(|one| one.needs_trust()));
        }
        (
            reads.is_ok(),
            class::of_result(&role, |role| role.capabilities.len()),
        )
    });
    class::of((
        class::of_result(&list, |_| ()),
        class::of_result(&name, |_| ()),
        file.map(|policy| policy.names().count().min(3))
            .map_err(|error| kind(&error.to_string())),
        settled,
    ))
}

/// The first words behind the place; the others quote the input.
fn kind(error: &str) -> String {
    let words = error.split_whitespace().skip(1).take(3);
    words.filter(|word| !word.contains('\'')).collect()
}

fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "[default]\nallow = [\"query\", \"dump\", \"import-ca\"]\nslots = 2\n",
        "[key.\"alice@laptop\"]\nview = \"own\"\nshare = true\nstored-bytes = \"20G\"\n",
        "[default]\nbuild-time = 3600\n\n[key.bob]\nweak-hashes = false\n",
        "query,dump,build-verified",
        "alice@laptop",
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}
