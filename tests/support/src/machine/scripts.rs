//! The shell scripts that a machine is made of.

use std::fmt::Write;
use std::path::Path;

use super::Machine;
use crate::peer::Peer;

/// Runs its arguments on the machine, with nothing of the caller's environment.
pub(super) fn enter(machine: &Machine) -> String {
    let mut text = String::from("#!/bin/sh\nexec env -i");
    for (name, value) in machine.environment() {
        write!(text, " {name}={}", quote(&value)).expect("writing to a string cannot fail");
    }
    let place = quote_path(&machine.path("nix"));
    let home = quote_path(&machine.path("home"));
    writeln!(
        text,
        " unshare --mount --propagation private \
         sh -c 'cd \"$1\" && mount --bind \"$0\" /nix && shift && exec \"$@\"' \
         {place} {home} \"$@\""
    )
    .expect("writing to a string cannot fail");
    text
}

/// Runs a program of a release with the environment that it needs; with a
/// copy of its stdin in `log` if one is given.
pub(super) fn peer_program(peer: &Peer, name: &str, log: Option<&Path>) -> String {
    let mut text = String::from("#!/bin/sh\n");
    for (variable, value) in peer.environment() {
        writeln!(text, "export {variable}={}", quote(&value))
            .expect("writing to a string cannot fail");
    }
    let program = quote_path(&peer.program(name));
    match log {
        Some(log) => writeln!(text, "tee -a {} | {program} \"$@\"", quote_path(log)),
        None => writeln!(text, "exec {program} \"$@\""),
    }
    .expect("writing to a string cannot fail");
    text
}

/// Stands in for ssh: takes options before and after the host, runs the local
/// command, and runs the remote command on the other machine through a shell.
/// `hosts` holds for each host name a program that runs its arguments there.
pub(super) fn ssh(log: &Path, hosts: &Path) -> String {
    SSH.replace("@LOG@", &quote_path(log))
        .replace("@HOSTS@", &quote_path(hosts))
}

fn quote_path(path: &Path) -> String {
    quote(
        path.to_str()
            .expect("temporary directories have UTF-8 names"),
    )
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

const SSH: &str = r#"#!/bin/sh
# Stands in for ssh between two machines of a test.
printf '%s\n' "$*" >> @LOG@
host= local= master=
option() {
    case "$1" in
        [Ll]ocal[Cc]ommand=*) local=${1#*=} ;;
    esac
}
while [ $# -gt 0 ]; do
    case "$1" in
        --) shift; [ -n "$host" ] || { host=$1; shift; }; break ;;
        -O*) echo "no master is running" >&2; exit 255 ;;
        -o) option "$2"; shift ;;
        -o*) option "${1#-o}" ;;
        -M|-N) master=1 ;;
        -[BbcDEeFIiJLlmpQRSWw]) shift ;;
        -*) ;;
        *) [ -z "$host" ] || break; host=$1 ;;
    esac
    shift
done
[ -n "$host" ] || { echo "usage: ssh destination [command]" >&2; exit 255; }
[ -z "$master" ] || { echo "this ssh has no master mode" >&2; exit 255; }
[ -z "$local" ] || sh -c "$local"
exec @HOSTS@/"${host#*@}" sh -c "$*"
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn run_ssh(arguments: &[&str]) -> (Option<i32>, String) {
        let place = tempfile::tempdir().expect("a temporary directory");
        let script = ssh(&place.path().join("log"), place.path());
        std::os::unix::fs::symlink("/usr/bin/env", place.path().join("host")).expect("a link");
        let output = Command::new("sh")
            .args(["-c", &script, "ssh"])
            .args(arguments)
            .output()
            .expect("a shell runs");
        (
            output.status.code(),
            String::from_utf8(output.stdout).expect("text"),
        )
    }

    #[test]
    fn takes_options_on_both_sides_of_the_host() {
        let (code, text) = run_ssh(&[
            "-p",
            "22",
            "-C",
            "user@host",
            "-x",
            "-a",
            "-i",
            "key",
            "--",
            "echo",
            "a  b",
            "'c'",
        ]);
        assert_eq!((code, text.as_str()), (Some(0), "a b c\n"));
    }

    #[test]
    fn one_word_command_after_the_options() {
        let (code, text) = run_ssh(&[
            "host",
            "-x",
            "-oUserKnownHostsFile=x",
            "echo --write; echo two",
        ]);
        assert_eq!((code, text.as_str()), (Some(0), "--write\ntwo\n"));
    }

    #[test]
    fn local_command_speaks_first() {
        let (code, text) = run_ssh(&[
            "host",
            "-oPermitLocalCommand=yes",
            "-oLocalCommand=echo started",
            "echo it",
        ]);
        assert_eq!((code, text.as_str()), (Some(0), "started\nit\n"));
    }

    #[test]
    fn there_is_no_master() {
        assert_eq!(run_ssh(&["-O", "check", "host"]).0, Some(255));
        assert_eq!(run_ssh(&["host", "-M", "-N", "-S", "socket"]).0, Some(255));
    }
}
