//! The helper's loop: it starts builders, carries words between them and the server, and
//! reaps them.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use posix::sys::wait::{self, WaitPidFlag};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_send_signal, waitid,
};

use super::protocol::{self, Begin, Go, Note, Order, Report, Request, receive, send};
use super::spare::{Fresh, Spare};
use super::{ExitStatus, killer};
use crate::config::Layer;
use crate::sandbox::namespaces::write_ids;
use crate::sandbox::plan::Start;
use crate::sandbox::{SandboxError, SetupFailure};

/// Serves until `main` is closed; all builders are gone then.
pub(super) fn serve(main: &OwnedFd) -> io::Result<()> {
    let mut jobs: Vec<Job> = Vec::new();
    let mut spare = Spare::default();
    let mut is_open = true;
    while is_open || !jobs.is_empty() {
        let ready = wait_for(is_open.then_some(main), &jobs, spare.time_left())?;
        let mut ready = ready.into_iter();
        if ready.next().unwrap_or(false) {
            is_open = accept(main, &mut jobs, &mut spare)?;
            if !is_open {
                jobs.iter_mut().for_each(Job::kill);
            }
        }
        jobs.retain_mut(|job| {
            let mut next = || ready.next().unwrap_or(false);
            let (note, order, end) = (next(), next(), next());
            if note {
                job.hear_note();
            }
            if order {
                job.hear_order();
            }
            if is_open
                && std::mem::take(&mut job.has_just_started)
                && let Some(start) = &job.start
            {
                spare.make(start);
            }
            !(end && job.finish())
        });
        spare.expire();
        reap_orphans(&jobs, &spare);
    }
    Ok(())
}

/// Waits, for as long as `most` at most, and says which can be read of: `main`, and three of
/// each job.
fn wait_for(main: Option<&OwnedFd>, jobs: &[Job], most: Option<Duration>) -> io::Result<Vec<bool>> {
    let placeholder = jobs.first().map(|job| &job.pidfd).or(main);
    let Some(placeholder) = placeholder else {
        return Ok(Vec::new());
    };
    let mut entries = vec![entry(main, placeholder)];
    for job in jobs {
        entries.push(entry(job.sync.as_ref(), placeholder));
        entries.push(entry(job.control.as_ref(), placeholder));
        entries.push(entry(Some(&job.pidfd), placeholder));
    }
    let mut polled: Vec<_> = entries
        .iter()
        .map(|(descriptor, events)| PollFd::from_borrowed_fd(*descriptor, *events))
        .collect();
    let most = most.map(|most| Timespec {
        tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: most.subsec_nanos().into(),
    });
    loop {
        match poll(&mut polled, most.as_ref()) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let is_ready = |(polled, (_, wanted)): (&PollFd<'_>, &(BorrowedFd<'_>, PollFlags))| {
        !wanted.is_empty() && !polled.revents().is_empty()
    };
    Ok(polled.iter().zip(&entries).map(is_ready).collect())
}

/// Reaps what builders left behind when they ended. (In a sandbox nothing is left.)
fn reap_orphans(jobs: &[Job], spare: &Spare) {
    let any_dead = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Ok(Some(pid)) = wait::waitid(wait::Id::All, any_dead).map(|dead| dead.pid()) {
        // The next round of the loop sees to its own.
        if jobs.iter().any(|job| job.pid == pid.as_raw()) || spare.is(pid.as_raw()) {
            return;
        }
        let _ = wait::waitid(wait::Id::Pid(pid), WaitPidFlag::WEXITED);
    }
}

/// What to poll for; what isn't open any more is polled for nothing, to keep the order.
fn entry<'a>(
    descriptor: Option<&'a OwnedFd>,
    placeholder: &'a OwnedFd,
) -> (BorrowedFd<'a>, PollFlags) {
    match descriptor {
        Some(descriptor) => (descriptor.as_fd(), PollFlags::IN),
        None => (placeholder.as_fd(), PollFlags::empty()),
    }
}

