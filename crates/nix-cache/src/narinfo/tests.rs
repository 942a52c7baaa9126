use nix_base::arbitrary;
use proptest::prelude::*;

use super::*;

const TEXT: &str = "\
StorePath: /nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-a
URL: nar/1w1fff338fvdw53sqgamddn1b2xgds473pv6y13gizdbqjv4i5p3.nar.xz
Compression: xz
FileHash: sha256:1w1fff338fvdw53sqgamddn1b2xgds473pv6y13gizdbqjv4i5p3
FileSize: 77
NarHash: sha256:0rsv7kag23nvdpy4500mv2m0b4sm4c8fkgqrfsrmv1kgk77bi81c
NarSize: 120
References: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-a bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-b
Deriver: cccccccccccccccccccccccccccccccc-a.drv
Sig: k:AA==
CA: fixed:r:sha256:0rsv7kag23nvdpy4500mv2m0b4sm4c8fkgqrfsrmv1kgk77bi81c
";

fn parse(text: &str) -> Result<NarInfo, NarInfoError> {
    NarInfo::parse(text, &StoreDir::default())
}

fn without(key: &str) -> String {
    let lines = TEXT.lines().filter(|line| !line.starts_with(key));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn all_fields_are_read_and_printed_as_they_were() {
    let narinfo = parse(TEXT).unwrap();
    assert_eq!(
        narinfo.info.path.to_string(),
        format!("{}-a", "a".repeat(32))
    );
    assert_eq!(narinfo.info.references.len(), 2);
    assert_eq!(narinfo.file_size, Some(77));
    assert!(narinfo.info.ca.is_some());
    assert_eq!(narinfo.print(&StoreDir::default()), TEXT);
}

#[test]
fn what_may_be_missing_has_a_default() {
    assert_eq!(parse(&without("Compression")).unwrap().compression, "bzip2");
    assert_eq!(parse(&without("Deriver")).unwrap().info.deriver, None);
    let unknown = TEXT.replace("cccccccccccccccccccccccccccccccc-a.drv", "unknown-deriver");
    assert_eq!(parse(&unknown).unwrap().info.deriver, None);
    assert!(
        parse(&without("References"))
            .unwrap()
            .info
            .references
            .is_empty()
    );
    assert_eq!(parse(&format!("{TEXT}System: x\n")), parse(TEXT));
}

#[test]
fn what_must_be_there_is_named() {
    for key in ["StorePath", "URL", "NarHash", "NarSize"] {
        let missing = match key {
            "StorePath" => NarInfoError::Missing("StorePath"),
            "URL" => NarInfoError::Missing("URL"),
            "NarHash" => NarInfoError::Missing("NarHash"),
            _ => NarInfoError::Missing("NarSize"),
        };
        assert_eq!(parse(&without(key)), Err(missing));
    }
}

#[test]
fn bad_lines_are_told_by_their_numbers() {
    for (from, to, error) in [
        (
            "NarSize: 120",
            "NarSize: 0",
            "line 7: '0' is no value for 'NarSize'",
        ),
        (
            "NarSize: 120",
            "NarSize: +1",
            "line 7: '+1' is no value for 'NarSize'",
        ),
        (
            "NarSize: 120",
            "NarSize",
            "line 7 is not of the form 'key: value'",
        ),
        (
            "FileSize: 77",
            "URL: x",
            "line 5 has 'URL' for the second time",
        ),
        (
            "URL: nar/",
            "URL: \nX: ",
            "line 2: '' is no value for 'URL'",
        ),
        (
            "Deriver: cc",
            "Deriver: ../cc",
            "line 9: '../cccccccccccccccccccccccccccccccc-a.drv' is no value for 'Deriver'",
        ),
    ] {
        let text = TEXT.replace(from, to);
        assert_eq!(parse(&text).unwrap_err().to_string(), error);
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(info in arbitrary::valid_path_info()) {
        prop_assume!(info.nar_size != 0);
        let mut info = info;
        info.info.ultimate = false;
        info.info.registration_time = 0;
        let narinfo = NarInfo {
            info,
            url: "nar/x".to_owned(),
            compression: "none".to_owned(),
            file_hash: None,
            file_size: None,
        };
        let dir = StoreDir::default();
        prop_assert_eq!(NarInfo::parse(&narinfo.print(&dir), &dir), Ok(narinfo));
    }

    #[test]
    fn no_text_makes_it_panic(text in ".*") {
        let _ = parse(&text);
    }
}
