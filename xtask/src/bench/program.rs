//! The programs that are compared: ours and real Nix, each with a configuration of its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::report::Role;
use crate::peers::Peer;
use crate::{env, process};

/// A program with its configuration.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) name: String,
    kind: Kind,
    /// Directory of its nix.conf, home and scripts.
    conf: PathBuf,
}

#[derive(Debug, Clone)]
enum Kind {
    Ours { nix_serve: PathBuf },
    Real { nix_store: PathBuf, nix: PathBuf },
}

impl Program {
    /// `nix-serve` with some lines of nix.conf.
    pub(super) fn ours(nix_serve: &Path, conf: &Path, name: &str, lines: &str) -> Result<Self> {
        let kind = Kind::Ours {
            nix_serve: nix_serve.to_owned(),
        };
        Self::new(name.to_owned(), kind, conf, lines)
    }

    /// A real Nix. `variant` tells apart configurations of the same release.
    pub(super) fn real(peer: &Peer, conf: &Path, variant: &str, lines: &str) -> Result<Self> {
        let kind = Kind::Real {
            nix_store: peer.program("nix-store"),
            nix: peer.program("nix"),
        };
        let name = match variant {
            "off" => format!("nix {}", peer.name),
            _ => format!("nix {}, {variant}", peer.name),
        };
        Self::new(name, kind, conf, lines)
    }

    /// The same real Nix with other settings.
    pub(super) fn variant(&self, variant: &str, lines: &str) -> Result<Self> {
        let parent = self.conf.parent().context("no parent directory")?;
        let name = format!("{}, {variant}", self.name);
        Self::new(name, self.kind.clone(), parent, lines)
    }

    fn new(name: String, kind: Kind, parent: &Path, lines: &str) -> Result<Self> {
        let conf = parent.join(name.replace([' ', ','], "-"));
        fs::create_dir_all(conf.join("home"))?;
        let text = format!(
            "build-users-group =\nsubstituters =\nexperimental-features = nix-command\n{lines}"
        );
        fs::write(conf.join("nix.conf"), text)?;
        Ok(Self { name, kind, conf })
    }

    /// What it is in a comparison with ours.
    pub(super) fn role(&self) -> Role {
        match self.kind {
            Kind::Ours { .. } => Role::Shown,
            Kind::Real { .. } => Role::Rival,
        }
    }

    /// `dump PATH` to its stdout.
    pub(super) fn dump(&self, path: &Path) -> Command {
        let mut command = self.command(&["dump"], &["--dump"]);
        command.arg(path);
        command
    }

    /// `restore PATH` from its stdin.
    pub(super) fn restore(&self, path: &Path) -> Command {
        let mut command = self.command(&["restore"], &["--restore"]);
        command.arg(path);
        command
    }

    /// All about derivations: real Nix shows those whose paths are on its stdin, ours computes
    /// the output paths of all that `top` depends on.
    pub(super) fn derivations(&self, root: &Path, top: &str) -> Result<Command> {
        let mut command = match &self.kind {
            Kind::Ours { nix_serve } => Command::new(nix_serve),
            Kind::Real { nix, .. } => Command::new(nix),
        };
        match &self.kind {
            Kind::Ours { .. } => command.args(["drv", "outputs", "--recursive", top]),
            Kind::Real { .. } => command.args(["derivation", "show", "--stdin"]),
        };
        self.set_up(&mut command);
        command.args(["--store", &address(root)?]);
        Ok(command)
    }

    /// Builds derivations, one after another.
    pub(super) fn realise(&self, root: &Path, drvs: &[String]) -> Result<Command> {
        let mut command = self.nix_store(root, &["--realise"])?;
        command.args(drvs);
        Ok(command)
    }

    /// `nix-store` with these words; ours goes by that name as well.
    pub(super) fn nix_store(&self, root: &Path, words: &[&str]) -> Result<Command> {
        let mut command = match &self.kind {
            Kind::Ours { nix_serve } => {
                let face = self.conf.join("nix-store");
                if face.symlink_metadata().is_err() {
                    symlink(nix_serve, &face)?;
                }
                Command::new(face)
            }
            Kind::Real { nix_store, .. } => {
                let mut command = Command::new(nix_store);
                // 2.8 starts its hook even if there is no other machine.
                let unpacked = nix_store.parent().and_then(Path::parent);
                let libexec = unpacked.map(|dir| dir.join("libexec"));
                command.env("NIX_LIBEXEC_DIR", libexec.unwrap_or_default());
                command
            }
        };
        self.set_up(&mut command);
        command.args(words).args(["--store", &address(root)?]);
        Ok(command)
    }

    /// Makes derivations of an expression; for real Nix alone.
    pub(super) fn instantiate(&self, root: &Path, expression: &Path) -> Result<Command> {
        let Kind::Real { nix_store, .. } = &self.kind else {
            bail!("ours evaluates no expressions");
        };
        let mut command = Command::new(nix_store.with_file_name("nix-instantiate"));
        self.set_up(&mut command);
        command.args(["--store", &address(root)?]).arg(expression);
        Ok(command)
    }

