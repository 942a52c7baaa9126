use test_support::OneByteReader;

use super::*;

fn hello(magic: u64, version: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.write_u64(magic).unwrap();
    bytes.write_u64(version).unwrap();
    bytes
}

fn serve(bytes: &[u8]) -> (Result<VersionWord>, Vec<u8>) {
    let mut answer = Vec::new();
    let result = serve_handshake(
        VersionWord::OURS,
        &mut OneByteReader::new(bytes),
        &mut answer,
    );
    (result, answer)
}

#[test]
fn the_server_answers_before_it_has_the_version() {
    let ours = hello(SERVER_MAGIC, 0x1_0208);
    let (result, answer) = serve(&CLIENT_MAGIC.to_le_bytes());
    assert!(result.unwrap_err().is_eof());
    assert_eq!(answer, ours);
    let (result, answer) = serve(&hello(CLIENT_MAGIC, 0x205));
    assert_eq!(result.unwrap(), ServeVersion::v2(5).into());
    assert_eq!(answer, ours);
}

#[test]
fn a_wrong_magic_number_gets_no_answer() {
    for bytes in [hello(SERVER_MAGIC, 0x208), b"GET / HTTP/1.1\r\n".to_vec()] {
        let (result, answer) = serve(&bytes);
        assert!(matches!(result, Err(ProtoError::Mismatch { .. })));
        assert!(answer.is_empty());
    }
    let (result, _) = serve(b"GET / HTTP/1.1\r\n");
    insta::assert_snapshot!(result.unwrap_err(), @"protocol mismatch, got 'GET / HT'");
    assert!(matches!(serve(b"").0, Err(ProtoError::NoAnswer)));
}

#[test]
fn other_major_versions_and_wide_words_are_refused() {
    for (word, expected) in [
        (
            0x105,
            "unsupported protocol version 1.5: only major version 2 is spoken",
        ),
        (
            0x308,
            "unsupported protocol version 3.8: only major version 2 is spoken",
        ),
        (
            1 << 40 | 0x208,
            "serialised integer 1099511628296 is too large for the protocol version",
        ),
    ] {
        let error = serve(&hello(CLIENT_MAGIC, word)).0.unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn flags_of_clients_are_kept_apart_from_the_version() {
    let (result, answer) = serve(&hello(CLIENT_MAGIC, 0xffff_0207));
    let theirs = result.unwrap();
    assert_eq!(theirs.version, ServeVersion::v2(7));
    // What we can't do is not in force, whatever the other side can.
    assert_eq!(
        negotiate(VersionWord::OURS, theirs),
        VersionWord::from_u64(0x1_0207).unwrap()
    );
    assert_eq!(answer, hello(SERVER_MAGIC, 0x1_0208));
    // The other way round as well.
    let (result, _) = serve(&hello(CLIENT_MAGIC, 0xfffe_0208));
    let agreed = negotiate(VersionWord::OURS, result.unwrap());
    assert_eq!(agreed, ServeVersion::LATEST.into());
}
