//! Asks the kernel for its interface. One of the few modules with `unsafe`: the crate keeps the
//! number to itself.
#![allow(unsafe_code)]

pub(super) fn abi() -> u32 {
    const VERSION: libc::c_ulong = 1;
    // SAFETY: with this flag the call takes a null pointer and size 0, and makes nothing.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0usize,
            VERSION,
        )
    };
    u32::try_from(answer).unwrap_or(0)
}
