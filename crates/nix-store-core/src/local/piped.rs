//! Archives that one thread writes while another reads them.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Write};

use nix_base::StorePath;

use super::LocalStore;
use crate::error::{Error, FullPath, Result};

impl LocalStore {
    /// Gives `read` the archive of what lies at `path`, valid or not.
    ///
    /// # Errors
    /// The object can't be read; those of `read`.
    pub fn read_object<T>(
        &self,
        path: &StorePath,
        read: impl FnOnce(&mut dyn BufRead) -> Result<T>,
    ) -> Result<T> {
        let (dir, name) = (self.store_fd(), path.to_string());
        let full = FullPath::new(self.store_dir(), path);
        let dump = move |pipe: &mut Pipe| {
            nix_nar::fs::dump::dump_at(dir, OsStr::new(&name), pipe).map_err(|source| Error::Nar {
                action: "read",
                path: Box::new(full),
                source,
            })
        };
        piped(dump, |nar| read(nar))
            .map_err(|error| {
                Error::io("make a pipe to read", &self.layout().real_path(path), error)
            })?
            .map(|(_, read)| read)
    }
}

/// Runs `write` in a thread of its own and `read` in this one, with a pipe between them.
///
/// Where one of them fails, the other mostly does, too: the pipe is closed, or the archive ends
/// early. The error is that of the one who began.
pub(super) fn piped<T: Send, U, E: Send>(
    write: impl FnOnce(&mut Pipe) -> Result<T, E> + Send,
    read: impl FnOnce(&mut BufReader<PipeReader>) -> Result<U, E>,
) -> io::Result<Result<(T, U), E>> {
    let (reader, writer) = io::pipe()?;
    let (written, taken) = std::thread::scope(|scope| {
        let writing = scope.spawn(move || {
            let mut pipe = Pipe {
                writer,
                is_closed: false,
            };
            let written = write(&mut pipe);
            (written, pipe.is_closed)
        });
        // After this statement the writer finds the pipe closed.
        let taken = read(&mut BufReader::with_capacity(PIPE_BUFFER, reader));
        (writing.join(), taken)
    });
    let (written, was_closed) = written.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    Ok(match (written, taken) {
        (Err(_), Err(error)) if was_closed => Err(error),
        (written, taken) => written.and_then(|written| Ok((written, taken?))),
    })
}

/// The writer's end.
#[derive(Debug)]
pub(super) struct Pipe {
    writer: PipeWriter,
    /// The reader reads no more.
    is_closed: bool,
}

impl Write for Pipe {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(data);
        if let Err(error) = &written {
            self.is_closed |= error.kind() == io::ErrorKind::BrokenPipe;
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// As much as a pipe holds by default.
pub(super) const PIPE_BUFFER: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = 1 << 20;

    fn write_all(pipe: &mut Pipe) -> Result<(), String> {
        let written = pipe.write_all(&vec![b'x'; LARGE]);
        written.map_err(|error| error.to_string())
    }

    fn read_all(pipe: &mut BufReader<PipeReader>) -> Result<usize, String> {
        let mut all = Vec::new();
        let read = io::Read::read_to_end(pipe, &mut all);
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn what_one_thread_writes_the_other_reads() {
        assert_eq!(piped(write_all, read_all).unwrap(), Ok(((), LARGE)));
    }

    #[test]
    fn a_reader_that_stops_says_why() {
        let stop = |_: &mut BufReader<PipeReader>| Err::<(), _>("the disk is full".to_owned());
        let error = piped(write_all, stop).unwrap().unwrap_err();
        assert_eq!(error, "the disk is full");
    }

    #[test]
    fn a_writer_that_stops_says_why() {
        let stop = |pipe: &mut Pipe| {
            pipe.write_all(b"begun")
                .map_err(|error| error.to_string())?;
            Err::<(), _>("the file can't be read".to_owned())
        };
        let cut = |pipe: &mut BufReader<PipeReader>| {
            read_all(pipe)?;
            Err::<(), _>("the archive is cut".to_owned())
        };
        let error = piped(stop, cut).unwrap().unwrap_err();
        assert_eq!(error, "the file can't be read");
    }
}
