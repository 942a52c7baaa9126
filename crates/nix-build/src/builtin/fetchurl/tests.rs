//! Downloads from a server in this process, on 127.0.0.1.

mod server;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use self::server::{AUTHORITY, Reply, Server};
use super::*;
use crate::builtin::{BuiltinError, FixedOutput};

struct Fetch {
    place: TempDir,
    call: BuiltinCall,
}

impl Fetch {
    fn new(url: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let call = BuiltinCall {
            name: "fetchurl".to_owned(),
            env: BTreeMap::from([(b"url".to_vec(), url.as_bytes().to_vec())]),
            structured_attrs: None,
            outputs: BTreeMap::from([("out".to_owned(), place.path().join("out"))]),
            ca_bundle: None,
            netrc: None,
            hashed_mirrors: Vec::new(),
            fixed: Some(FixedOutput {
                algo: "sha256".to_owned(),
                hex: "abc123".to_owned(),
                flat: true,
            }),
            impure: false,
            connect_timeout: 5,
            public_only: false,
            build_dir: place.path().to_owned(),
        };
        Self { place, call }
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.call.env.insert(name.into(), value.into());
        self
    }

    fn out(&self) -> std::path::PathBuf {
        self.place.path().join("out")
    }

    fn run(&self) -> Result<Vec<u8>, BuiltinError> {
        let patience = Patience {
            attempts: 3,
            first_wait: Duration::from_millis(1),
            stalled: Duration::from_secs(20),
        };
        run_patiently(&self.call, patience)?;
        Ok(fs::read(self.out()).unwrap())
    }

