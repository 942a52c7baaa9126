//! Runs the targets as processes, a few at once, and tells what became of them.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The variable that makes this program the process of one target.
pub(crate) const WORKER: &str = "FUZZ_WORKER";

/// How long each target runs.
pub(crate) fn duration() -> Duration {
    let given = std::env::var("FUZZ_SECONDS").ok();
    Duration::from_secs(match given {
        Some(seconds) => seconds.parse().expect("FUZZ_SECONDS is a number"),
        None if is_soak() => 600,
        None => 5,
    })
}

/// Whether this is the long form.
pub(crate) fn is_soak() -> bool {
    std::env::var_os("SOAK").is_some()
}

/// The file in which a worker leaves the input that it tries: a length and the bytes.
pub(crate) fn current_file(target: &str) -> PathBuf {
    directory().join(format!("{target}.current"))
}

fn directory() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Runs all of these targets.
pub(crate) fn run(names: &[&str]) -> ExitCode {
    println!("\nrunning {} fuzz targets", names.len());
    let queue = Mutex::new(names.iter());
    let failed = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // The long form gives each target a core; the short one has to be over soon.
    let at_once = if is_soak() {
        cores
    } else {
        cores.max(names.len().div_ceil(3))
    };
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let Some(name) = queue.lock().unwrap().next() else {
                        break;
                    };
                    if let Err(finding) = run_one(name) {
                        println!("fuzz {name} ... FAILED\n{finding}");
                        failed.lock().unwrap().push(*name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    // In the words of the usual harness, for those who count.
    println!(
        "\ntest result: {}. {} passed; {} failed; 0 ignored; 0 measured; 0 filtered out; \
         finished in {:.2}s\n",
        if failed.is_empty() { "ok" } else { "FAILED" },
        names.len() - failed.len(),
        failed.len(),
        start.elapsed().as_secs_f64()
    );
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn run_one(name: &str) -> Result<(), String> {
    let log = directory().join(format!("{name}.log"));
    let stderr = std::fs::File::create(&log).unwrap();
    let mut worker = Command::new(std::env::current_exe().unwrap())
        .env(WORKER, name)
        .stdin(Stdio::null())
        .stderr(stderr)
        .spawn()
        .unwrap();
    let latest = Instant::now() + duration() + GRACE;
    let status = loop {
        if let Some(status) = worker.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() > latest {
            worker.kill().unwrap();
            worker.wait().unwrap();
            break None;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    };
    if status.is_some_and(|status| status.success()) {
        return Ok(());
    }
    let how = status.map_or("it hangs".to_owned(), |status| status.to_string());
    let said = std::fs::read(&log).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    Err(format!("{how}\n{said}{}", keep_input(name)))
}

/// Moves the input that a worker tried last to a file of its own.
fn keep_input(name: &str) -> String {
    let Ok(bytes) = std::fs::read(current_file(name)) else {
        return "it tried no input".to_owned();
    };
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return "it tried no input".to_owned();
    };
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap();
    let input = &rest[..length.min(rest.len())];
    let hash = nix_base::Hash::of(nix_base::HashAlgo::Sha256, input);
    let digits = hash.render(nix_base::HashFormat::Base16);
    let file = directory().join(format!("{name}-{}", &digits[..16]));
    std::fs::write(&file, input).unwrap();
    format!("the input is in '{}'", file.display())
}

/// What a worker may take to start, and on a busy machine to end.
const GRACE: Duration = Duration::from_secs(60);
