//! A server for tests: one thread, one request a connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Signs the certificate of [`Server::secure`]. Its key is gone.
pub(super) const AUTHORITY: &[u8] = include_bytes!("authority.pem");

/// What a client asked for.
#[derive(Debug, Clone)]
pub(super) struct Request {
    lines: Vec<String>,
}

impl Request {
    pub(super) fn path(&self) -> &str {
        self.lines[0].split(' ').nth(1).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.lines[1..].iter().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// What it gets.
pub(super) struct Reply {
    bytes: Vec<u8>,
}

impl Reply {
    pub(super) fn ok(body: &[u8]) -> Self {
        Self::new(200, "", body, body.len())
    }

    pub(super) fn status(status: u16, body: &[u8]) -> Self {
        Self::new(status, "", body, body.len())
    }

    pub(super) fn redirect(status: u16, location: &str) -> Self {
        Self::new(status, &format!("Location: {location}\r\n"), b"", 0)
    }

    /// Less than was promised.
    pub(super) fn cut_short(body: &[u8], promised: usize) -> Self {
        Self::new(200, "", body, promised)
    }

    fn new(status: u16, header: &str, body: &[u8], length: usize) -> Self {
        let mut bytes = format!(
            "HTTP/1.1 {status} Status\r\n{header}Content-Length: {length}\r\n\
             Connection: close\r\n\r\n"
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        Self { bytes }
    }
}

pub(super) struct Server {
    scheme: &'static str,
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(answer: impl Fn(&Request) -> Reply + Send + 'static) -> Self {
        Self::counting(move |_, request| answer(request))
    }

    /// Tells the number of the request as well, from 1.
    pub(super) fn counting(answer: impl Fn(usize, &Request) -> Reply + Send + 'static) -> Self {
        Self::run("http", "127.0.0.1", move |mut connection, requests| {
            serve(&mut connection, requests, &answer);
        })
    }

    /// Speaks https, with a certificate of [`AUTHORITY`] for `localhost` and 127.0.0.1.
    pub(super) fn secure(
        address: &'static str,
        answer: impl Fn(&Request) -> Reply + Send + 'static,
    ) -> Self {
        let config = Arc::new(secure_config());
        Self::run("https", address, move |connection, requests| {
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(session, connection);
            serve(&mut stream, requests, &|_, request| answer(request));
            stream.conn.send_close_notify();
            // The client may be gone.
            let _ = stream.flush();
        })
    }

    fn run(
        scheme: &'static str,
        address: &'static str,
        handle: impl Fn(TcpStream, &Mutex<Vec<Request>>) + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (requests, ended) = (Arc::clone(&requests), Arc::clone(&ended));
            move || {
                for connection in listener.incoming() {
                    if ended.load(Ordering::SeqCst) {
                        break;
                    }
                    handle(connection.unwrap(), &requests);
                }
            }
        });
        Self {
            scheme,
            address,
            requests,
            ended,
            thread: Some(thread),
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}://{}/{path}", self.scheme, self.address)
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Stops it, and gives an address where nobody listens any more.
    pub(super) fn stop(self) -> String {
        self.url("")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes it up; if it has died there is nothing to wake.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    connection: &mut (impl Read + Write),
    requests: &Mutex<Vec<Request>>,
    answer: &impl Fn(usize, &Request) -> Reply,
) {
    let mut lines = Vec::new();
    for line in BufReader::new(&mut *connection).lines() {
        // Not a request, such as the beginning of a secure connection.
        let Ok(line) = line else { return };
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    if lines
        .first()
        .is_none_or(|line| line.split(' ').count() != 3)
    {
        return;
    }
    let request = Request { lines };
    let count = {
        let mut requests = requests.lock().unwrap();
        requests.push(request.clone());
        requests.len()
    };
    // A client may have had enough.
    let _ = connection.write_all(&answer(count, &request).bytes);
}

/// The key is that of a certificate that nobody but these tests trusts.
fn secure_config() -> ServerConfig {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap()
}
