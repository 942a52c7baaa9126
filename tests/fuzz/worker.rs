//! The process of one target: mutates, tries, keeps what is new.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::drive;
use crate::mutate::Mutator;
use crate::targets::{ALL, Target, Unit};

/// Runs the target to the end of its time; whatever is wrong ends the process.
pub(crate) fn run(name: &str) {
    let target = ALL.iter().find(|target| target.name == name).unwrap();
    let mut run = Run::new(target);
    if let Some(file) = std::env::var_os("FUZZ_INPUT") {
        let input = std::fs::read(file).unwrap();
        println!("fuzz {name}: class {:x}", run.try_input(&input));
        return;
    }
    let seed = seed();
    let mut mutator = Mutator::new(seed, target.words);
    let end = Instant::now() + drive::duration();
    for seed in (target.seeds)() {
        run.try_and_keep(seed, Keep::Always);
    }
    let seeds = run.corpus.len();
    assert!(seeds > 0, "there are no seeds");
    while Instant::now() < end {
        let input = mutator.next(&run.corpus);
        run.try_and_keep(input, Keep::IfNew);
    }
    println!(
        "fuzz {name} ... ok: {} executions, {} classes, {} inputs from {seeds} seeds, seed {seed}",
        run.executions,
        run.classes.len(),
        run.corpus.len(),
    );
}

fn seed() -> u64 {
    if let Ok(seed) = std::env::var("FUZZ_SEED") {
        return seed.parse().expect("FUZZ_SEED is a number");
    }
    if !drive::is_soak() {
        return 1;
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_secs()
}

/// Whether an input is to be mutated later.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Always,
    IfNew,
}

struct Run {
    unit: Unit,
    corpus: Vec<Vec<u8>>,
    /// Bytes in the corpus.
    held: usize,
    classes: HashSet<u64>,
    executions: u64,
    current: File,
    record: Vec<u8>,
}

impl Run {
    fn new(target: &Target) -> Self {
        let current = File::create(drive::current_file(target.name)).unwrap();
        let unit = (target.make)();
        limit_memory();
        Self {
            unit,
            corpus: Vec::new(),
            held: 0,
            classes: HashSet::new(),
            executions: 0,
            current,
            record: Vec::new(),
        }
    }

    fn try_and_keep(&mut self, input: Vec<u8>, keep: Keep) {
        let class = self.try_input(&input);
        let is_new = self.classes.insert(class) || keep == Keep::Always;
        if is_new && self.held + input.len() <= MOST_HELD {
            self.held += input.len();
            self.corpus.push(input);
        }
    }

    fn try_input(&mut self, input: &[u8]) -> u64 {
        // The kernel has it then, whatever becomes of this process.
        self.record.clear();
        self.record
            .extend_from_slice(&(input.len() as u64).to_le_bytes());
        self.record.extend_from_slice(input);
        self.current.write_all_at(&self.record, 0).unwrap();
        self.executions += 1;
        let before = cpu_time();
        let class = (self.unit)(input);
        let took = cpu_time().saturating_sub(before);
        assert!(took < SLOW, "a slow unit: {took:?}");
        class
    }
}

/// CPU time of this thread: how busy the machine is doesn't count.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap()
}

/// From here on an allocation that takes the process beyond this fails, and that aborts it,
/// even if what was allocated is never touched.
fn limit_memory() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let data = status.lines().find_map(|line| line.strip_prefix("VmData:"));
    let kibibytes = data.unwrap().split_whitespace().next().unwrap();
    let now = kibibytes.parse::<u64>().unwrap() * 1024;
    let limit = Rlimit {
        current: Some(now + MOST_HELD as u64 + MOST_ALLOCATED),
        maximum: getrlimit(Resource::Data).maximum,
    };
    setrlimit(Resource::Data, limit).unwrap();
}

/// Bytes of inputs that are kept for later.
const MOST_HELD: usize = 16 << 20;
/// What the code under test may have allocated at any time, in bytes.
const MOST_ALLOCATED: u64 = 64 << 20;
/// What one input may take.
const SLOW: Duration = Duration::from_secs(1);
