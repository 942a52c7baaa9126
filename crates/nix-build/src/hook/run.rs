//! Running a hook: its descriptors, its output, its end.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// How a program ended, in Nix's words.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("failed with exit code {code}"),
        (None, Some(signal)) => format!("failed due to signal {signal}"),
        (None, None) => "died abnormally".to_owned(),
    }
}
