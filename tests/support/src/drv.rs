//! Derivations without a package set: real Nix instantiates them, a static busybox builds them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::bytes::{Message, command};
use crate::machine::Machine;
use crate::peer::{Peer, busybox};
use crate::verify::run_ok;

/// A directory of expressions on a machine, and the release that evaluates them.
#[derive(Debug)]
pub struct Workshop<'m> {
    machine: &'m Machine,
    peer: &'m Peer,
    place: PathBuf,
}

impl<'m> Workshop<'m> {
    /// A directory with the builder in it.
    ///
    /// # Panics
    /// If there is no static busybox beside the peers.
    pub fn new(machine: &'m Machine, peer: &'m Peer) -> Self {
        let place = machine.path("home/workshop");
        let workshop = Self {
            machine,
            peer,
            place,
        };
        let busybox = busybox().expect("a static busybox lies beside the peers");
        let contents = fs::read(busybox).expect("busybox can be read");
        workshop.add_file("tools/busybox", &contents);
        workshop
    }

    /// Puts an executable file beside the expressions; `./NAME` in them.
    ///
    /// # Panics
    /// If it can't be written.
    pub fn add_file(&self, name: &str, contents: &[u8]) {
        let file = self.place.join(name);
        let parent = file.parent().expect("a file has a parent");
        fs::create_dir_all(parent).expect("a directory for files");
        fs::write(&file, contents).expect("a file can be written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    /// Writes the attributes of a set of derivations to a file, for `nix-build`.
    ///
    /// In scope are `b`, the path of busybox; `make NAME ATTRIBUTES SCRIPT`, a derivation
    /// that runs a script; `raw NAME ATTRIBUTES`, one with a builder of its own; and
    /// `tools`, the directory of busybox and of files `tools/…`.
    ///
    /// # Panics
    /// If it can't be written.
    pub fn write(&self, attributes: &str) -> PathBuf {
        let file = self.place.join("default.nix");
        let text = PRELUDE.replace("@ATTRIBUTES@", attributes);
        fs::write(&file, text).expect("an expression can be written");
        file
    }

    /// Instantiates a set of derivations; their paths by their names.
    ///
    /// # Panics
    /// If real Nix refuses.
    pub fn instantiate(&self, attributes: &str) -> BTreeMap<String, String> {
        let file = self.write(attributes);
        let mut command = self.machine.peer(self.peer, "nix-instantiate", [&file]);
        command.env("NIX_CONFIG", all_features(self.peer));
        run_ok(command)
            .into_iter()
            .map(|line| {
                let path = line.split('!').next().unwrap_or_default().to_owned();
                (drv_name(&path), path)
            })
            .collect()
    }
}

/// Lines of nix.conf that let a release use content-addressed and impure derivations.
pub fn all_features(peer: &Peer) -> &'static str {
    if peer.is_at_least(2, 9) {
        "experimental-features = nix-command ca-derivations impure-derivations dynamic-derivations"
    } else if peer.is_at_least(2, 4) {
        "experimental-features = nix-command ca-derivations"
    } else {
        ""
    }
}

/// The name in the path of a derivation.
fn drv_name(path: &str) -> String {
    let base = Path::new(path)
        .file_name()
        .and_then(|base| base.to_str())
        .unwrap_or_default();
    base.get(33..)
        .unwrap_or_default()
        .trim_end_matches(".drv")
        .to_owned()
}

const PRELUDE: &str = r#"
let
  tools = ./tools;
  b = "${tools}/busybox";
  raw = name: attributes: derivation ({
    inherit name;
    system = "x86_64-linux";
  } // attributes);
  make = name: attributes: script: raw name ({
    builder = b;
    args = [ "sh" "-c" "set -e; b=${b}; ${script}" ];
  } // attributes);
in rec {
@ATTRIBUTES@
}
"#;

/// A derivation as its file says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawDrv {
    /// Name, path, algorithm and hash of each output.
    pub outputs: Vec<[String; 4]>,
    /// Path and wanted outputs of each input derivation.
    pub input_drvs: Vec<(String, Vec<String>)>,
    /// Other inputs.
    pub input_srcs: Vec<String>,
    /// The platform.
    pub platform: String,
    /// The builder.
    pub builder: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment.
    pub env: Vec<(String, String)>,
}

impl RawDrv {
    /// Reads the file of a derivation on a machine.
    ///
    /// # Panics
    /// If there is none.
    pub fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file)
            .unwrap_or_else(|error| panic!("cannot read '{}': {error}", file.display()));
        Self::parse(&text)
    }

    /// Reads the text of a derivation.
    ///
    /// # Panics
    /// If it isn't one.
    pub fn parse(text: &str) -> Self {
        let mut words = Words(text.strip_prefix("Derive").expect("a derivation"));
        let term = words.term();
        let Term::List(parts) = term else {
            panic!("a derivation has parts");
        };
        let [outputs, drvs, srcs, platform, builder, args, env] = &parts[..] else {
            panic!("a derivation has seven parts");
        };
        Self {
            outputs: outputs
                .list()
                .iter()
                .map(|output| output.strings().try_into().expect("an output"))
                .collect(),
            input_drvs: drvs
                .list()
                .iter()
                .map(|drv| (drv.list()[0].string(), drv.list()[1].strings()))
                .collect(),
            input_srcs: srcs.strings(),
            platform: platform.string(),
            builder: builder.string(),
            args: args.strings(),
            env: env
                .list()
                .iter()
                .map(|pair| (pair.list()[0].string(), pair.list()[1].string()))
                .collect(),
        }
    }

