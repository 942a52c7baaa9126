//! Store addresses.

use nix_serve::client::{Parameters, StoreAddress};
use test_support::vectors::{report, with_format};

#[test]
fn store_addresses_are_understood_as_by_real_nix() {
    let vectors = with_format("store-reference");
    for vector in &vectors {
        let text = String::from_utf8(vector.read()).unwrap();
        let name = vector.path.file_stem().unwrap().to_str().unwrap();
        let parsed = StoreAddress::parse(text.trim_end());
        if name == "local_shorthand_path_windows" {
            // A path of another system is no path here.
            assert!(parsed.is_err());
            continue;
        }
        check(
            name,
            parsed.unwrap_or_else(|error| panic!("{name}: {error}")),
        );
    }
    report("store-reference", vectors.len());
}

fn check(name: &str, address: StoreAddress) {
    let root = |path: &str| parameters(&[("root", path)]);
    match name {
        "auto" => assert_eq!(address, StoreAddress::Auto(Parameters::new())),
        "auto_param" => assert_eq!(address, StoreAddress::Auto(root("/foo/bar/baz"))),
        "local_3_no_percent" => assert_eq!(address, StoreAddress::Local(root("/foo bar/baz"))),
        "local_shorthand_1" => assert_eq!(address, StoreAddress::Local(root("/foo/bar/baz"))),
        "local_shorthand_3" => assert_eq!(address, StoreAddress::Local(Parameters::new())),
        "local_shorthand_path_unix" => {
            let expected = parameters(&[("root", "/foo/bar/baz"), ("trusted", "true")]);
            assert_eq!(address, StoreAddress::Local(expected));
        }
        "unix" => match address {
            StoreAddress::Other {
                scheme,
                authority,
                parameters: found,
            } => {
                assert_eq!((scheme.as_str(), authority.as_str()), ("unix", ""));
                let expected = parameters(&[("max-connections", "7"), ("trusted", "true")]);
                assert_eq!(found, expected);
            }
            other => panic!("{other:?}"),
        },
        _ => check_ssh(name, address),
    }
}

fn check_ssh(name: &str, address: StoreAddress) {
    const LONG: &str = "fea5:23e1:3916:fc24:cb52:2837:2ecb:ea8e";
    let zoned = format!("{LONG}%eth0");
    let some = [("a", "b"), ("c", "d")];
    let (user, host, expected): (_, _, &[_]) = match name {
        "ssh" => (None, "localhost", &[]),
        "ssh_unbracketed_ipv6_1" => (None, "::1", &[]),
        "ssh_unbracketed_ipv6_2" => (Some("userinfo"), LONG, &[]),
        "ssh_unbracketed_ipv6_3" => (Some("userinfo"), LONG, &some),
        "ssh_unbracketed_ipv6_4" | "ssh_unbracketed_ipv6_7" => {
            (Some("userinfo"), zoned.as_str(), &some)
        }
        "ssh_unbracketed_ipv6_8" => (None, zoned.as_str(), &some),
        "ssh_unbracketed_ipv6_9" => (None, zoned.as_str(), &[]),
        other => panic!("{other}: not known"),
    };
    let StoreAddress::Ssh(address) = address else {
        panic!("{name}: {address:?}");
    };
    assert_eq!(address.user.as_deref(), user, "{name}");
    assert_eq!(
        (address.host.as_str(), address.port),
        (host, None),
        "{name}"
    );
    assert_eq!(address.parameters, parameters(expected), "{name}");
}

fn parameters(pairs: &[(&str, &str)]) -> Parameters {
    pairs
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect()
}
