//! `builtin:unpack-channel`, and files that `builtin:fetchurl` copies.

use std::fs;
use std::io::Write;

use serde_json::json;

use super::{Bench, peers};
use crate::builtin::unpack_channel::archives;

#[test]
fn channels_are_those_of_real_nix() {
    for peer in peers() {
        let mut bench = Bench::new(peer);
        for (name, bytes) in archives::good().into_iter().chain(archives::bad()) {
            let mut file = tempfile::Builder::new().prefix("src").tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            let src = bench.add(file.path());
            bench.case(
                name,
                "unpack-channel",
                json!({ "channelName": "chan nel", "src": src }),
            );
        }
        let src = {
            let place = tempfile::tempdir().unwrap();
            let path = place.path().join("src");
            fs::write(&path, &archives::good()[0].1).unwrap();
            bench.add(&path)
        };
        for (name, channel) in [("n1", "a/b"), ("n2", ".."), ("n3", "."), ("n4", "")] {
            bench.case(
                name,
                "unpack-channel",
                json!({ "channelName": channel, "src": src }),
            );
        }
        bench.case("o1-no-name", "unpack-channel", json!({ "src": src }));
        bench.case(
            "o2-no-source",
            "unpack-channel",
            json!({ "channelName": "x" }),
        );
        // 2.26 unpacks absolute names where they say, 2.8 takes no set-user-ID modes.
        let mut known = Vec::new();
        if !peer.is_at_least(2, 27) {
            known.push("absolute");
        }
        if !peer.is_at_least(2, 9) {
            known.push("modes");
        }
        bench.compare(&known);
    }
}

#[test]
fn files_are_copied_as_by_real_nix() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("a b"), "hello\n").unwrap();
    let url = format!("file://{}", place.path().display());
    for peer in peers() {
        let mut bench = Bench::new(peer);
        for (name, url) in [
            ("plain", format!("{url}/a%20b")),
            ("missing", format!("{url}/c")),
            ("nowhere", "nonsense".to_owned()),
        ] {
            bench.case(
                name,
                "fetchurl",
                json!({
                    "url": url,
                    "outputHashMode": "flat",
                    "outputHashAlgo": "sha256",
                    "outputHash":
                        "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
                }),
            );
        }
        bench.compare(&[]);
    }
}
