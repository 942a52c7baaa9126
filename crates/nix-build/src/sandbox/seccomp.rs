//! The filter of system calls (SEC-44).
//!
//! An allow-list by name (`policy`), resolved to the numbers of each architecture whose programs
//! the kernel runs (`tables`), made into one program of classic BPF (`compile`) and handed to
//! the kernel (`load`).

mod assemble;
mod compile;
mod load;
mod policy;
mod tables;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use super::SandboxError;
use crate::config::Layer;

/// Filters the system calls of this thread and of all that it starts, for good.
///
/// Sets `no_new_privs` first unless `allow_new_privileges`; without it the thread needs
/// `CAP_SYS_ADMIN` in its user namespace.
///
/// # Errors
/// The kernel refuses, or there is no filter for this architecture.
pub fn install(allow_new_privileges: bool) -> Result<(), SandboxError> {
    let fail = |step, source| SandboxError::new(Layer::SyscallFilter, step, source);
    if !is_available() {
        return Err(fail(
            "filter system calls: no filter for this architecture is known, or the kernel lacks \
             CONFIG_SECCOMP_FILTER",
            std::io::ErrorKind::Unsupported.into(),
        ));
    }
    if !allow_new_privileges {
        rustix::thread::set_no_new_privs(true)
            .map_err(|error| fail("set no_new_privs", error.into()))?;
    }
    load::load(program()).map_err(|error| fail("filter system calls", error))
}

/// Compiles the filter, so that [`install`] in a new process costs two system calls.
pub fn prepare() {
    program();
}

/// Whether there is a filter for this architecture.
#[must_use]
pub fn is_available() -> bool {
    !program().is_empty()
}

fn program() -> &'static [assemble::Instruction] {
    static PROGRAM: OnceLock<Vec<assemble::Instruction>> = OnceLock::new();
    PROGRAM.get_or_init(|| match tables::architectures() {
        none if none.is_empty() => Vec::new(),
        architectures => compile::compile(&architectures),
    })
}