    fn error(&self) -> String {
        let error = self.run().unwrap_err();
        assert!(fs::symlink_metadata(self.out()).is_err(), "nothing is left");
        say::with_causes(&error)
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn nar_of_a_tree() -> Vec<u8> {
    let tree = tempfile::tempdir().unwrap();
    fs::create_dir(tree.path().join("d")).unwrap();
    fs::write(tree.path().join("d/f"), "contents").unwrap();
    let mut nar = Vec::new();
    nix_nar::fs::dump::dump(tree.path(), &mut nar).unwrap();
    nar
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn files_are_copied() {
    let source = tempfile::tempdir().unwrap();
    let path = source.path().join("with space");
    fs::write(&path, "hello\n").unwrap();
    let url = format!("file://{}/with%20space", source.path().display());
    let fetch = Fetch::new(&url);
    assert_eq!(fetch.run().unwrap(), b"hello\n");
    assert_eq!(mode(&fetch.out()), 0o644);
    let fetch = Fetch::new(&url).set("executable", "1");
    fetch.run().unwrap();
    assert_eq!(mode(&fetch.out()), 0o755);
}

#[test]
fn missing_files_and_directories_are_errors() {
    let error = Fetch::new("file:///nonexistent/x").error();
    assert!(
        error.starts_with("unable to download 'file:///nonexistent/x': No such"),
        "{error}"
    );
    let error = Fetch::new("file:///").error();
    assert!(error.contains("Is a directory"), "{error}");
}

#[test]
fn must_be_fixed_or_impure() {
    let mut fetch = Fetch::new("file:///dev/null");
    fetch.call.fixed = None;
    assert_eq!(
        fetch.error(),
        "'builtin:fetchurl' must be a fixed-output or impure derivation"
    );
    fetch.call.impure = true;
    assert_eq!(fetch.run().unwrap(), b"");
}

#[test]
fn an_address_is_needed() {
    let mut fetch = Fetch::new("");
    fetch.call.env.clear();
    assert_eq!(fetch.error(), "attribute 'url' missing");
    fetch.call.structured_attrs = Some(br#"{"url":"file:///dev/null"}"#.to_vec());
    assert_eq!(fetch.run().unwrap(), b"");
}

#[test]
fn archives_are_unpacked() {
    let nar = nar_of_a_tree();
    let server = Server::start(move |request| match request.path() {
        "/t.nar" => Reply::ok(&nar),
        _ => Reply::ok(&xz(&nar)),
    });
    for name in ["t.nar", "t.nar.xz"] {
        let fetch = Fetch::new(&server.url(name)).set("unpack", "1");
        run_patiently(&fetch.call, Patience::default()).unwrap();
        assert_eq!(fs::read(fetch.out().join("d/f")).unwrap(), b"contents");
    }
    // Without `unpack` the compressed bytes are what was asked for.
    assert!(
        Fetch::new(&server.url("t.nar.xz"))
            .run()
            .unwrap()
            .starts_with(b"\xfd7zXZ")
    );
}

#[test]
fn what_cannot_be_unpacked_leaves_nothing() {
    let mut nar = nar_of_a_tree();
    nar.truncate(nar.len() - 100);
    let server = Server::start(move |_| Reply::ok(&nar));
    let error = Fetch::new(&server.url("t.nar")).set("unpack", "1").error();
    assert!(error.starts_with("cannot unpack 'http://"), "{error}");
    let error = Fetch::new(&server.url("t.nar.xz"))
        .set("unpack", "1")
        .error();
    assert!(error.starts_with("cannot unpack 'http://"), "{error}");
}

#[test]
fn redirects_are_followed_a_few_times() {
    let server = Server::start(|request| match request.path() {
        "/a/start" => Reply::redirect(301, "next"),
        "/a/next" => Reply::redirect(307, "/end?x=y"),
        "/end?x=y" => Reply::ok(b"found"),
        "/file" => Reply::redirect(302, "file:///etc/passwd"),
        _ => Reply::redirect(302, "/loop"),
    });
    assert_eq!(Fetch::new(&server.url("a/start")).run().unwrap(), b"found");
    let error = Fetch::new(&server.url("loop")).error();
    assert!(error.contains("more than 10 redirects"), "{error}");
    let error = Fetch::new(&server.url("file")).error();
    assert!(
        error.contains("redirects to 'file:///etc/passwd'"),
        "{error}"
    );
}

#[test]
fn refusals_are_reported_once_with_address_and_status() {
    let server = Server::start(|_| Reply::status(404, b"not\x1b[31m here"));
    let error = Fetch::new(&server.url("x")).error();
    assert_eq!(
        error,
        format!(
            "unable to download '{}': HTTP error 404\n\nresponse body:\n\nnot[31m here",
            server.url("x")
        )
    );
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn faults_of_the_server_are_tried_again() {
    let server = Server::counting(|count, _| match count {
        1 => Reply::status(503, b""),
        2 => Reply::cut_short(b"hel", 6),
        _ => Reply::ok(b"hello\n"),
    });
    assert_eq!(Fetch::new(&server.url("x")).run().unwrap(), b"hello\n");
    assert_eq!(server.requests().len(), 3);

    let server = Server::start(|_| Reply::status(500, b""));
    let error = Fetch::new(&server.url("x")).error();
    assert!(error.ends_with("HTTP error 500"), "{error}");
    assert_eq!(server.requests().len(), 3);

    let server = Server::start(|_| Reply::cut_short(b"hel", 6));
    let error = Fetch::new(&server.url("x")).error();
    assert!(error.starts_with("unable to download 'http://"), "{error}");
}

#[test]
fn nobody_listening_is_an_error() {
    let url = Server::start(|_| Reply::ok(b"")).stop();
    let error = Fetch::new(&url).error();
    assert!(error.to_lowercase().contains("refused"), "{error}");
}

#[test]
fn passwords_go_to_their_host_alone() {
    let server = Server::start(|request| match request.header("authorization") {
        // u:p w
        Some("Basic dTpwIHc=") => Reply::ok(b"in"),
        Some(_) => Reply::status(403, b""),
        None => Reply::status(401, b""),
    });
    let netrc = b"machine 127.0.0.1 login u password \"p w\"\n".to_vec();
    let mut fetch = Fetch::new(&server.url("x"));
    assert!(fetch.error().contains("HTTP error 401"));
    fetch.call.netrc = Some(netrc.clone());
    assert_eq!(fetch.run().unwrap(), b"in");
    let url = server.url("x").replace("//", "//u:p%20w@");
    assert_eq!(Fetch::new(&url).run().unwrap(), b"in");

    // The same machine by another name gets nothing.
    let inner = server.url("x").replace("127.0.0.1", "localhost");
    let outer = Server::start(move |_| Reply::redirect(302, &inner));
    let mut fetch = Fetch::new(&outer.url("x").replace("//", "//a:b@"));
    fetch.call.netrc = Some(netrc);
    assert!(fetch.error().contains("HTTP error 401"));
    assert_eq!(
        server.requests().last().unwrap().header("authorization"),
        None
    );
}

#[test]
fn flat_outputs_are_looked_for_on_the_mirrors_first() {
    let server = Server::start(|request| match request.path() {
        "/m2/sha256/abc123" => Reply::ok(b"mirrored"),
        "/x" => Reply::ok(b"original"),
        _ => Reply::status(404, b""),
    });
    let mut fetch = Fetch::new(&server.url("x"));
    fetch.call.hashed_mirrors = vec![server.url("m1"), server.url("m2/")];
    assert_eq!(fetch.run().unwrap(), b"mirrored");
    let paths: Vec<String> = server
        .requests()
        .iter()
        .map(|r| r.path().to_owned())
        .collect();
    assert_eq!(paths, ["/m1/sha256/abc123", "/m2/sha256/abc123"]);

    let mut fetch = Fetch::new(&server.url("x"));
    fetch.call.hashed_mirrors = vec![server.url("m1")];
    assert_eq!(fetch.run().unwrap(), b"original");

    let mut fetch = Fetch::new(&server.url("x"));
    fetch.call.hashed_mirrors = vec![server.url("m2")];
    fetch.call.fixed.as_mut().unwrap().flat = false;
    assert_eq!(fetch.run().unwrap(), b"original");
}

#[test]
fn proxies_of_the_builder_are_used() {
    let server = Server::start(|_| Reply::ok(b"direct"));
    let dead = Server::start(|_| Reply::ok(b"")).stop();
    let fetch = Fetch::new(&server.url("x")).set("http_proxy", &dead);
    assert!(fetch.run().is_err());
    let fetch = fetch.set("no_proxy", "127.0.0.1");
    assert_eq!(fetch.run().unwrap(), b"direct");
}

#[test]
fn without_certificates_nothing_is_fetched_securely() {
    let server = Server::start(|_| Reply::ok(b""));
    let url = server.url("x").replace("http:", "https:");
    let mut fetch = Fetch::new(&url);
    assert!(fetch.error().contains("no certificates are configured"));
    assert_eq!(server.requests().len(), 0);
    fetch.call.ca_bundle = Some(b"nothing of use".to_vec());
    assert!(fetch.error().starts_with("unable to download 'https://"));
}

#[test]
fn only_the_given_certificates_are_trusted() {
    let server = Server::secure("127.0.0.1", |_| Reply::ok(b"secret"));
    let mut fetch = Fetch::new(&server.url("x"));
    fetch.call.ca_bundle = Some([b"# a comment\n", AUTHORITY].concat());
    assert_eq!(fetch.run().unwrap(), b"secret");
    let fetched = server.requests().len();

    // Another authority, a certificate that isn't one, none at all.
    for bundle in [include_bytes!("tests/server.pem").to_vec(), Vec::new()] {
        let mut fetch = Fetch::new(&server.url("x"));
        fetch.call.ca_bundle = Some(bundle);
        let error = fetch.error();
        assert!(error.contains("certificate"), "{error}");
    }
    assert_eq!(server.requests().len(), fetched, "no request was sent");

    // The certificate is for another name.
    let server = Server::secure("127.0.0.2", |_| Reply::ok(b"secret"));
    let mut fetch = Fetch::new(&server.url("x"));
    fetch.call.ca_bundle = Some(AUTHORITY.to_vec());
    let error = fetch.error();
    assert!(error.contains("certificate"), "{error}");
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn large_files_arrive_whole() {
    let body: Vec<u8> = (0..8_000_000u32).flat_map(u32::to_le_bytes).collect();
    let copy = body.clone();
    let server = Server::start(move |_| Reply::ok(&copy));
    assert!(Fetch::new(&server.url("x")).run().unwrap() == body);
}