    /// The path of an output, empty if it isn't known.
    ///
    /// # Panics
    /// If there is no such output.
    pub fn output(&self, name: &str) -> &str {
        let found = self.outputs.iter().find(|output| output[0] == name);
        &found.unwrap_or_else(|| panic!("no output '{name}'"))[1]
    }

    /// Changes a variable of the environment.
    ///
    /// # Panics
    /// If there is no such variable.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let found = self.env.iter_mut().find(|(key, _)| key == name);
        value.clone_into(&mut found.expect("a variable of that name").1);
    }

    /// A BuildDerivation request of protocol 2.`minor`, at least 2.3, with these limits.
    pub fn request(&self, drv_path: &str, limits: &RawLimits, minor: u8) -> Message {
        let mut message = Message::new()
            .u64(command::BUILD_DERIVATION)
            .string(drv_path)
            .u64(self.outputs.len() as u64);
        for field in self.outputs.iter().flatten() {
            message.put_string(field.as_bytes());
        }
        message = message
            .strings(&self.input_srcs)
            .string(&self.platform)
            .string(&self.builder)
            .strings(&self.args)
            .u64(self.env.len() as u64);
        for (name, value) in &self.env {
            message.put_string(name.as_bytes());
            message.put_string(value.as_bytes());
        }
        limits.put(message, minor)
    }
}

/// What a client sends with a build request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RawLimits {
    /// Seconds without output.
    pub max_silent_time: u64,
    /// Seconds in all.
    pub timeout: u64,
    /// Bytes of log.
    pub max_log_size: u64,
    /// Whether the directory of a failed build stays.
    pub keep_failed: bool,
}

impl RawLimits {
    /// A BuildPaths request of protocol 2.`minor`, at least 2.3.
    pub fn build_paths<T: AsRef<[u8]>>(
        &self,
        paths: impl IntoIterator<Item = T>,
        minor: u8,
    ) -> Message {
        self.put(
            Message::new().u64(command::BUILD_PATHS).strings(paths),
            minor,
        )
    }

    fn put(&self, message: Message, minor: u8) -> Message {
        let message = message
            .u64(self.max_silent_time)
            .u64(self.timeout)
            .u64(self.max_log_size)
            .u64(0)
            .u64(0);
        match minor {
            0..7 => message,
            _ => message.bool(self.keep_failed),
        }
    }
}

/// What a server answers to BuildDerivation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawBuildResult {
    /// The status.
    pub status: u64,
    /// The message, with escapes.
    pub error: String,
    /// How often it was built.
    pub times_built: u64,
    /// Start and stop.
    pub times: (u64, u64),
    /// The built outputs, as JSON.
    pub built_outputs: BTreeMap<String, String>,
}

impl RawBuildResult {
    /// Whether the status is one of success.
    pub fn is_success(&self) -> bool {
        matches!(self.status, 0 | 1 | 2 | 13)
    }
}

/// A text without the escapes that colour it.
pub fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\u{1b}[") {
        plain.push_str(&rest[..at]);
        let after = &rest[at + 2..];
        let end = after.find(|letter: char| letter.is_ascii_alphabetic());
        rest = end.map_or("", |end| &after[end + 1..]);
    }
    plain.push_str(rest);
    plain
}

/// A parsed list, tuple or string.
enum Term {
    Text(String),
    List(Vec<Self>),
}

impl Term {
    fn list(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            Self::Text(text) => panic!("'{text}' is no list"),
        }
    }

    fn string(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::List(_) => panic!("a list is no string"),
        }
    }

    fn strings(&self) -> Vec<String> {
        self.list().iter().map(Self::string).collect()
    }
}

struct Words<'a>(&'a str);

impl Words<'_> {
    fn term(&mut self) -> Term {
        let first = self.take();
        if first == '"' {
            return Term::Text(self.text());
        }
        assert!(matches!(first, '[' | '('), "'{first}' begins no term");
        let mut items = Vec::new();
        loop {
            match self.0.chars().next() {
                Some(']' | ')') => {
                    self.take();
                    return Term::List(items);
                }
                Some(',') => {
                    self.take();
                }
                _ => items.push(self.term()),
            }
        }
    }

    fn text(&mut self) -> String {
        let mut text = String::new();
        loop {
            match self.take() {
                '"' => return text,
                '\\' => text.push(match self.take() {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    other => other,
                }),
                other => text.push(other),
            }
        }
    }

    fn take(&mut self) -> char {
        let first = self.0.chars().next().expect("a whole derivation");
        self.0 = &self.0[first.len_utf8()..];
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivations_are_read() {
        let drv = RawDrv::parse(
            r#"Derive([("out","/nix/store/x","","")],[("/nix/store/d",["dev","out"])],["/nix/store/s"],"p","/b",["-c","a\n\"b\""],[("k","v"),("e","")])"#,
        );
        assert_eq!(drv.output("out"), "/nix/store/x");
        assert_eq!(drv.input_drvs[0].1, ["dev", "out"]);
        assert_eq!(drv.args[1], "a\n\"b\"");
        assert_eq!(drv.env[1], ("e".to_owned(), String::new()));
    }

    #[test]
    fn colours_are_taken_away() {
        let text = "\u{1b}[31;1merror:\u{1b}[0m it '\u{1b}[35;1mx\u{1b}[0m'";
        assert_eq!(without_colours(text), "error: it 'x'");
    }
}
