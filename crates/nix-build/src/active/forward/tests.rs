//! Clients that read late, or not at all.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use super::*;

/// A log with so many lines of sixteen bytes.
fn log(lines: usize) -> (File, Vec<u8>) {
    let text: Vec<u8> = (0..lines)
        .flat_map(|i| format!("{i:0>15}\n").into_bytes())
        .collect();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&text).unwrap();
    (file, text)
}

fn start(log: &File, fd: OwnedFd) -> (Forwarder, Arc<LogTarget>) {
    let target = Arc::new(LogTarget::new(fd));
    let wake = Arc::new(Wake::default());
    let forwarder = Forwarder::start(log.try_clone().unwrap(), Arc::clone(&target), wake);
    (forwarder, target)
}

#[test]
fn a_client_that_goes_on_reading_gets_everything() {
    let (log, text) = log(50_000);
    let (read, write) = rustix::pipe::pipe().unwrap();
    let (forwarder, target) = start(&log, write);
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        File::from(read).read_to_end(&mut all).unwrap();
        all
    });
    forwarder.finish(text.len() as u64);
    drop(target);
    assert!(reader.join().unwrap() == text);
}

#[test]
fn lines_that_come_later_are_shown_too() {
    let (mut log, mut text) = log(3);
    let (mut read, write) = std::io::pipe().unwrap();
    let (forwarder, target) = start(&log, write.into());
    let mut seen = vec![0; text.len()];
    read.read_exact(&mut seen).unwrap();
    assert_eq!(seen, text);
    log.write_all(b"later").unwrap();
    text.extend_from_slice(b"later");
    forwarder.finish(text.len() as u64);
    drop(target);
    let mut rest = String::new();
    read.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "later\n");
}

#[test]
fn a_client_that_doesn_t_read_is_told_later_that_it_missed_something() {
    let (log, text) = log(50_000);
    let (mut read, write) = std::io::pipe().unwrap();
    let (forwarder, target) = start(&log, write.into());
    forwarder.finish(text.len() as u64);
    // The thread sees within a poll that nobody waits for it any more.
    while Arc::strong_count(&target) > 1 {
        std::thread::yield_now();
    }
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        read.read_to_end(&mut all).unwrap();
        all
    });
    while target.write_some(b"next\n", POLL) != Written::Bytes(5) {}
    drop(target);
    let seen = reader.join().unwrap();
    let missed = seen.windows(4).any(|part| part == b"note");
    assert!(missed && seen.len() < text.len());
}

#[test]
fn a_client_that_is_gone_is_no_trouble() {
    let (log, text) = log(50_000);
    let (read, write) = rustix::pipe::pipe().unwrap();
    drop(read);
    let (forwarder, _) = start(&log, write);
    forwarder.finish(text.len() as u64);
}

#[test]
fn flags_of_the_client_s_descriptor_stay() {
    let (log, text) = log(10);
    let (mut read, write) = std::io::pipe().unwrap();
    let other = write.try_clone().unwrap();
    let before = rustix::fs::fcntl_getfl(&other).unwrap();
    let (forwarder, target) = start(&log, write.into());
    forwarder.finish(text.len() as u64);
    assert_eq!(rustix::fs::fcntl_getfl(&other).unwrap(), before);
    drop((other, target));
    let mut all = Vec::new();
    read.read_to_end(&mut all).unwrap();
    assert_eq!(all, text);
}

#[test]
fn terminals_get_logs_too() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let slave = rustix::fs::open(&name, flags, rustix::fs::Mode::empty()).unwrap();
    let (log, text) = log(1000);
    let expected = text.len() + 1000;
    let reader = std::thread::spawn(move || {
        let mut all = vec![0; expected];
        File::from(master).read_exact(&mut all).unwrap();
        all
    });
    let (forwarder, _target) = start(&log, slave);
    forwarder.finish(text.len() as u64);
    let shown = String::from_utf8(reader.join().unwrap()).unwrap();
    assert_eq!(shown.replace("\r\n", "\n").into_bytes(), text);
}
