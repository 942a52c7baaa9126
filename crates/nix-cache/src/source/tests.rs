use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use tempfile::TempDir;

use super::*;

const NARINFO: &str = "\
StorePath: /nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-a
URL: nar/a.nar
Compression: none
NarHash: sha256:0rsv7kag23nvdpy4500mv2m0b4sm4c8fkgqrfsrmv1kgk77bi81c
NarSize: 120
";

fn path(name: &str) -> StorePath {
    StorePath::from_base_name(&format!("{}-{name}", "a".repeat(32))).unwrap()
}

fn cache_with(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("nar")).unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn open(dir: &TempDir) -> Result<CacheSource> {
    let address = format!("file://{}?compression=none", dir.path().display());
    CacheSource::open(&address, &StoreDir::default(), &CacheOptions::default())
}

fn archive(cache: &CacheSource, narinfo: &NarInfo) -> String {
    let mut text = String::new();
    cache
        .archive(narinfo)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    text
}

#[test]
fn objects_are_found_in_a_directory() {
    let hash = "a".repeat(32);
    let dir = cache_with(&[
        ("nix-cache-info", "StoreDir: /nix/store\nPriority: 40\n"),
        (&format!("{hash}.narinfo"), NARINFO),
        ("nar/a.nar", "the archive"),
    ]);
    let cache = open(&dir).unwrap();
    let narinfo = cache.query(&path("a")).unwrap().unwrap();
    assert_eq!(archive(&cache, &narinfo), "the archive");
    assert_eq!(cache.query(&path("b")).unwrap(), None);
    let other = StorePath::from_base_name(&format!("{}-a", "b".repeat(32))).unwrap();
    assert_eq!(cache.query(&other).unwrap(), None);
}

#[test]
fn what_is_no_cache_for_this_store_is_refused() {
    let none = open(&cache_with(&[])).unwrap_err().to_string();
    assert!(
        none.contains("does not appear to be a binary cache"),
        "{none}"
    );
    let dir = cache_with(&[("nix-cache-info", "StoreDir: /gnu/store\n")]);
    let other = open(&dir).unwrap_err().to_string();
    assert!(other.contains("'/gnu/store', not '/nix/store'"), "{other}");
    let error = CacheSource::open("s3://x", &StoreDir::default(), &CacheOptions::default());
    assert!(error.unwrap_err().to_string().contains("'s3://x'"));
}

#[test]
fn names_that_lead_out_of_the_cache_are_refused() {
    let dir = cache_with(&[("nix-cache-info", "")]);
    let cache = open(&dir).unwrap();
    let mut narinfo = NarInfo::parse(NARINFO, &StoreDir::default()).unwrap();
    for name in ["../x", "/etc/passwd", "nar/../../x"] {
        narinfo.url = name.to_owned();
        let error = cache.archive(&narinfo).unwrap_err();
        assert!(
            matches!(error, CacheError::Outside { .. }),
            "{name}: {error}"
        );
    }
    narinfo.url = "nar/gone".to_owned();
    let error = cache.archive(&narinfo).unwrap_err();
    assert!(matches!(error, CacheError::Missing { .. }), "{error}");
}

#[test]
fn a_description_without_end_is_not_read() {
    let hash = "a".repeat(32);
    let long = "x".repeat(usize::try_from(LONGEST_TEXT).unwrap() + 1);
    let dir = cache_with(&[("nix-cache-info", ""), (&format!("{hash}.narinfo"), &long)]);
    let error = open(&dir).unwrap().query(&path("a")).unwrap_err();
    assert!(matches!(error, CacheError::TooLong { .. }), "{error}");
}

/// Answers requests one after the other; gives what was asked for.
fn serve(answers: Vec<(u16, &'static str)>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for (status, body) in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut first = String::new();
            reader.read_line(&mut first).unwrap();
            asked.push(first.split(' ').nth(1).unwrap().to_owned());
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            let length = body.len();
            write!(
                reader.get_mut(),
                "HTTP/1.1 {status} x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
            .unwrap();
        }
        asked
    });
    (address, server)
}

#[test]
fn objects_are_found_on_a_server() {
    let (address, server) = serve(vec![
        (200, "StoreDir: /nix/store\n"),
        (503, ""),
        (200, NARINFO),
        (200, "the archive"),
        (404, ""),
    ]);
    let address = format!("{address}/cache/");
    let cache =
        CacheSource::open(&address, &StoreDir::default(), &CacheOptions::default()).unwrap();
    let narinfo = cache.query(&path("a")).unwrap().unwrap();
    assert_eq!(archive(&cache, &narinfo), "the archive");
    assert_eq!(cache.query(&path("a")).unwrap(), None);
    let file = format!("/cache/{}.narinfo", "a".repeat(32));
    let asked = [
        "/cache/nix-cache-info",
        &file,
        &file,
        "/cache/nar/a.nar",
        &file,
    ];
    assert_eq!(server.join().unwrap(), asked);
}

#[test]
fn a_server_that_refuses_is_named_with_its_answer() {
    let (address, server) = serve(vec![(400, "")]);
    let error = CacheSource::open(&address, &StoreDir::default(), &CacheOptions::default());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("HTTP status 400"), "{error}");
    server.join().unwrap();
}

#[test]
fn a_server_that_falls_silent_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let mut streams = Vec::new();
        for body in ["StoreDir: /nix/store\n", NARINFO, "half of it"] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = BufReader::new(stream.try_clone().unwrap()).lines();
            while asked.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let length = match body {
                "half of it" => 20,
                whole => whole.len(),
            };
            write!(
                stream,
                "HTTP/1.1 200 x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
            .unwrap();
            streams.push(stream);
        }
        streams
    });
    let options = CacheOptions {
        stalled: Some(Duration::from_millis(200)),
        attempts: 1,
        ..CacheOptions::default()
    };
    let cache = CacheSource::open(&address, &StoreDir::default(), &options).unwrap();
    let narinfo = cache.query(&path("a")).unwrap().unwrap();
    let mut archive = cache.archive(&narinfo).unwrap();
    let mut text = String::new();
    let error = archive.read_to_string(&mut text).unwrap_err();
    assert!(error.to_string().contains("timeout"), "{error}");
    let streams = server.join().unwrap();
    drop(streams);
    assert!(cache.query(&path("a")).unwrap_err().is_unreachable());
}
