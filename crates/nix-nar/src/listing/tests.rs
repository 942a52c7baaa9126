use super::*;
use crate::NarWriter;

fn sample() -> Vec<u8> {
    let mut nar = NarWriter::new(Vec::new());
    nar.directory(b"").unwrap();
    nar.regular(b"a", false, 6).unwrap();
    nar.contents(b"hello\n").unwrap();
    nar.regular(b"b", true, 4).unwrap();
    nar.contents(b"text").unwrap();
    nar.regular(b"empty", false, 0).unwrap();
    nar.symlink(b"l", b"a").unwrap();
    nar.directory("s\"\u{e9}\n".as_bytes()).unwrap();
    nar.regular(b"x", false, 1).unwrap();
    nar.contents(b"x").unwrap();
    nar.end_directory().unwrap();
    nar.directory(b"void").unwrap();
    nar.end_directory().unwrap();
    nar.end_directory().unwrap();
    nar.finish().unwrap().0
}

fn list(nar: &[u8]) -> Result<String> {
    let mut out = Vec::new();
    write_listing(&mut NarReader::new(nar), &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn lists_every_node_with_its_offset() {
    let nar = sample();
    let json = list(&nar).unwrap();
    insta::assert_snapshot!(json, @r#"{"version":1,"root":{"type":"directory","entries":{"a":{"type":"regular","size":6,"narOffset":232},"b":{"type":"regular","size":4,"executable":true,"narOffset":456},"empty":{"type":"regular","size":0,"narOffset":648},"l":{"type":"symlink","target":"a"},"s\"é\n":{"type":"directory","entries":{"x":{"type":"regular","size":1,"narOffset":1160}}},"void":{"type":"directory","entries":{}}}}}"#);
    let ListingNode::Directory { entries } = ListingNode::parse(json.as_bytes()).unwrap() else {
        panic!("{json}");
    };
    let ListingNode::Regular {
        size: 6,
        executable: false,
        nar_offset: Some(offset),
    } = entries["a"]
    else {
        panic!("{:?}", entries["a"]);
    };
    let offset = usize::try_from(offset).unwrap();
    assert_eq!(&nar[offset..offset + 6], b"hello\n");
    assert!(matches!(
        entries["b"],
        ListingNode::Regular {
            executable: true,
            ..
        }
    ));
    assert_eq!(entries["l"], ListingNode::Symlink { target: "a".into() });
    assert_eq!(
        entries["void"],
        ListingNode::Directory {
            entries: BTreeMap::new()
        }
    );
    assert!(entries.contains_key("s\"\u{e9}\n"));
}

#[test]
fn a_root_may_be_a_file_or_a_link() {
    let mut nar = Vec::new();
    crate::write_regular(b"", true, &mut nar).unwrap();
    insta::assert_snapshot!(list(&nar).unwrap(), @r#"{"version":1,"root":{"type":"regular","size":0,"executable":true,"narOffset":128}}"#);
    let mut nar = NarWriter::new(Vec::new());
    nar.symlink(b"", b"x").unwrap();
    insta::assert_snapshot!(list(&nar.finish().unwrap().0).unwrap(), @r#"{"version":1,"root":{"type":"symlink","target":"x"}}"#);
}

#[test]
fn names_and_targets_that_are_not_utf8_are_refused_with_their_path() {
    for (name, target) in [(&b"\xff"[..], &b"t"[..]), (b"n", b"\xff")] {
        let mut nar = NarWriter::new(Vec::new());
        nar.directory(b"").unwrap();
        nar.directory(b"d").unwrap();
        nar.symlink(name, target).unwrap();
        nar.end_directory().unwrap();
        nar.end_directory().unwrap();
        match list(&nar.finish().unwrap().0) {
            Err(Error::NotUtf8 { path }) => assert_eq!(path, [b"d/", name].concat()),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn reads_what_other_writers_write() {
    let json =
        br#"{"root":{"executable":false,"narOffset":0,"size":3,"type":"regular"},"version":1}"#;
    let node = ListingNode::parse(json).unwrap();
    let expected = ListingNode::Regular {
        size: 3,
        executable: false,
        nar_offset: None,
    };
    assert_eq!(node, expected);
}

#[test]
fn refuses_what_is_no_listing() {
    for (json, why) in [
        ("", "bad listing"),
        ("[]", "'version'"),
        (r#"{"version":2,"root":{}}"#, "'version'"),
        (r#"{"version":1}"#, "'root'"),
        (r#"{"version":1,"root":{"type":"fifo"}}"#, "'type'"),
        (r#"{"version":1,"root":{"type":"regular"}}"#, "'size'"),
        (
            r#"{"version":1,"root":{"type":"regular","size":-1}}"#,
            "'size'",
        ),
        (
            r#"{"version":1,"root":{"type":"symlink","target":1}}"#,
            "'target'",
        ),
        (r#"{"version":1,"root":{"type":"directory"}}"#, "'entries'"),
        (
            r#"{"version":1,"root":{"type":"directory","entries":{"..":{}}}}"#,
            "name",
        ),
        (
            r#"{"version":1,"root":{"type":"directory","entries":{"a":1}}}"#,
            "'a'",
        ),
    ] {
        let error = ListingNode::parse(json.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(why), "{json}: {error}");
    }
}

#[test]
fn hostile_depth_is_an_error() {
    let open = r#"{"type":"directory","entries":{"d":"#;
    let json = format!(r#"{{"version":1,"root":{}"#, open.repeat(100_000));
    assert!(matches!(
        ListingNode::parse(json.as_bytes()),
        Err(Error::ListingSyntax { .. })
    ));
}
