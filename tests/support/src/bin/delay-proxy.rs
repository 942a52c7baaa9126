//! `delay-proxy MILLISECONDS COMMAND [ARGUMENT…]`: runs a command at the far
//! end of a link with that round-trip time.

use std::process::{Command, ExitCode};
use std::time::Duration;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let delay = arguments
        .next()
        .and_then(|text| text.to_str()?.parse().ok());
    let (Some(delay), Some(program)) = (delay, arguments.next()) else {
        test_support::say("usage: delay-proxy MILLISECONDS COMMAND [ARGUMENT…]");
        return ExitCode::from(2);
    };
    let mut command = Command::new(program);
    command.args(arguments);
    match test_support::relay_command(command, Duration::from_millis(delay)) {
        Ok(status) => ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)),
        Err(error) => {
            test_support::say(&format!("delay-proxy: {error}"));
            ExitCode::FAILURE
        }
    }
}
