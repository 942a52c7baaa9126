//! Work in several threads, with results in order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::throttle::Pace;
use crate::error::Result;

/// What happens to the thread that waits for results.
pub(super) enum Event<T> {
    /// Nothing, for a while.
    Waits,
    /// A result.
    Done(T),
}

/// Does `work` for the numbers below `count` in several threads, and hands the results with
/// their numbers, in order, to `tell` in this one. Once `pace` is stopped, no more is begun.
pub(super) fn in_order<T: Send>(
    count: usize,
    threads: usize,
    pace: &Pace,
    work: impl Fn(usize) -> T + Sync,
    mut tell: impl FnMut(Event<(usize, T)>) -> Result<()>,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(QUEUE);
        for _ in 0..threads.min(count) {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                while !pace.is_stopped() {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    // Who waited for it may have met with an error.
                    if i >= count || sender.send((i, work(i))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut due = 0;
        let mut told = Ok(());
        while told.is_ok() {
            told = match receiver.recv_timeout(PATIENCE) {
                Ok((i, done)) => {
                    early.insert(i, done);
                    let mut told = Ok(());
                    while told.is_ok()
                        && let Some(done) = early.remove(&due)
                    {
                        told = tell(Event::Done((due, done)));
                        due += 1;
                    }
                    told
                }
                Err(RecvTimeoutError::Timeout) => tell(Event::Waits),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
        }
        pace.stop();
        told
    })
}

/// Results that wait for their turn before the threads do.
const QUEUE: usize = 256;
/// After how long without a result it is asked whether to stop.
const PATIENCE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn results_come_in_order_whoever_was_faster() {
        let pace = Pace::new(None);
        let work = |i: usize| {
            let spun: usize = (0..(100 - i) * 1000).map(std::hint::black_box).sum();
            std::hint::black_box(spun);
            i * 2
        };
        let mut seen = Vec::new();
        in_order(100, 4, &pace, work, |event| {
            if let Event::Done(done) = event {
                seen.push(done);
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, (0..100).map(|i| (i, i * 2)).collect::<Vec<_>>());
    }

    #[test]
    fn an_error_ends_all_threads() {
        let pace = Pace::new(None);
        let fail = |_| Err(Error::NoStore { state: "x".into() });
        assert!(in_order(10_000, 4, &pace, |i| i, fail).is_err());
        assert!(pace.is_stopped());
    }
}
