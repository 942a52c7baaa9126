//! Messages for a client that may not read them.
//!
//! A client that doesn't read our stderr must get its replies all the same, so once builds
//! fill that stream, no thread with work to do writes there itself: messages go through a
//! queue, and what doesn't fit is dropped.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

enum Message {
    Line(Vec<u8>),
    /// Everything before was written.
    Flush(SyncSender<()>),
}

static QUEUE: OnceLock<SyncSender<Message>> = OnceLock::new();

/// Sends all messages through the queue from now on.
pub(crate) fn start() {
    QUEUE.get_or_init(|| {
        let (sender, receiver) = sync_channel(MOST_WAITING);
        let writer = std::thread::Builder::new()
            .name("stderr".into())
            .stack_size(STACK)
            .spawn(move || write_all(&receiver));
        if let Err(error) = writer {
            // Then the receiver is gone, and so are the messages.
            drop(error);
        }
        sender
    });
}

/// Takes a line if messages go through the queue; false if they don't.
pub(crate) fn take(line: &[u8]) -> bool {
    let Some(queue) = QUEUE.get() else {
        return false;
    };
    // A full queue: nobody reads, so nobody misses it.
    let _ = queue.try_send(Message::Line(line.to_vec()));
    true
}

/// Waits until everything so far was written, but not forever.
pub(crate) fn flush() {
    let Some(queue) = QUEUE.get() else { return };
    let (done, written) = sync_channel(1);
    if queue.try_send(Message::Flush(done)).is_ok() {
        let _ = written.recv_timeout(PATIENCE);
    }
}

fn write_all(messages: &Receiver<Message>) {
    for message in messages {
        match message {
            Message::Line(line) => {
                // Nothing can be done if it fails.
                let _ = io::stderr().lock().write_all(&line);
            }
            Message::Flush(done) => {
                let _ = done.try_send(());
            }
        }
    }
}

const MOST_WAITING: usize = 1000;
/// How long the end of the process waits for a client to read its last words.
const PATIENCE: Duration = Duration::from_secs(1);
const STACK: usize = 64 << 10;
