//! Peak memory of client and server while one large path goes through, above what the copy of
//! a tiny path takes.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, bail};

use super::program::Program;
use super::{Bench, corpus};

pub(super) fn run(bench: &Bench) -> Result<()> {
    let dir = bench.disk.path().join("memory");
    fs::create_dir_all(&dir)?;
    let mebibytes = bench.scaled(4096);
    let large = corpus::make_store(&bench.real[0], &dir.join("large"), &[mebibytes << 20])?;
    let tiny = corpus::make_store(&bench.real[0], &dir.join("tiny"), &[1000])?;
    let title = format!("peak memory above idle, one path of {mebibytes} MiB");
    println!("\n{title}");
    let ours = grown(&bench.ours, &dir, &tiny, &large)?;
    let real = grown(&bench.real[0], &dir, &tiny, &large)?;
    for (name, peaks) in [("ours", &ours), (bench.real[0].name.as_str(), &real)] {
        println!(
            "  {name:<28}client {:>8.1} MiB, server {:>8.1} MiB",
            peaks.client, peaks.server
        );
    }
    for (side, grown) in [("client", ours.client), ("server", ours.server)] {
        let what = format!("{title}: {side}: {grown:.1} MiB; at most 16");
        bench.report.note(&what, grown <= 16.0);
    }
    Ok(())
}

/// Peaks of both ends in MiB.
#[derive(Debug, Default, Clone, Copy)]
struct Peaks {
    client: f64,
    server: f64,
}

fn grown(
    program: &Program,
    dir: &Path,
    tiny: &corpus::Store,
    large: &corpus::Store,
) -> Result<Peaks> {
    let idle = peaks_of_copy(program, dir, tiny)?;
    let busy = peaks_of_copy(program, dir, large)?;
    Ok(Peaks {
        client: busy.client - idle.client,
        server: busy.server - idle.server,
    })
}

fn peaks_of_copy(program: &Program, dir: &Path, source: &corpus::Store) -> Result<Peaks> {
    let to = dir.join("to");
    program.init(&to)?;
    let server = program.server(&to, &[])?;
    let mut command = program.copy_to(&source.root, &server, &source.top)?;
    let peaks = watch(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
    fs::remove_dir_all(&to)?;
    Ok(peaks)
}

/// Runs a command and looks at it and its descendants all the while. The kernel keeps the peak
/// of a process for as long as it lives, so that only growth in the last moments is missed.
fn watch(command: &mut Command) -> Result<Peaks> {
    let mut child = command.spawn()?;
    let mut peaks = Peaks::default();
    loop {
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                bail!("what was watched ended with {status}");
            }
            return Ok(peaks);
        }
        for process in family(child.id())? {
            let side = if process.is_server {
                &mut peaks.server
            } else if process.id == child.id() {
                &mut peaks.client
            } else {
                continue;
            };
            *side = side.max(process.peak);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a command and gives its own peak, in MiB.
pub(super) fn peak_of(command: &mut Command) -> Result<f64> {
    Ok(watch(command)?.client)
}

struct Process {
    id: u32,
    parent: u32,
    /// In MiB.
    peak: f64,
    is_server: bool,
}

/// A process with all its descendants.
fn family(root: u32) -> Result<Vec<Process>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        // What has ended meanwhile is not there.
        if let Some(id) = name.to_str().and_then(|name| name.parse().ok())
            && let Some(process) = look_at(id)
        {
            all.push(process);
        }
    }
    let mut family = Vec::new();
    let mut wanted = vec![root];
    while let Some(id) = wanted.pop() {
        wanted.extend(
            all.iter()
                .filter(|found| found.parent == id)
                .map(|found| found.id),
        );
        if let Some(at) = all.iter().position(|found| found.id == id) {
            family.push(all.swap_remove(at));
        }
    }
    Ok(family)
}

fn look_at(id: u32) -> Option<Process> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let words = fs::read(format!("/proc/{id}/cmdline")).ok()?;
    let mut words = words.split(|byte| *byte == 0);
    let program = words.next()?;
    // The script that starts a server has the same arguments until it becomes the server.
    let is_server = !program.ends_with(b"sh") && words.any(|word| word == b"--serve");
    Some(Process {
        id,
        parent: field(&status, "PPid:")?.parse().ok()?,
        peak: field(&status, "VmHWM:")?.parse::<f64>().ok()? / 1024.0,
        is_server,
    })
}

/// The first word after a name at the start of a line.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_of_this_process_has_a_peak() {
        let family = family(std::process::id()).unwrap();
        assert!(family[0].peak > 0.5);
        assert!(!family[0].is_server);
    }
}
