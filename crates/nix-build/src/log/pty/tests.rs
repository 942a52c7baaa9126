use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use rustix::fs::fstat;
use rustix::io::{FdFlags, fcntl_getfd};
use rustix::termios::isatty;

use super::*;

fn builder(channel: &LogChannel, script: &str) -> Command {
    let writer = channel.writer.try_clone().unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .stdin(Stdio::null())
        .stdout(writer.try_clone().unwrap())
        .stderr(writer);
    command
}

#[test]
fn bytes_pass_unchanged_until_the_builder_is_gone() {
    let mut channel = LogChannel::open(None).unwrap();
    let mut child = builder(
        &channel,
        r"printf 'a\n\tb\r\nc\003\004\177\000\377d'; printf e >&2",
    )
    .spawn()
    .unwrap();
    drop(channel.writer);
    let mut log = Vec::new();
    channel.reader.read_to_end(&mut log).unwrap();
    assert_eq!(log, b"a\n\tb\r\nc\x03\x04\x7f\x00\xffde");
    assert!(child.wait().unwrap().success());
}

#[test]
fn builders_see_a_terminal_of_their_own() {
    let mut channel = LogChannel::open(None).unwrap();
    assert!(channel.reader.is_terminal(), "this machine has terminals");
    assert!(isatty(&channel.writer));
    let mut child = builder(&channel, "test -t 1 && test -t 2 && echo yes")
        .spawn()
        .unwrap();
    drop(channel.writer);
    let mut log = String::new();
    channel.reader.read_to_string(&mut log).unwrap();
    assert_eq!(log, "yes\n");
    child.wait().unwrap();
}

#[test]
fn descriptors_are_closed_on_exec_and_the_mode_is_tight() {
    for channel in [
        LogChannel::open(None).unwrap(),
        LogChannel::open_pipe(None).unwrap(),
    ] {
        assert_eq!(fcntl_getfd(&channel.reader).unwrap(), FdFlags::CLOEXEC);
        assert_eq!(fcntl_getfd(&channel.writer).unwrap(), FdFlags::CLOEXEC);
        assert_eq!(fstat(&channel.writer).unwrap().st_mode & 0o777, 0o600);
    }
}

#[test]
fn the_builders_end_belongs_to_the_builder() {
    if !rustix::process::geteuid().is_root() {
        test_support::say_missing("NOT ROOT: THE OWNER OF A TERMINAL ISN'T TESTED", false);
        return;
    }
    for channel in [
        LogChannel::open(Some((12345, 23456))).unwrap(),
        LogChannel::open_pipe(Some((12345, 23456))).unwrap(),
    ] {
        let stat = fstat(&channel.writer).unwrap();
        assert_eq!((stat.st_uid, stat.st_gid), (12345, 23456));
    }
}

#[test]
fn a_pipe_does_as_well() {
    let mut channel = LogChannel::open_pipe(None).unwrap();
    assert!(!channel.reader.is_terminal());
    std::fs::File::from(channel.writer)
        .write_all(b"x\n")
        .unwrap();
    let mut log = Vec::new();
    channel.reader.read_to_end(&mut log).unwrap();
    assert_eq!(log, b"x\n");
}

#[test]
fn nothing_that_we_write_is_echoed() {
    let channel = LogChannel::open(None).unwrap();
    let mut reader = channel.reader;
    (&reader.file).write_all(b"typed\n").unwrap();
    drop(channel.writer);
    let mut log = Vec::new();
    reader.read_to_end(&mut log).unwrap();
    assert_eq!(log, b"");
    assert!(reader.file.as_raw_fd() > 2);
}

#[test]
fn long_logs_arrive_whole() {
    const BYTES: usize = 100 << 20;
    let mut channel = LogChannel::open(None).unwrap();
    let script = format!("yes 'a line of a log that is neither long nor short' | head -c {BYTES}");
    let mut child = builder(&channel, &script).spawn().unwrap();
    drop(channel.writer);
    let mut buffer = vec![0; 128 * 1024];
    let mut count = 0;
    loop {
        match channel.reader.read(&mut buffer).unwrap() {
            0 => break,
            read => count += read,
        }
    }
    assert_eq!(count, BYTES);
    child.wait().unwrap();
}
