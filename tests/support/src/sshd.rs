//! A real sshd on 127.0.0.1 with a key of its own.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use crate::say::say_missing;
use crate::verify::run_ok;

/// An ssh server that knows one key, with a forced command.
///
/// The test listens itself and starts one `sshd -i` for each connection, so
/// that nobody else can take the port.
#[derive(Debug)]
pub struct Sshd {
    directory: TempDir,
    port: u16,
    children: Arc<Mutex<Vec<Child>>>,
}

impl Sshd {
    /// Starts to listen; every login with the key runs `forced_command`
    /// through the login shell. Nothing if there is no OpenSSH or no root,
    /// after saying so.
    ///
    /// # Panics
    /// If it can't be had and `CI=true`, or its files can't be written.
    pub fn start(forced_command: &str) -> Option<Self> {
        let Some(sshd) = find_sshd() else {
            say_missing("sshd and ssh: the test with a real ssh does nothing", true);
            return None;
        };
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        write_files(directory.path(), forced_command);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of 127.0.0.1");
        let port = listener.local_addr().expect("the port's number").port();
        let children = Arc::default();
        let (config, shared) = (directory.path().join("sshd_config"), Arc::clone(&children));
        // Ends with the test program; it holds nothing but the port.
        std::thread::spawn(move || serve(&sshd, &config, &listener, &shared));
        Some(Self {
            directory,
            port,
            children,
        })
    }

    /// Options for ssh that reach this server.
    pub fn options(&self) -> String {
        format!(
            "-p {} -i {} -F none -o IdentitiesOnly=yes -o BatchMode=yes \
             -o StrictHostKeyChecking=yes -o UserKnownHostsFile={}",
            self.port,
            self.directory.path().join("client").display(),
            self.directory.path().join("known_hosts").display(),
        )
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.children.lock().expect("no holder panics").len()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        for child in self.children.lock().expect("no holder panics").iter_mut() {
            // Those that ended by themselves are only reaped here.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn find_sshd() -> Option<PathBuf> {
    let tools = ["/usr/bin/ssh", "/usr/bin/ssh-keygen"];
    let found = tools.iter().all(|tool| Path::new(tool).is_file());
    let sshd = Path::new("/usr/sbin/sshd");
    (found && sshd.is_file() && rustix::process::geteuid().is_root()).then(|| sshd.to_owned())
}

fn write_files(directory: &Path, forced_command: &str) {
    for name in ["client", "host"] {
        let mut keygen = Command::new("ssh-keygen");
        keygen
            .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
            .arg(directory.join(name));
        run_ok(keygen);
    }
    let public = |name: &str| {
        fs::read_to_string(directory.join(name).with_extension("pub")).expect("a public key")
    };
    let quoted = forced_command.replace('"', "\\\"");
    fs::write(
        directory.join("authorized_keys"),
        format!("command=\"{quoted}\",restrict {}", public("client")),
    )
    .expect("authorized_keys can be written");
    fs::write(
        directory.join("known_hosts"),
        format!("* {}", public("host")),
    )
    .expect("known_hosts can be written");
    fs::write(
        directory.join("sshd_config"),
        format!(
            "HostKey {0}/host\nAuthorizedKeysFile {0}/authorized_keys\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n\
             PidFile none\nLogLevel ERROR\n",
            directory.display()
        ),
    )
    .expect("sshd_config can be written");
    // sshd refuses to start without its empty directory.
    fs::create_dir_all("/run/sshd").expect("'/run/sshd' can be made");
    fs::set_permissions("/run/sshd", fs::Permissions::from_mode(0o755)).expect("its mode");
}

fn serve(sshd: &Path, config: &Path, listener: &TcpListener, children: &Mutex<Vec<Child>>) {
    for connection in listener.incoming() {
        let Ok(connection) = connection else { return };
        let output = connection.try_clone().expect("a socket can be duplicated");
        let child = Command::new(sshd)
            .args(["-i", "-e", "-f"])
            .arg(config)
            .stdin(Stdio::from(OwnedFd::from(connection)))
            .stdout(Stdio::from(OwnedFd::from(output)))
            .spawn()
            .expect("sshd starts");
        children.lock().expect("no holder panics").push(child);
    }
}
