//! The numbers of the calls that the policy names, per architecture.

use super::compile::{Architecture, Table};
use super::policy::Rule;

/// The architectures that this kernel may run programs of; none if there is no filter for it.
pub(super) fn architectures() -> Vec<Architecture> {
    match std::env::consts::ARCH {
        "x86_64" | "x86" => vec![x86_64(), i386()],
        "aarch64" | "arm" => vec![aarch64(), arm()],
        _ => Vec::new(),
    }
}

/// `AUDIT_ARCH_X86_64` and so on: the ELF machine, and bits for 64 bits and little endian.
pub(super) const AUDIT_X86_64: u32 = 62 | IS_64 | LITTLE_ENDIAN;
pub(super) const AUDIT_I386: u32 = 3 | LITTLE_ENDIAN;
pub(super) const AUDIT_AARCH64: u32 = 183 | IS_64 | LITTLE_ENDIAN;
pub(super) const AUDIT_ARM: u32 = 40 | LITTLE_ENDIAN;

const IS_64: u32 = 0x8000_0000;
const LITTLE_ENDIAN: u32 = 0x4000_0000;

macro_rules! table {
    ($module:ident) => {
        // The crate's iterator leaves out the last one.
        syscalls::$module::Sysno::iter()
            .chain([syscalls::$module::Sysno::last()])
            .map(|call| (call.id().cast_unsigned(), Rule::of(call.name())))
            .collect::<Table>()
    };
}

pub(super) fn x86_64() -> Architecture {
    let table = table!(x86_64);
    let x32 = x32(&table);
    Architecture {
        audit: AUDIT_X86_64,
        table,
        x32: Some(x32),
    }
}

pub(super) fn i386() -> Architecture {
    Architecture {
        audit: AUDIT_I386,
        table: table!(x86),
        x32: None,
    }
}

pub(super) fn aarch64() -> Architecture {
    Architecture {
        audit: AUDIT_AARCH64,
        table: table!(aarch64),
        x32: None,
    }
}

pub(super) fn arm() -> Architecture {
    let mut table = table!(arm);
    // `breakpoint`, `cacheflush`, `usr26`, `usr32`, `set_tls`, `get_tls`: ARM's own calls, which
    // every program needs and no table has.
    table.extend((ARM_PRIVATE + 1..=ARM_PRIVATE + 6).map(|number| (number, Rule::Allow)));
    Architecture {
        audit: AUDIT_ARM,
        table,
        x32: None,
    }
}

/// The same rules as for the native calls of these numbers, and x32's own numbers.
fn x32(native: &Table) -> Table {
    let mut table: Table = native
        .range(..X32_FIRST)
        .map(|(number, rule)| (*number, *rule))
        .collect();
    table.extend((X32_FIRST..).zip(X32_CALLS.iter().map(|name| Rule::of(name))));
    table
}

const ARM_PRIVATE: u32 = 0x000f_0000;

/// The first of the numbers that only x32 has.
const X32_FIRST: u32 = 512;

/// What they are, in order.
#[rustfmt::skip]
pub(super) const X32_CALLS: &[&str] = &[
    "rt_sigaction", "rt_sigreturn", "ioctl", "readv", "writev", "recvfrom", "sendmsg", "recvmsg",
    "execve", "ptrace", "rt_sigpending", "rt_sigtimedwait", "rt_sigqueueinfo", "sigaltstack",
    "timer_create", "mq_notify", "kexec_load", "waitid", "set_robust_list", "get_robust_list",
    "vmsplice", "move_pages", "preadv", "pwritev", "rt_tgsigqueueinfo", "recvmmsg", "sendmmsg",
    "process_vm_readv", "process_vm_writev", "setsockopt", "getsockopt", "io_setup", "io_submit",
    "execveat", "preadv2", "pwritev2",
];