/// Takes one request; `false` if the server is gone.
fn accept(main: &OwnedFd, jobs: &mut Vec<Job>, spare: &mut Spare) -> io::Result<bool> {
    let Some((request, descriptors)) = receive::<Request>(main.as_fd())? else {
        return Ok(false);
    };
    let mut descriptors = descriptors.into_iter();
    let Some(control) = descriptors.next() else {
        return Ok(true);
    };
    let started = match request {
        Request::Build(start) => match (descriptors.next(), descriptors.next()) {
            (Some(plan), Some(log)) => Job::build(&control, start, [plan, log], spare),
            _ => return Ok(true),
        },
        Request::KillUser { uid, .. } if killer::has_none(uid) => {
            let status = ExitStatus::Code(killer::NONE_LEFT);
            let _ = send(control.as_fd(), &Report::Exited(status), &[]);
            return Ok(true);
        }
        Request::KillUser { uid, ignore_dead } => Job::kill_user(uid, ignore_dead),
    };
    match started {
        Ok(mut job) => {
            job.control = Some(control);
            jobs.push(job);
        }
        Err(error) => {
            let failure = protocol::cut(error.to_failure());
            let _ = send(control.as_fd(), &Report::Failed(failure), &[]);
        }
    }
    Ok(true)
}

/// A process that was started for the server.
#[derive(Debug)]
struct Job {
    control: Option<OwnedFd>,
    sync: Option<OwnedFd>,
    pidfd: OwnedFd,
    pid: i32,
    start: Option<Start>,
    /// Whether the server allowed it to run.
    may_go: bool,
    /// Whether the process waits for that.
    is_ready: bool,
    /// Whether it said that the program is about to run.
    has_started: bool,
    /// Whether it said so since this was last asked.
    has_just_started: bool,
    failure: Option<SetupFailure>,
    /// Whether it is to end because somebody wants that.
    is_killed: bool,
}

impl Job {
    fn build(
        control: &OwnedFd,
        start: Start,
        descriptors: [OwnedFd; 2],
        spare: &mut Spare,
    ) -> Result<Self, SandboxError> {
        // One that died meanwhile, for whatever reason, is no reason to fail.
        if let Some(fresh) = spare.take(&start)
            && let Ok(job) = Self::begin_in(fresh, control, start, &descriptors)
        {
            return Ok(job);
        }
        Self::begin_in(Fresh::create(&start)?, control, start, &descriptors)
    }

    fn begin_in(
        fresh: Fresh,
        control: &OwnedFd,
        start: Start,
        descriptors: &[OwnedFd; 2],
    ) -> Result<Self, SandboxError> {
        let Fresh {
            pid,
            pidfd,
            sync,
            is_without_network,
        } = fresh;
        let job = Self {
            control: None,
            sync: Some(sync),
            pidfd,
            pid,
            start: Some(start),
            may_go: false,
            is_ready: false,
            has_started: false,
            has_just_started: false,
            failure: None,
            is_killed: false,
        };
        job.begin(control, is_without_network, descriptors)
            .inspect_err(|_| job.abandon())?;
        Ok(job)
    }

    /// Tells the new process what to do, and the server who it is.
    fn begin(
        &self,
        control: &OwnedFd,
        is_without_network: bool,
        [plan, log]: &[OwnedFd; 2],
    ) -> Result<(), SandboxError> {
        let failed = |step| move |error| SandboxError::new(Layer::Namespaces, step, error);
        if let Some(start) = self.start.filter(|start| start.namespaces.user)
            && let Some(ids) = &start.ids
        {
            write_ids(self.pid, ids)?;
        }
        let begin = Begin {
            missing: match is_without_network {
                true => BTreeSet::from([Layer::Network]),
                false => BTreeSet::new(),
            },
        };
        let waiting = Report::Waiting {
            pid: self.pid.cast_unsigned(),
        };
        if let Some(sync) = &self.sync {
            send(sync.as_fd(), &begin, &[plan.as_fd(), log.as_fd()])
                .map_err(failed("talk to a new process"))?;
        }
        // A server that is gone is noticed by the loop.
        let _ = send(control.as_fd(), &waiting, &[]);
        Ok(())
    }

