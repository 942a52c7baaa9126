use nix_base::StorePath;

use super::*;
use crate::{NarWriter, copy};

fn path(digit: char, name: &str) -> StorePath {
    StorePath::from_base_name(&format!("{}-{name}", digit.to_string().repeat(32))).unwrap()
}

fn trailers() -> Vec<ExportTrailer> {
    let (a, b) = (path('0', "a"), path('1', "b"));
    let references = StorePathSet::from([a.clone(), b.clone()]);
    vec![
        ExportTrailer {
            path: a,
            references: StorePathSet::new(),
            deriver: None,
        },
        ExportTrailer {
            path: b,
            references,
            deriver: Some(path('2', "b.drv")),
        },
    ]
}

fn stream() -> Vec<u8> {
    let mut writer = ExportWriter::new(Vec::new());
    for (i, trailer) in trailers().iter().enumerate() {
        writer.begin_archive().unwrap();
        let mut nar = NarWriter::new(writer.archive());
        nar.symlink(b"", format!("target-{i}").as_bytes()).unwrap();
        nar.finish().unwrap();
        writer.write_trailer(&StoreDir::default(), trailer).unwrap();
    }
    writer.finish().unwrap()
}

fn read(stream: &[u8]) -> Result<(Vec<ExportTrailer>, Vec<u8>)> {
    let mut reader = ExportReader::new(stream);
    let mut trailers = Vec::new();
    while reader.next_archive()? {
        copy(reader.archive(), &mut std::io::sink())?;
        trailers.push(reader.read_trailer(&StoreDir::default())?);
    }
    Ok((trailers, reader.into_inner().to_vec()))
}

#[test]
fn what_is_written_is_read_and_the_rest_is_left() {
    let mut bytes = stream();
    bytes.extend_from_slice(b"rest");
    let (read, rest) = read(&bytes).unwrap();
    assert_eq!(read, trailers());
    assert_eq!(rest, b"rest");
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = stream();
    for end in 0..bytes.len() {
        assert!(read(&bytes[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn an_old_signature_is_skipped() {
    let mut bytes = stream();
    let end = bytes.len();
    // The last flag, then the end of the stream.
    bytes.splice(end - 16..end - 8, [1, 0, 0, 0, 0, 0, 0, 0]);
    bytes.splice(end - 8..end - 8, *b"\x03\0\0\0\0\0\0\0sig\0\0\0\0\0");
    assert_eq!(read(&bytes).unwrap().0, trailers());
}

#[test]
fn refuses_wrong_markers_magics_and_flags() {
    let bytes = stream();
    let magic = bytes.windows(4).position(|w| w == b"NIXE").unwrap();
    for (at, problem) in [
        (0, ExportProblem::Marker),
        (magic, ExportProblem::Magic),
        (bytes.len() - 16, ExportProblem::SignatureFlag),
        (bytes.len() - 8, ExportProblem::Marker),
    ] {
        let mut bad = bytes.clone();
        bad[at] = 7;
        match read(&bad) {
            Err(Error::BadExport { problem: found, .. }) => assert_eq!(found, problem),
            other => panic!("at {at}: {other:?}"),
        }
    }
}

#[test]
fn errors_name_archive_and_field() {
    let mut bytes = stream();
    let path = bytes
        .windows(11)
        .rposition(|w| w == b"/nix/store/")
        .unwrap();
    bytes[path + 1] = b'x';
    let error = read(&bytes).unwrap_err();
    insta::assert_snapshot!(error, @"cannot transfer deriver of archive 2 of the export stream");
}
