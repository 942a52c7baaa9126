//! The environment: the only place that reads it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// What the environment says about stores and terminals.
///
/// An empty variable counts as unset, except where Nix gives emptiness a meaning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// `NIX_STORE_DIR`, or its older name `NIX_STORE`: the logical store directory.
    pub(crate) store_dir: Option<String>,
    /// `NIX_STATE_DIR`.
    pub(crate) state_dir: Option<PathBuf>,
    /// `NIX_LOG_DIR`.
    pub(crate) log_dir: Option<PathBuf>,
    /// `NIX_CONF_DIR`.
    pub(crate) conf_dir: Option<PathBuf>,
    /// `NIX_REMOTE`: the store when none is named.
    pub(crate) remote: Option<String>,
    /// `NIX_CONFIG`: lines of nix.conf.
    pub(crate) config: Option<String>,
    /// The users' nix.conf files, least important first.
    pub(crate) user_conf_files: Vec<PathBuf>,
    /// `NIX_SSHOPTS`: options for ssh.
    pub(crate) ssh_options: Option<String>,
    /// `NIX_IGNORE_SYMLINK_STORE=1`.
    pub(crate) ignore_symlink_store: bool,
    /// `XDG_DATA_HOME`, or `~/.local/share`.
    pub(crate) data_home: Option<PathBuf>,
    /// `XDG_STATE_HOME`, or `~/.local/state`.
    pub(crate) state_home: Option<PathBuf>,
    /// `NIX_SSL_CERT_FILE`, or `SSL_CERT_FILE`: certificates to trust.
    pub(crate) ssl_cert_file: Option<PathBuf>,
    /// `CREDENTIALS_DIRECTORY`: where systemd puts a service's secrets.
    pub(crate) credentials_directory: Option<PathBuf>,
    /// `NO_COLOR` is set, or `TERM=dumb`.
    pub(crate) plain_terminal: bool,
}

impl Environment {
    /// The environment of this process.
    pub(crate) fn of_process() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that reads the environment"
        )]
        let lookup = |name: &str| std::env::var_os(name);
        Self::from_lookup(lookup)
    }

    /// All variables of this process, for builders that may see some of them.
    pub(crate) fn variables_of_process() -> BTreeMap<OsString, OsString> {
        std::env::vars_os().collect()
    }

    /// The environment in which `lookup` finds the variables.
    pub(crate) fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let full = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let text = |name: &str| full(name)?.into_string().ok();
        let path = |name: &str| full(name).map(PathBuf::from);
        Self {
            store_dir: text("NIX_STORE_DIR").or_else(|| text("NIX_STORE")),
            state_dir: path("NIX_STATE_DIR"),
            log_dir: path("NIX_LOG_DIR"),
            conf_dir: path("NIX_CONF_DIR"),
            remote: text("NIX_REMOTE"),
            config: text("NIX_CONFIG"),
            user_conf_files: user_conf_files(&lookup),
            ssh_options: text("NIX_SSHOPTS"),
            ignore_symlink_store: text("NIX_IGNORE_SYMLINK_STORE").as_deref() == Some("1"),
            data_home: path("XDG_DATA_HOME")
                .or_else(|| Some(path("HOME")?.join(".local/share")))
                .filter(|directory| directory.is_absolute()),
            state_home: path("XDG_STATE_HOME")
                .or_else(|| Some(path("HOME")?.join(".local/state")))
                .filter(|directory| directory.is_absolute()),
            ssl_cert_file: path("NIX_SSL_CERT_FILE").or_else(|| path("SSL_CERT_FILE")),
            credentials_directory: path("CREDENTIALS_DIRECTORY"),
            plain_terminal: lookup("NO_COLOR").is_some()
                || text("TERM").is_none_or(|term| term == "dumb"),
        }
    }

    /// The directory of the system's nix.conf.
    pub(crate) fn conf_dir(&self) -> PathBuf {
        self.conf_dir.clone().unwrap_or_else(|| "/etc/nix".into())
    }
}

/// Nix compat: `NIX_USER_CONF_FILES` replaces the XDG files; the first of a list is the
/// most important.
fn user_conf_files(lookup: &impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let full = |name: &str| lookup(name).filter(|value| !value.is_empty());
    let split = |list: OsString| -> Vec<PathBuf> {
        std::env::split_paths(&list)
            .filter(|path| !path.as_os_str().is_empty())
            .collect()
    };
    if let Some(list) = lookup("NIX_USER_CONF_FILES") {
        let mut files = split(list);
        files.reverse();
        return files;
    }
    let home = full("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(full("HOME")?).join(".config")));
    let system = full("XDG_CONFIG_DIRS").unwrap_or_else(|| "/etc/xdg".into());
    let mut directories: Vec<PathBuf> = home.into_iter().chain(split(system)).collect();
    directories.reverse();
    directories
        .into_iter()
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join("nix/nix.conf"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::from_lookup(|name| {
            let found = pairs.iter().find(|(key, _)| *key == name)?;
            Some(OsString::from(found.1))
        })
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let empty = environment(&[("NIX_STORE_DIR", ""), ("NIX_REMOTE", ""), ("TERM", "xterm")]);
        assert_eq!(empty.store_dir, None);
        assert_eq!(empty.remote, None);
        assert!(!empty.plain_terminal);
    }

    #[test]
    fn the_old_name_of_the_store_directory_counts_if_the_new_one_is_unset() {
        let old = environment(&[("NIX_STORE", "/old/store")]);
        assert_eq!(old.store_dir.as_deref(), Some("/old/store"));
        let both = environment(&[("NIX_STORE", "/old"), ("NIX_STORE_DIR", "/new")]);
        assert_eq!(both.store_dir.as_deref(), Some("/new"));
    }

    #[test]
    fn user_files_come_with_the_most_important_last() {
        let xdg = environment(&[("HOME", "/h"), ("XDG_CONFIG_DIRS", "/a:/b")]);
        let paths = [
            "/b/nix/nix.conf",
            "/a/nix/nix.conf",
            "/h/.config/nix/nix.conf",
        ];
        assert_eq!(xdg.user_conf_files, paths.map(PathBuf::from));
        let named = environment(&[("HOME", "/h"), ("NIX_USER_CONF_FILES", "/x:/y")]);
        assert_eq!(named.user_conf_files, ["/y", "/x"].map(PathBuf::from));
    }

    #[test]
    fn dumb_terminals_and_no_color_are_plain() {
        assert!(environment(&[("TERM", "dumb")]).plain_terminal);
        assert!(environment(&[("TERM", "xterm"), ("NO_COLOR", "")]).plain_terminal);
        assert!(environment(&[]).plain_terminal);
    }
}
