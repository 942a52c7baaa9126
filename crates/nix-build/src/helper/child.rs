//! The process that becomes the builder: between its creation and the program.

use std::ffi::{CString, NulError};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use posix::unistd::execve;
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::protocol::{self, Begin, Go, Note, receive, send};
use crate::config::Layer;
use crate::sandbox::SandboxError;
use crate::sandbox::confine::{arm_death_signal, confine};
use crate::sandbox::plan::{OsBytes, Program, SandboxPlan};
use crate::sandbox::sys;

/// Runs the builder that is announced on `sync`; never returns.
pub(super) fn run(sync: OwnedFd) -> ! {
    // A panic must not reach the code of the parent that this is a copy of.
    let code = catch_unwind(AssertUnwindSafe(|| run_to_exit_code(sync))).unwrap_or(FAILED);
    sys::exit_now(code)
}

fn run_to_exit_code(sync: OwnedFd) -> i32 {
    let Ok(sync) = sys::keep_only(sync, SYNC) else {
        return FAILED;
    };
    match prepare(&sync) {
        Ok(Some(plan)) => run_program(plan.program, sync),
        Ok(None) => FAILED,
        Err(error) => {
            let failure = protocol::cut(error.to_failure());
            let _ = send(sync.as_fd(), &Note::Failed(failure), &[]);
            FAILED
        }
    }
}

/// Confines this process; `None` if the parent is gone.
fn prepare(sync: &OwnedFd) -> Result<Option<SandboxPlan>, SandboxError> {
    arm_death_signal()?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let internal = |step| move |error| SandboxError::new(Layer::Namespaces, step, error);
    let begun = receive::<Begin>(sync.as_fd()).map_err(internal("hear from the helper"))?;
    let Some((begin, descriptors)) = begun else {
        return Ok(None);
    };
    let [plan, log] = <[OwnedFd; 2]>::try_from(descriptors)
        .map_err(|_| internal("get the log")(io::ErrorKind::InvalidData.into()))?;
    let plan: SandboxPlan =
        protocol::read_plan(&plan).map_err(internal("read the plan of the sandbox"))?;
    standard_streams(log).map_err(internal("connect the builder with its log"))?;
    let mut await_go = |needs_ids| {
        send(sync.as_fd(), &Note::Ready { needs_ids }, &[])
            .and_then(|()| receive::<Go>(sync.as_fd()))
            .and_then(|go| go.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()))
            .map(drop)
            .map_err(internal("wait for the helper"))
    };
    confine(&plan, begin.missing, &mut await_go)?;
    // If the parent died before the death signal was armed, this fails.
    send(sync.as_fd(), &Note::Started, &[]).map_err(internal("tell the helper"))?;
    Ok(Some(plan))
}

/// Nothing to read, the log to write to, and a session of its own.
fn standard_streams(log: OwnedFd) -> io::Result<()> {
    let null = openat(
        CWD,
        "/dev/null",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    sys::put_at(null.as_fd(), 0)?;
    sys::put_at(log.as_fd(), 1)?;
    sys::put_at(log.as_fd(), 2)?;
    rustix::process::setsid()?;
    Ok(())
}

fn run_program(program: Program, sync: OwnedFd) -> i32 {
    match program {
        Program::Exec { path, args, env } => {
            if sys::close_on_exec_from(FIRST_OTHER).is_err() {
                return FAILED;
            }
            let error = execute(&path, args, env);
            say(&format!(
                "error: executing '{}': {error}\n",
                path.as_path().display()
            ));
            // Open until here, so that the program has begun when this end is closed.
            drop(sync);
            FAILED
        }
        Program::Builtin(call) => {
            std::mem::forget(sync);
            if sys::close_all_from(FIRST_OTHER).is_err() {
                return FAILED;
            }
            crate::builtin::run_to_exit_code(&call).into()
        }
    }
}

/// Becomes the program, or says why not.
fn execute(path: &OsBytes, args: Vec<OsBytes>, env: Vec<(OsBytes, OsBytes)>) -> String {
    let with_nul = |_: NulError| sys::error_text(libc::EINVAL);
    let run = || -> Result<String, NulError> {
        let path = CString::new(path.0.clone())?;
        let args = args.into_iter().map(|arg| CString::new(arg.0));
        let env = env.into_iter().map(|(name, value)| {
            let mut variable = name.0;
            variable.push(b'=');
            variable.extend_from_slice(&value.0);
            CString::new(variable)
        });
        let args = args.collect::<Result<Vec<_>, _>>()?;
        let env = env.collect::<Result<Vec<_>, _>>()?;
        let Err(error) = execve(&path, &args, &env);
        Ok(sys::error_text(error as i32))
    };
    run().unwrap_or_else(with_nul)
}

/// Writes to the log.
fn say(text: &str) {
    let mut log = std::io::stderr();
    let _ = log.write_all(text.as_bytes());
}

/// The number of the descriptor on which the parent is.
const SYNC: i32 = 3;
/// The first descriptor that isn't a standard stream.
const FIRST_OTHER: i32 = 3;
/// The exit code when the program doesn't run.
const FAILED: i32 = 1;
