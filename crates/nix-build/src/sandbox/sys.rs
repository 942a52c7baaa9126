//! System calls that no crate of ours wraps safely.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use libc::{c_int, c_long, c_ulong};

/// Which of the two processes this is after [`clone_process`].
pub(crate) enum Cloned {
    /// The new one.
    Child,
    /// The old one.
    Parent {
        /// The new process, in the old one's namespace.
        pid: i32,
        /// A descriptor of it.
        pidfd: OwnedFd,
    },
}

/// `fork` into new namespaces.
///
/// Must be called in a process without threads: there, the new process is a whole copy in
/// which everything works. That is checked.
pub(crate) fn clone_process(flags: c_int) -> io::Result<Cloned> {
    debug_assert!(is_single_threaded(), "clone in a process with threads");
    let mut pidfd: c_int = -1;
    let flags = c_ulong::from((flags | libc::CLONE_PIDFD | libc::SIGCHLD).cast_unsigned());
    // SAFETY: without CLONE_VM and with no stack given this behaves as fork. The kernel
    // writes a descriptor to `pidfd`, which lives on this stack. No other thread exists
    // that could hold a lock in the copy.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            flags,
            std::ptr::null_mut::<libc::c_void>(),
            &raw mut pidfd,
            std::ptr::null_mut::<c_int>(),
            0 as c_ulong,
        )
    };
    match pid {
        0 => Ok(Cloned::Child),
        pid if pid > 0 => Ok(Cloned::Parent {
            pid: i32::try_from(pid).map_err(io::Error::other)?,
            // SAFETY: the kernel has just made this descriptor for us.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn is_single_threaded() -> bool {
    // Where /proc isn't mounted there is nothing to check with.
    std::fs::read_dir("/proc/self/task").map_or(true, |tasks| tasks.count() == 1)
}

/// Ends this process at once: nothing is flushed, no destructor runs.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Adds attributes (`MOUNT_ATTR_*`) to a mount.
pub(crate) fn add_mount_attributes(mount: BorrowedFd<'_>, attributes: u64) -> io::Result<()> {
    #[repr(C)]
    struct MountAttr {
        attr_set: u64,
        attr_clr: u64,
        propagation: u64,
        userns_fd: u64,
    }
    let attr = MountAttr {
        attr_set: attributes,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the path is a C string, `attr` has the layout and the size that are told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    done(result)
}

/// A mount is read-only.
pub(crate) const MOUNT_ATTR_RDONLY: u64 = 0x1;
/// Set-user-ID bits have no effect.
pub(crate) const MOUNT_ATTR_NOSUID: u64 = 0x2;
/// Device nodes have no effect.
pub(crate) const MOUNT_ATTR_NODEV: u64 = 0x4;

/// Adds bits to the personality of this process.
pub(crate) fn add_personality(bits: u32) -> io::Result<()> {
    // SAFETY: personality has no memory arguments; this value asks for the present one.
    let now = unsafe { libc::personality(0xffff_ffff) };
    if now < 0 {
        return Err(io::Error::last_os_error());
    }
    let wanted = c_ulong::from(now.cast_unsigned() | bits);
    // SAFETY: as above.
    done(unsafe { libc::personality(wanted) }.into())
}

/// Marks the loopback interface of this network namespace as up.
pub(crate) fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: an ifreq of zeroes is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        // Whether characters are signed depends on the architecture.
        *to = *from as libc::c_char;
    }
    // The type of these flags is smaller than that of the constants.
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP).map_err(io::Error::other)?;
    // SAFETY: this request reads one ifreq.
    let result = unsafe {
        libc::ioctl(
            socket.as_fd().as_raw_fd(),
            SIOCSIFFLAGS as _,
            &raw const request,
        )
    };
    done(result.into())
}

const SIOCSIFFLAGS: u32 = 0x8914;

/// Makes `new` the descriptor number `number`, which stays open over an exec.
pub(crate) fn put_at(new: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: dup2 has no memory arguments. Callers give the numbers of the standard
    // streams, which nothing in this process owns.
    done(unsafe { libc::dup2(new.as_raw_fd(), number) }.into())
}

/// Moves a descriptor to `number` and closes all that come after it.
///
/// Only for a process that has just been cloned, and where no value that owns a descriptor
/// is used, or dropped, any more.
pub(crate) fn keep_only(descriptor: OwnedFd, number: RawFd) -> io::Result<OwnedFd> {
    let old = std::os::fd::IntoRawFd::into_raw_fd(descriptor);
    if old != number {
        // SAFETY: whatever had this number before is forgotten by the caller.
        done(unsafe { libc::dup3(old, number, libc::O_CLOEXEC) }.into())?;
    }
    close_from(number + 1, 0)?;
    // SAFETY: the descriptor was put there right now.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Marks all descriptors from `first` on to be closed by exec.
pub(crate) fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    close_from(first, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes all descriptors from `first` on; only where nothing that owns one is used or
/// dropped any more.
pub(crate) fn close_all_from(first: RawFd) -> io::Result<()> {
    close_from(first, 0)
}

fn close_from(first: RawFd, flags: u32) -> io::Result<()> {
    // SAFETY: no memory is involved; that nobody uses these descriptors any more is what
    // the callers promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            c_long::from(first),
            c_long::from(u32::MAX),
            c_long::from(flags),
        )
    };
    done(result)
}

/// Gives all signals their default effect, also those that the C library keeps for itself.
pub(crate) fn default_signals() -> io::Result<()> {
    for signal in 1..=LAST_SIGNAL {
        let action = KernelAction::default();
        // SAFETY: the default disposition runs no code of ours.
        let result = unsafe { signal_action(signal, &raw const action, std::ptr::null_mut()) };
        if result != 0 && !matches!(signal, libc::SIGKILL | libc::SIGSTOP) {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The first signal that is ignored or handled.
pub(crate) fn first_signal_not_default() -> Option<c_int> {
    (1..=LAST_SIGNAL).find(|signal| {
        let mut action = KernelAction::default();
        // SAFETY: only the present disposition is asked for.
        let result = unsafe { signal_action(*signal, std::ptr::null(), &raw mut action) };
        result != 0 || action.handler != libc::SIG_DFL
    })
}

/// What the kernel has for a signal: at least as large as on any architecture, and zero for
/// the default.
#[repr(C)]
#[derive(Default)]
struct KernelAction {
    handler: libc::sighandler_t,
    flags: c_ulong,
    restorer: usize,
    mask: [u64; 2],
}

const LAST_SIGNAL: c_int = 64;

/// # Safety
/// A handler in `new` must be one.
unsafe fn signal_action(signal: c_int, new: *const KernelAction, old: *mut KernelAction) -> c_long {
    // SAFETY: both are null or as large as the kernel's structure, whose mask has 8 bytes.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, new, old, 8 as c_ulong) }
}

/// The kernel's text for an error, as the C library has it.
pub(crate) fn error_text(code: i32) -> String {
    let mut buffer = [0u8; 128];
    // SAFETY: the buffer has the length that is told.
    let result = unsafe { libc::strerror_r(code, buffer.as_mut_ptr().cast(), buffer.len()) };
    match CStr::from_bytes_until_nul(&buffer) {
        Ok(text) if result == 0 => text.to_string_lossy().into_owned(),
        _ => format!("error {code}"),
    }
}

fn done(result: c_long) -> io::Result<()> {
    match result {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
