//! From the start of a server to the end of the handshake.

use anyhow::Result;

use super::Bench;
use super::measure::{Clock, Mode, Sample, measure};
use super::program::Program;
use super::report::{Candidate, Claim, Group};
use super::session::Session;

pub(super) fn run(bench: &Bench) -> Result<()> {
    let scratch = bench.fast.path().join("handshake");
    std::fs::create_dir_all(&scratch)?;
    let mut candidates = Vec::new();
    for program in bench.all() {
        let root = scratch.join(&program.name);
        program.init(&root)?;
        candidates.push(Candidate::new(&program.name, program.role(), {
            let scratch = scratch.clone();
            move |mode| match mode {
                Mode::Time => shake_hands(program, &root),
                // The whole life of a server whose client hangs up after the handshake.
                Mode::Count => {
                    let hello = scratch.join("hello");
                    std::fs::write(&hello, HELLO)?;
                    let mut command = program.serve(&root)?;
                    command.stdin(std::fs::File::open(&hello)?);
                    command.stdout(std::process::Stdio::null());
                    measure(&mut command, mode, &scratch)
                }
            }
        }));
    }
    let group = Group {
        title: "start of the server to the end of the handshake".to_owned(),
        candidates,
        claims: vec![Claim::ours(0.05)],
    };
    bench.report.measure(group, bench.runs * 10, &scratch)
}

fn shake_hands(program: &Program, root: &std::path::Path) -> Result<Sample> {
    let mut command = program.serve(root)?;
    let clock = Clock::start()?;
    let session = Session::start(&mut command)?;
    let wall = clock.elapsed();
    session.finish()?;
    clock.stop_at(wall)
}

/// The client's magic number and version 2.7.
const HELLO: [u8; 16] = [
    0xeb, 0x9d, 0x0c, 0x39, 0, 0, 0, 0, 0x07, 0x02, 0, 0, 0, 0, 0, 0,
];
