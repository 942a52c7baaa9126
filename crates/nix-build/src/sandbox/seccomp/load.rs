//! Hands a program to the kernel. One of the few modules with `unsafe`: no safe crate loads a
//! filter that covers several architectures.
#![allow(unsafe_code)]

use std::io;

use super::assemble::Instruction;

/// Filters this thread, and what it starts, for good.
pub(super) fn load(program: &[Instruction]) -> io::Result<()> {
    let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(too_long)?,
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: `filter` describes `program`, whose elements are laid out like `sock_filter`
    // (asserted below); the kernel only reads it, and copies it before it returns.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const filter,
        )
    };
    match answer {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

const _: () = {
    assert!(size_of::<Instruction>() == size_of::<libc::sock_filter>());
    assert!(align_of::<Instruction>() == align_of::<libc::sock_filter>());
    assert!(std::mem::offset_of!(Instruction, value) == std::mem::offset_of!(libc::sock_filter, k));
    assert!(
        std::mem::offset_of!(Instruction, jump_true) == std::mem::offset_of!(libc::sock_filter, jt)
    );
};