    /// A server on stdin and stdout.
    pub(super) fn serve(&self, root: &Path) -> Result<Command> {
        let mut command = self.command(&["--serve", "--write"], &["--serve", "--write"]);
        command.args(["--store", &address(root)?]);
        Ok(command)
    }

    /// Registers what is on its stdin, without a look at the files.
    pub(super) fn load_db(&self, root: &Path) -> Result<Command> {
        let mut command = self.command(&["load-db"], &["--load-db"]);
        command.args(["--store", &address(root)?]);
        Ok(command)
    }

    /// Makes a fresh store.
    pub(super) fn init(&self, root: &Path) -> Result<()> {
        let mut command = self.command(&["init"], &["--init"]);
        command.args(["--store", &address(root)?]);
        process::capture(&mut command)
            .with_context(|| format!("{}: cannot make a store", self.name))
            .map(drop)
    }

    /// A client of its kind that copies the closure of `path` to a server.
    pub(super) fn copy_to(&self, from: &Path, server: &Server, path: &str) -> Result<Command> {
        let mut command = Command::new(match &self.kind {
            Kind::Ours { nix_serve } => nix_serve,
            Kind::Real { nix, .. } => nix,
        });
        self.set_up(&mut command);
        command.args(["copy", "--store", &address(from)?]);
        match self.kind {
            Kind::Ours { .. } => command.args(["--to", &server.exec_address()?]),
            Kind::Real { .. } => command.args(["--no-check-sigs", "--to", &server.ssh_address()?]),
        };
        command.arg(path);
        Ok(command)
    }

    /// A client that has `top` and all below it built by a server with these words.
    pub(super) fn build_on(
        &self,
        from: &Path,
        server: &Server,
        words: &str,
        top: &str,
    ) -> Result<Command> {
        let Kind::Ours { nix_serve } = &self.kind else {
            bail!("real Nix is told of other machines in its own way");
        };
        let mut command = Command::new(nix_serve);
        self.set_up(&mut command);
        command.args(["build", "--no-link", "--store", &address(from)?]);
        command.args(["--on", &server.told(words)?, top]);
        Ok(command)
    }

    /// A server program that a client can start: a script, so that the client's environment
    /// does not decide how the server is configured. `before` is what runs the program, such as
    /// a proxy.
    pub(super) fn server(&self, root: &Path, before: &[&str]) -> Result<Server> {
        let program = self.serve(root)?;
        let name = format!("serve{}", before.join("-").replace(['/', ' '], "-"));
        let script = self.conf.join(name);
        let text = format!(
            "#!/bin/sh\nexport NIX_CONF_DIR='{}' HOME='{}'\nexec {} '{}' \"$@\"\n",
            utf8(&self.conf)?,
            utf8(&self.conf.join("home"))?,
            before.join(" "),
            utf8(Path::new(program.get_program()))?,
        );
        fs::write(&script, text)?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        Ok(Server {
            script,
            root: root.to_owned(),
        })
    }

    fn command(&self, ours: &[&str], real: &[&str]) -> Command {
        let mut command = match &self.kind {
            Kind::Ours { nix_serve } => {
                let mut command = Command::new(nix_serve);
                command.args(ours);
                command
            }
            Kind::Real { nix_store, .. } => {
                let mut command = Command::new(nix_store);
                command.args(real);
                command
            }
        };
        self.set_up(&mut command);
        command
    }

    fn set_up(&self, command: &mut Command) {
        for name in env::NIX_VARIABLES {
            command.env_remove(name);
        }
        command
            .env("NIX_CONF_DIR", &self.conf)
            .env("NIX_USER_CONF_FILES", "")
            .env("HOME", self.conf.join("home"))
            .env_remove("XDG_CACHE_HOME");
    }
}

/// Where a client finds a server.
#[derive(Debug, Clone)]
pub(super) struct Server {
    script: PathBuf,
    root: PathBuf,
}

impl Server {
    /// For our client: a command on a pipe.
    fn exec_address(&self) -> Result<String> {
        self.told("--serve --write")
    }

    /// The same with other words.
    fn told(&self, words: &str) -> Result<String> {
        Ok(format!(
            "exec:{} {words} --store '{}'",
            utf8(&self.script)?,
            address(&self.root)?
        ))
    }

    /// For real clients: the host `localhost` is reached without ssh.
    fn ssh_address(&self) -> Result<String> {
        let store = address(&self.root)?.replace('?', "%3f").replace('=', "%3d");
        Ok(format!(
            "ssh://localhost?remote-program={}&remote-store={store}",
            utf8(&self.script)?
        ))
    }
}

/// The address of a store below a root directory.
pub(super) fn address(root: &Path) -> Result<String> {
    Ok(format!("local?root={}", utf8(root)?))
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().context("a path is not UTF-8")
}
