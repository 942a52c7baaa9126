//! `cargo xtask demo`: a closure goes from one fresh store to another, and the account of it.
//!
//! It needs Linux and Rust: no Nix, no network, no root. Every step runs the program as a
//! person would; what it did is then checked by code that the program doesn't share.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::args::Args;
use crate::{env, nar, process};

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<()> {
    args.no_values()?;
    println!("building nix-serve");
    let program = build()?;
    let dir = tempfile::Builder::new()
        .prefix("nix-serve-demo.")
        .tempdir()?;
    let demo = Demo::new(program, dir.path())?;
    let start = Instant::now();
    let shown = demo.play();
    if args.has("keep") {
        println!("\nkept: {}", dir.keep().display());
    } else {
        make_writable(dir.path());
        dir.close().context("cannot delete the stores")?;
    }
    shown?;
    println!(
        "\nThe demo succeeded in {:.1} s.",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

struct Demo {
    program: PathBuf,
    dir: PathBuf,
    /// Where the first store and the second one are.
    here: PathBuf,
    there: PathBuf,
}

impl Demo {
    fn new(program: PathBuf, dir: &Path) -> Result<Self> {
        // Without a nix.conf root's stores belong to a group that few machines have.
        fs::create_dir(dir.join("home"))?;
        fs::write(dir.join("home/nix.conf"), "build-users-group =\n")?;
        Ok(Self {
            program,
            here: dir.join("here"),
            there: dir.join("there"),
            dir: dir.to_owned(),
        })
    }

    fn play(&self) -> Result<()> {
        let (here, there) = (self.here.as_path(), self.there.as_path());
        say("1. Two fresh stores, each with a database that real Nix can open:");
        for store in [here, there] {
            self.nix_serve(&["init", "--store"], &[store.as_os_str()])?;
        }

        say("2. Two trees are added to the first store: the sources of this project.");
        let mut paths = Vec::new();
        for name in ["crates", "tests"] {
            let tree = env::workspace_root().join(name);
            let add = [here.as_os_str(), tree.as_os_str()];
            let printed = self.nix_serve(&["add", "--store"], &add)?;
            let path = printed
                .lines()
                .next_back()
                .context("'add' printed no store path")?;
            println!("   -> {path}");
            self.check_hash(here, path, &tree)?;
            paths.push(path.to_owned());
        }
        println!("   Their recorded hashes are those of the sources, reckoned independently.");

        say("3. The closure is copied: the second store is behind a serve process on a pipe.");
        let server = format!(
            "exec:{} serve --write --store {}",
            quote(&self.program)?,
            quote(there)?
        );
        let mut copy = vec![here.as_os_str(), "--to".as_ref(), server.as_ref()];
        copy.extend(paths.iter().map(|path| OsStr::new(path.as_str())));
        self.nix_serve(&["copy", "--store"], &copy)?;

        say("4. The second store is verified, each file read again.");
        self.nix_serve(
            &["verify", "--check-contents", "--store"],
            &[there.as_os_str()],
        )?;
        for (name, path) in ["crates", "tests"].iter().zip(&paths) {
            self.check_hash(there, path, &env::workspace_root().join(name))?;
        }
        println!("   It has the same paths with the same hashes.");

        say("5. A second copy has nothing to do.");
        let before = modified(there)?;
        self.nix_serve(&["copy", "--store"], &copy)?;
        if modified(there)? != before {
            bail!("the second copy changed the store directory");
        }

        say("6. A damaged file is found.");
        self.damage(there, &paths[0])?;
        self.expect_failure(
            &["verify", "--check-contents", "--store"],
            &[there.as_os_str()],
        )
    }

    /// Runs the program, shows the command line and what it prints, and returns its stdout.
    fn nix_serve(&self, words: &[&str], rest: &[&OsStr]) -> Result<String> {
        let output = self.show(words, rest)?;
        if !output.status.success() {
            bail!("'nix-serve {}' ended with {}", words[0], output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn expect_failure(&self, words: &[&str], rest: &[&OsStr]) -> Result<()> {
        let output = self.show(words, rest)?;
        if output.status.success() {
            bail!("'nix-serve {}' found nothing", words[0]);
        }
        println!("   -> {}, as it should be", output.status);
        Ok(())
    }

    fn show(&self, words: &[&str], rest: &[&OsStr]) -> Result<Output> {
        let mut command = self.command(words, rest);
        println!("   $ {}", self.line(&command));
        let output = process::output(&mut command)?;
        for line in String::from_utf8_lossy(&output.stderr).lines() {
            println!("   | {}", self.short(line));
        }
        Ok(output)
    }

    fn command(&self, words: &[&str], rest: &[&OsStr]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).args(rest);
        for name in env::NIX_VARIABLES {
            command.env_remove(name);
        }
        let home = self.dir.join("home");
        command.env("NIX_CONF_DIR", &home).env("HOME", home);
        command
    }

    /// A command as a person would type it.
    fn line(&self, command: &Command) -> String {
        let mut line = String::from("nix-serve");
        for arg in command.get_args() {
            let arg = self.short(&arg.to_string_lossy());
            let wants_quotes = arg.contains([' ', '\'']);
            line.push(' ');
            line.push_str(&if wants_quotes {
                format!("\"{arg}\"")
            } else {
                arg
            });
        }
        line
    }

    /// Long paths of this run by short names.
    fn short(&self, text: &str) -> String {
        text.replace(&*self.program.to_string_lossy(), "nix-serve")
            .replace(&*env::workspace_root().to_string_lossy(), ".")
            .replace(&*self.dir.to_string_lossy(), "$DEMO")
    }

    /// Compares what the store has recorded of a path with the sum of the tree it came from.
    fn check_hash(&self, store: &Path, path: &str, tree: &Path) -> Result<()> {
        let mut query = self.command(
            &["path-info", "--json", "--store"],
            &[store.as_os_str(), path.as_ref()],
        );
        let text = process::capture(&mut query)?;
        let json: Value = serde_json::from_str(&text).context("'path-info --json'")?;
        let recorded = find_hash(&json).context("'path-info --json' shows no 'narHash'")?;
        let sum = nar::sum_path(tree, &mut |_, _| {})?;
        let accepted = [
            format!("sha256:{}", sum.hash),
            format!("sha256:{}", nar::to_nix32(&sum.hash)),
            nar::to_sri(&sum.hash),
        ];
        if !accepted.iter().any(|hash| hash == recorded) {
            bail!("'{path}' is recorded with {recorded}, but is {}", sum.hash);
        }
        Ok(())
    }

    /// Changes one byte of the first file of a path.
    fn damage(&self, store: &Path, path: &str) -> Result<()> {
        let base = path.rsplit('/').next().unwrap_or(path);
        let root = store.join("nix/store").join(base);
        let mut victim = None;
        nar::sum_path(&root, &mut |file, meta| {
            if meta.is_file() && meta.len() > 0 && victim.is_none() {
                victim = Some(file.to_owned());
            }
        })?;
        let victim = victim.context("the path has no file")?;
        let mut bytes = fs::read(&victim)?;
        bytes[0] ^= 1;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(&victim, mode)?;
        fs::write(&victim, bytes)?;
        println!(
            "   (one bit of {} is turned)",
            self.short(&victim.to_string_lossy())
        );
        Ok(())
    }
}

fn build() -> Result<PathBuf> {
    process::run(
        Command::new(env::cargo())
            .args([
                "build",
                "--quiet",
                "--package",
                "nix-serve",
                "--bin",
                "nix-serve",
            ])
            .current_dir(env::workspace_root()),
    )?;
    Ok(env::target_dir().join("debug/nix-serve"))
}

fn say(line: &str) {
    println!("\n{line}");
}

/// The first `narHash` in the answer, which is a map or a list of paths.
fn find_hash(json: &Value) -> Option<&str> {
    match json {
        Value::Object(map) => match map.get("narHash") {
            Some(hash) => hash.as_str(),
            None => map.values().find_map(find_hash),
        },
        Value::Array(list) => list.iter().find_map(find_hash),
        _ => None,
    }
}

/// A path as one word of a shell command.
fn quote(path: &Path) -> Result<String> {
    let text = path.to_str().context("a path is not UTF-8")?;
    let is_plain = |c: char| c.is_alphanumeric() || "/._-".contains(c);
    if text.chars().all(is_plain) {
        return Ok(text.to_owned());
    }
    Ok(format!("'{}'", text.replace('\'', "'\\''")))
}

/// The names in the store directory with their times.
fn modified(store: &Path) -> Result<Vec<(std::ffi::OsString, std::time::SystemTime)>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(store.join("nix/store"))? {
        let entry = entry?;
        names.push((entry.file_name(), entry.metadata()?.modified()?));
    }
    names.sort();
    Ok(names)
}

/// Directories in a store are read-only, which keeps anyone but root from deleting them.
pub(crate) fn make_writable(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    let _ = fs::set_permissions(dir, mode);
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_writable(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_hash_is_found_in_either_form_of_the_answer() {
        let list = json!([{ "path": "/nix/store/a", "narHash": "sha256:x" }]);
        assert_eq!(find_hash(&list), Some("sha256:x"));
        let map = json!({ "/nix/store/a": { "narHash": "sha256:x" } });
        assert_eq!(find_hash(&map), Some("sha256:x"));
        assert_eq!(find_hash(&json!([])), None);
    }

    #[test]
    fn a_path_with_blanks_and_quotes_is_one_word() {
        assert_eq!(
            quote(Path::new("/plain/path-1.0_x")).unwrap(),
            "/plain/path-1.0_x"
        );
        assert_eq!(quote(Path::new("/a b/it's")).unwrap(), r"'/a b/it'\''s'");
    }
}
