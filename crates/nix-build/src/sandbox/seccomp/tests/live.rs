//! The filter in this kernel, on a thread of its own: filters belong to threads.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use crate::sandbox::seccomp::install;

/// Runs `body` under the filter, as root with all capabilities if this process is root.
fn filtered<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(|| {
        install(false).unwrap();
        body()
    })
    .join()
    .unwrap()
}

/// The same as user 65534, if this process is root.
fn filtered_as_nobody<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(|| {
        if rustix::process::geteuid().is_root() {
            // Of this thread only, unlike the C library's.
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        install(false).unwrap();
        body()
    })
    .join()
    .unwrap()
}

fn call(number: libc::c_long, arguments: [libc::c_long; 4]) -> Result<libc::c_long, i32> {
    let [a, b, c, d] = arguments;
    // SAFETY: the callers pass descriptors, numbers, and pointers to strings that live on.
    match unsafe { libc::syscall(number, a, b, c, d) } {
        -1 => Err(io::Error::last_os_error().raw_os_error().unwrap()),
        result => Ok(result),
    }
}

fn temporary() -> (tempfile::TempDir, File) {
    let dir = tempfile::tempdir().unwrap();
    let file = File::create(dir.path().join("file")).unwrap();
    rustix::fs::chmod(dir.path(), rustix::fs::Mode::from_raw_mode(0o777)).unwrap();
    (dir, file)
}

fn check_calls(file: &File) {
    let fd = libc::c_long::from(file.as_raw_fd());
    let empty = c"".as_ptr() as libc::c_long;
    let name = c"user.x".as_ptr() as libc::c_long;
    assert_eq!(call(libc::SYS_fchmod, [fd, 0o4755, 0, 0]), Err(libc::EPERM));
    assert_eq!(call(libc::SYS_fchmod, [fd, 0o2755, 0, 0]), Err(libc::EPERM));
    assert_eq!(
        call(
            libc::SYS_fchmodat2,
            [fd, empty, 0o4755, libc::AT_EMPTY_PATH.into()]
        ),
        Err(libc::EPERM)
    );
    assert_eq!(
        call(libc::SYS_fsetxattr, [fd, name, name, 1]),
        Err(libc::ENOTSUP)
    );
    assert_eq!(
        call(libc::SYS_fgetxattr, [fd, name, 0, 0]),
        Err(libc::ENOTSUP)
    );
    assert_eq!(
        call(libc::SYS_flistxattr, [fd, 0, 0, 0]),
        Err(libc::ENOTSUP)
    );
    assert_eq!(call(SETXATTRAT, [fd, empty, 0, name]), Err(libc::ENOTSUP));
    assert_eq!(
        call(libc::SYS_io_uring_setup, [1, 0, 0, 0]),
        Err(libc::ENOSYS)
    );
    assert_eq!(call(libc::SYS_keyctl, [0, -3, 0, 0]), Err(libc::ENOSYS));
    assert_eq!(call(libc::SYS_bpf, [0, 0, 0, 0]), Err(libc::EPERM));
    assert_eq!(call(100_000, [0; 4]), Err(libc::ENOSYS));
    assert!(call(libc::SYS_getpid, [0; 4]).is_ok());
}

const SETXATTRAT: libc::c_long = 463;

#[test]
fn holds_with_all_capabilities() {
    let (_dir, file) = temporary();
    filtered(move || {
        check_calls(&file);
        assert!(rustix::thread::no_new_privs().unwrap());
    });
}

#[test]
fn holds_without_privileges() {
    let (_dir, file) = temporary();
    filtered_as_nobody(move || check_calls(&file));
}

#[test]
fn new_files_have_plain_modes() {
    let (dir, _file) = temporary();
    let at = dir.path().to_owned();
    filtered_as_nobody(move || {
        use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, openat};
        let suid = Mode::from_raw_mode(0o4755);
        let create = OFlags::CREATE | OFlags::WRONLY;
        let refused = rustix::io::Errno::PERM;
        assert_eq!(
            openat(CWD, at.join("a"), create, suid).unwrap_err(),
            refused
        );
        let hidden = openat(CWD, &at, OFlags::TMPFILE | OFlags::WRONLY, suid);
        assert_eq!(hidden.unwrap_err(), refused);
        let made = mknodat(CWD, at.join("b"), FileType::RegularFile, suid, 0);
        assert_eq!(made.unwrap_err(), refused);
        openat(CWD, at.join("c"), create, Mode::from_raw_mode(0o755)).unwrap();
        openat(CWD, at.join("c"), OFlags::RDONLY, suid).unwrap();
    });
}

#[test]
fn a_filter_without_privileges_needs_no_new_privs() {
    let result = std::thread::spawn(|| {
        if rustix::process::geteuid().is_root() {
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        install(true)
    })
    .join()
    .unwrap();
    let error = result.unwrap_err();
    assert_eq!(
        error.to_string(),
        "sandbox layer 'syscall-filter': cannot filter system calls"
    );
    assert_eq!(error.source.raw_os_error(), Some(libc::EACCES));
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;

    /// `fchmod` by the gate of i386.
    fn fchmod_i386(fd: i32, mode: u32) -> i32 {
        const FCHMOD: i32 = 94;
        let answer: i32;
        // SAFETY: the call has no pointers; `rbx`, which the compiler keeps for itself, is put
        // back; the gate changes nothing but `rax`, and clobbers r8–r11.
        unsafe {
            std::arch::asm!(
                "xchg rbx, {fd}",
                "int 0x80",
                "xchg rbx, {fd}",
                fd = inout(reg) i64::from(fd) => _,
                inlateout("eax") FCHMOD => answer,
                in("ecx") mode,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            );
        }
        answer
    }

    #[test]
    fn holds_for_32_bit_calls() {
        let (_dir, file) = temporary();
        if std::fs::metadata("/proc/sys/abi/vsyscall32").is_err() {
            test_support::say("SKIPPED: this kernel runs no 32-bit programs");
            return;
        }
        filtered(move || {
            assert_eq!(fchmod_i386(file.as_raw_fd(), 0o4755), -libc::EPERM);
            assert_eq!(fchmod_i386(file.as_raw_fd(), 0o755), 0);
        });
    }

    #[test]
    fn holds_for_x32_calls() {
        let (_dir, file) = temporary();
        filtered(move || {
            let fd = libc::c_long::from(file.as_raw_fd());
            let fchmod = libc::SYS_fchmod | 1 << 30;
            assert_eq!(call(fchmod, [fd, 0o4755, 0, 0]), Err(libc::EPERM));
            let plain = call(fchmod, [fd, 0o755, 0, 0]);
            // The second, if the kernel is built without x32.
            assert!(plain == Ok(0) || plain == Err(libc::ENOSYS), "{plain:?}");
        });
    }
}