    fn kill_user(uid: u32, ignore_dead: bool) -> Result<Self, SandboxError> {
        let (pid, pidfd) = killer::start(uid, ignore_dead)?;
        Ok(Self {
            control: None,
            sync: None,
            pidfd,
            pid,
            start: None,
            may_go: false,
            is_ready: false,
            has_started: false,
            has_just_started: false,
            failure: None,
            is_killed: false,
        })
    }

    fn hear_note(&mut self) {
        let Some(sync) = &self.sync else { return };
        match receive::<Note>(sync.as_fd()) {
            Ok(Some((Note::Ready { needs_ids }, _))) => {
                self.is_ready = true;
                let ids = self.start.and_then(|start| start.ids);
                if let Some(ids) = ids.filter(|_| needs_ids)
                    && let Err(error) = write_ids(self.pid, &ids)
                {
                    self.failure = Some(error.to_failure());
                    self.kill();
                }
                self.go_on();
            }
            Ok(Some((Note::Started, _))) => {
                self.has_started = true;
                self.has_just_started = true;
                self.report(&Report::Started);
            }
            Ok(Some((Note::Failed(failure), _))) => self.failure = Some(failure),
            Ok(None) | Err(_) => self.sync = None,
        }
    }

    fn hear_order(&mut self) {
        let Some(control) = &self.control else { return };
        match receive::<Order>(control.as_fd()) {
            Ok(Some((Order::Go, _))) => {
                self.may_go = true;
                self.go_on();
            }
            Ok(Some((Order::Kill, _))) => self.kill(),
            Ok(None) | Err(_) => {
                self.kill();
                self.control = None;
            }
        }
    }

    /// Lets the process run, if it is ready and the server is as well.
    fn go_on(&mut self) {
        if let (true, true, Some(sync)) = (self.is_ready, self.may_go, &self.sync) {
            self.is_ready = false;
            // A process that is gone is noticed by the loop.
            let _ = send(sync.as_fd(), &Go::Now, &[]);
        }
    }

    fn report(&self, report: &Report) {
        if let Some(control) = &self.control {
            let _ = send(control.as_fd(), report, &[]);
        }
    }

    /// Kills the process, and, where it isn't the first of a namespace, those of its group.
    fn kill(&mut self) {
        self.is_killed = true;
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        self.kill_group();
    }

    /// Its group has its number as long as it isn't reaped.
    fn kill_group(&self) {
        if let Some(pid) = Pid::from_raw(self.pid)
            && self.start.is_some_and(|start| !start.namespaces.basic)
        {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }

    /// Reaps the process, which has ended, and reports; `false` if it is still there.
    fn finish(&mut self) -> bool {
        // Words that it left behind.
        while self.sync.as_ref().is_some_and(has_more) {
            self.hear_note();
        }
        self.kill_group();
        let status = match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => ExitStatus::Code(code),
                (None, Some(signal)) => ExitStatus::Signal(signal),
                (None, None) => return false,
            },
            Ok(None) | Err(Errno::INTR) => return false,
            Err(_) => ExitStatus::Signal(Signal::KILL.as_raw()),
        };
        match self.failure.take().or_else(|| self.early_end(status)) {
            Some(failure) => self.report(&Report::Failed(failure)),
            None => self.report(&Report::Exited(status)),
        }
        true
    }

    /// What there is to say of a builder's process that went away without a word before the
    /// program ran: that isn't the program's failure. (One that we killed needs none.)
    fn early_end(&self, status: ExitStatus) -> Option<SetupFailure> {
        let is_odd = self.start.is_some() && !self.has_started && !self.is_killed;
        is_odd.then(|| {
            let (step, error) = match status {
                ExitStatus::Code(_) => (
                    "confine a new process (needs Linux 5.9)",
                    "it ended without saying why".to_owned(),
                ),
                ExitStatus::Signal(signal) => (
                    "confine a new process",
                    format!("it was killed by signal {signal}"),
                ),
            };
            SandboxError::new(Layer::Namespaces, step, io::Error::other(error)).to_failure()
        })
    }

    /// Ends a process of which nobody knows yet.
    fn abandon(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

fn has_more(socket: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(socket, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    matches!(poll(&mut polled, Some(&now)), Ok(1))
}
