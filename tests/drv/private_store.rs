//! A store of one release, used by that release alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use nix_base::{NarHash, StoreDir, StorePath, StorePathSet};
use nix_store_core::StoreLayout;
use tempfile::TempDir;
use test_support::Peer;

/// Paths by output name, of all derivations that have some.
pub(crate) type Rows = BTreeMap<StorePath, BTreeMap<String, StorePath>>;

/// The store and its release.
pub(crate) struct PrivateStore {
    root: TempDir,
    dir: StoreDir,
    peer: &'static Peer,
}

impl PrivateStore {
    /// An empty store.
    pub(crate) fn new(peer: &'static Peer) -> Self {
        let root = tempfile::Builder::new()
            .prefix("nix-serve-drv-")
            .tempdir()
            .unwrap();
        for part in ["home", "conf", "shapes/sources"] {
            fs::create_dir_all(root.path().join(part)).unwrap();
        }
        let shapes = root.path().join("shapes");
        fs::write(shapes.join("shapes.nix"), include_str!("shapes.nix")).unwrap();
        fs::write(shapes.join("bytes"), b"no text: \xc5\xc4\xd6 \xff\n").unwrap();
        fs::write(shapes.join("sources/file"), "a source\n").unwrap();
        // 2.3 reads derivations at their logical paths, so these have to be the real ones.
        let dir = match peer.is_at_least(2, 4) {
            true => StoreDir::default(),
            false => StoreDir::new(root.path().join("nix/store").to_str().unwrap()).unwrap(),
        };
        Self { root, dir, peer }
    }

    /// A command of the release on this store.
    pub(crate) fn command(&self, program: &str) -> Command {
        let root = self.root.path().display();
        let mut features = "nix-command".to_owned();
        for (feature, has_it) in [
            ("ca-derivations", self.has_floating()),
            ("impure-derivations", self.has_floating()),
            ("dynamic-derivations", self.has_dynamic()),
        ] {
            if has_it {
                features.push(' ');
                features.push_str(feature);
            }
        }
        let mut command = self.peer.command(program);
        if self.dir == StoreDir::default() {
            command.env("NIX_REMOTE", format!("local?root={root}"));
        } else {
            command
                .env("NIX_REMOTE", "local")
                .env("NIX_STORE_DIR", self.dir.as_str())
                .env("NIX_STATE_DIR", self.root.path().join("nix/var/nix"))
                .env("NIX_LOG_DIR", self.root.path().join("nix/var/log/nix"));
        }
        command
            .env("HOME", self.root.path().join("home"))
            .env("NIX_CONF_DIR", self.root.path().join("conf"))
            .env(
                "NIX_CONFIG",
                format!("experimental-features = {features}\nbuild-users-group =\n"),
            );
        command
    }

    /// Content-addressed outputs came with 2.4.
    pub(crate) fn has_floating(&self) -> bool {
        self.peer.is_at_least(2, 8)
    }

    /// Outputs of outputs came with 2.18.
    fn has_dynamic(&self) -> bool {
        self.peer.is_at_least(2, 18)
    }

    /// Makes the derivations of `shapes.nix`.
    pub(crate) fn instantiate(&self) -> Vec<StorePath> {
        let mut command = self.command("nix-instantiate");
        command.arg(self.root.path().join("shapes/shapes.nix"));
        for (name, has_it) in [
            ("floating", self.has_floating()),
            ("impure", self.has_floating()),
            ("dynamic", self.has_dynamic()),
        ] {
            command.args(["--arg", name, if has_it { "true" } else { "false" }]);
        }
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        let text = String::from_utf8(output.stdout).unwrap();
        // An output that isn't `out` is appended to its derivation.
        let path = |line: &str| self.dir.parse(line.split('!').next().unwrap());
        let mut paths: Vec<_> = text.lines().map(|line| path(line).unwrap()).collect();
        paths.sort();
        paths.dedup();
        paths
    }

    fn real_path(&self, path: &StorePath) -> PathBuf {
        self.root.path().join("nix/store").join(path.base_name())
    }

    /// The contents of a file in the store.
    pub(crate) fn read(&self, path: &StorePath) -> std::io::Result<Vec<u8>> {
        fs::read(self.real_path(path))
    }

    /// The table `DerivationOutputs`.
    pub(crate) fn rows(&self) -> Rows {
        let path = self.root.path().join("nix/var/nix/db/db.sqlite");
        let database = rusqlite::Connection::open(path).unwrap();
        let mut query = database
            .prepare(
                "select v.path, o.id, o.path from DerivationOutputs o
                 join ValidPaths v on v.id = o.drv",
            )
            .unwrap();
        let store = &self.dir;
        let mut rows = Rows::new();
        let mut found = query.query([]).unwrap();
        while let Some(row) = found.next().unwrap() {
            let text = |column| row.get::<_, String>(column).unwrap();
            let outputs = rows.entry(store.parse(text(0)).unwrap()).or_default();
            outputs.insert(text(1), store.parse(text(2)).unwrap());
        }
        rows
    }

    /// Registers a file with these contents; on refusal what the release said.
    pub(crate) fn register(
        &self,
        path: &StorePath,
        contents: &[u8],
        references: &StorePathSet,
    ) -> Result<(), String> {
        let store = &self.dir;
        fs::write(self.real_path(path), contents).unwrap();
        let mut registration = format!(
            "{}\n{}\n{}\n\n{}\n",
            store.display(path),
            NarHash::of(contents).to_base16(),
            contents.len(),
            references.len()
        );
        for reference in references {
            writeln!(registration, "{}", store.display(reference)).unwrap();
        }
        let mut command = self.command("nix-store");
        command
            .arg("--load-db")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(registration.as_bytes())
            .unwrap();
        let Output { status, stderr, .. } = child.wait_with_output().unwrap();
        if status.success() {
            return Ok(());
        }
        fs::remove_file(self.real_path(path)).unwrap();
        Err(String::from_utf8_lossy(&stderr).trim().to_owned())
    }

    /// The store directory that its paths have.
    pub(crate) fn dir(&self) -> &StoreDir {
        &self.dir
    }

    /// Where its files are.
    pub(crate) fn layout(&self) -> StoreLayout {
        StoreLayout::chroot(self.dir.clone(), self.root.path())
    }

    /// The release.
    pub(crate) fn peer(&self) -> &'static Peer {
        self.peer
    }
}
