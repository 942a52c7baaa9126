//! The command lines that lead to a server.
//!
//! ```text
//! ssh -x -a OPTIONS… [-i KEY] [-C] [-p PORT] -oServerAliveInterval=… -- [user@]host COMMAND
//! COMMAND:  REMOTE-PROGRAM --serve --write [--store REMOTE-STORE]
//! ```
//!
//! `OPTIONS` are the user's (`NIX_SSHOPTS`). They come before our own `-o`, since the
//! first of two counts, and after the switches, of which the last counts. The remote shell
//! parses the command again, so each of its words is quoted where needed.

use std::ffi::OsString;
use std::process::Command;

use super::address::{AddressError, SshAddress};

/// Splits options such as those in `NIX_SSHOPTS` as a shell does, without expansions.
///
/// # Errors
/// A quote that is not closed.
pub fn parse_ssh_options(text: &str) -> Result<Vec<String>, AddressError> {
    shlex::split(text).ok_or_else(|| AddressError::Value {
        name: "NIX_SSHOPTS",
        value: text.into(),
    })
}

/// The command that connects to `address`, by `ssh` or, for the machine itself, at once.
///
/// # Errors
/// A parameter that can't be used.
pub fn ssh_command(
    address: &SshAddress,
    ssh_program: &OsString,
    ssh_options: &[String],
    compress: bool,
) -> Result<Command, AddressError> {
    let words = remote_words(address)?;
    if address.is_localhost() {
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        return Ok(command);
    }
    let mut command = Command::new(ssh_program);
    command.args(["-x", "-a"]).args(ssh_options);
    if let Some(key) = address.parameters.get("ssh-key") {
        if key.is_empty() || key.starts_with('-') {
            return Err(bad_value("ssh-key", key));
        }
        command.args(["-i", key]);
    }
    if compress || flag(address, "compress")? {
        command.arg("-C");
    }
    if let Some(port) = address.port {
        command.args(["-p", &port.to_string()]);
    }
    if address
        .parameters
        .contains_key("base64-ssh-public-host-key")
    {
        // Going on without the check that was asked for would be worse.
        return Err(AddressError::Unsupported("base64-ssh-public-host-key"));
    }
    command.args(KEEP_ALIVE);
    command.args(["--", &address.destination()]);
    command.arg(shell_quoted(&words)?);
    Ok(command)
}

/// The words of the command to run on the other machine.
fn remote_words(address: &SshAddress) -> Result<Vec<String>, AddressError> {
    let program = address.parameters.get("remote-program");
    let program = program.map_or(DEFAULT_PROGRAM, String::as_str);
    let mut words = shlex::split(program)
        .filter(|words| !words.is_empty())
        .ok_or_else(|| bad_value("remote-program", program))?;
    words.extend(["--serve".into(), "--write".into()]);
    if let Some(store) = address.parameters.get("remote-store") {
        words.extend(["--store".into(), store.clone()]);
    }
    Ok(words)
}

fn shell_quoted(words: &[String]) -> Result<String, AddressError> {
    let words = words.iter().map(String::as_str);
    shlex::try_join(words).map_err(|_| bad_value("remote-program", "NUL"))
}

fn flag(address: &SshAddress, name: &'static str) -> Result<bool, AddressError> {
    match address.parameters.get(name).map(String::as_str) {
        Some("true" | "1") => Ok(true),
        None | Some("false" | "0" | "") => Ok(false),
        Some(other) => Err(bad_value(name, other)),
    }
}

fn bad_value(name: &'static str, value: &str) -> AddressError {
    AddressError::Value {
        name,
        value: value.into(),
    }
}

const DEFAULT_PROGRAM: &str = "nix-store";
/// A network that is dead is noticed after a minute, also between messages.
const KEEP_ALIVE: [&str; 2] = ["-oServerAliveInterval=15", "-oServerAliveCountMax=4"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::StoreAddress;

    fn line(address: &str, options: &str) -> Result<String, AddressError> {
        let StoreAddress::Ssh(address) = StoreAddress::parse(address)? else {
            panic!("not an ssh address");
        };
        let options = parse_ssh_options(options)?;
        let command = ssh_command(&address, &"ssh".into(), &options, false)?;
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words.map(|w| format!("<{}>", w.display())).collect();
        Ok(words.join(" "))
    }

    #[test]
    fn options_and_words_of_the_command_line() {
        insta::assert_snapshot!(line("ssh://h", "").unwrap(), @"<ssh> <-x> <-a> <-oServerAliveInterval=15> <-oServerAliveCountMax=4> <--> <h> <nix-store --serve --write>");
        insta::assert_snapshot!(
            line(
                "ssh://u@[::1]:2222?ssh-key=/k&compress=true&remote-store=/a%20b&remote-program=/opt/nix-serve%20-v",
                "-F '/my config'"
            ).unwrap(),
            @"<ssh> <-x> <-a> <-F> </my config> <-i> </k> <-C> <-p> <2222> <-oServerAliveInterval=15> <-oServerAliveCountMax=4> <--> <u@::1> </opt/nix-serve -v --serve --write --store '/a b'>"
        );
    }

    #[test]
    fn localhost_runs_the_program_itself() {
        insta::assert_snapshot!(line("ssh://localhost?remote-program=a%20b", "-v").unwrap(), @"<a> <b> <--serve> <--write>");
    }

    #[test]
    fn refuses_parameters_that_it_cannot_honour() {
        insta::assert_snapshot!(line("ssh://h?ssh-key=-F", "").unwrap_err(), @"invalid value '-F' of parameter 'ssh-key'");
        insta::assert_snapshot!(line("ssh://h?compress=maybe", "").unwrap_err(), @"invalid value 'maybe' of parameter 'compress'");
        insta::assert_snapshot!(line("ssh://h?remote-program='", "").unwrap_err(), @"invalid value ''' of parameter 'remote-program'");
        insta::assert_snapshot!(line("ssh://h?base64-ssh-public-host-key=x", "").unwrap_err(), @"parameter 'base64-ssh-public-host-key' is not supported");
        insta::assert_snapshot!(line("ssh://h", "-F 'x").unwrap_err(), @"invalid value '-F 'x' of parameter 'NIX_SSHOPTS'");
    }
}
