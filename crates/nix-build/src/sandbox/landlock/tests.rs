//! The scopes of this kernel, on threads of their own: scopes belong to threads.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use super::{Scoped, is_available, scope};

/// Runs `body` in a scope; `None` with a loud word where the kernel has none.
fn scoped<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    if !is_available() {
        test_support::say("SKIPPED: NO LANDLOCK SCOPES IN THIS KERNEL (Linux 6.12 has them)");
        return None;
    }
    let thread = std::thread::spawn(|| {
        rustix::thread::set_no_new_privs(true).unwrap();
        assert_eq!(scope().unwrap(), Scoped::Yes);
        body()
    });
    Some(thread.join().unwrap())
}

fn address(name: &str) -> SocketAddr {
    SocketAddr::from_abstract_name(format!("nix-build-{name}-{}", std::process::id())).unwrap()
}

#[test]
fn abstract_sockets_of_others_are_out_of_reach() {
    let there = address("others");
    let _listener = UnixListener::bind_addr(&there).unwrap();
    let connected = scoped(move || UnixStream::connect_addr(&there).map(drop));
    if let Some(connected) = connected {
        let error = connected.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    }
}

#[test]
fn abstract_sockets_of_the_build_itself_work() {
    let there = address("own");
    let connected = scoped(move || {
        let _listener = UnixListener::bind_addr(&there).unwrap();
        UnixStream::connect_addr(&there).map(drop)
    });
    if let Some(connected) = connected {
        connected.unwrap();
    }
}

#[test]
fn processes_of_others_cannot_be_signalled() {
    let mut other = Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = Pid::from_child(&other);
    let sent = scoped(move || kill_process(pid, Signal::TERM));
    if let Some(sent) = sent {
        assert_eq!(sent, Err(rustix::io::Errno::PERM));
        assert!(other.try_wait().unwrap().is_none());
    }
    other.kill().unwrap();
    other.wait().unwrap();
}
