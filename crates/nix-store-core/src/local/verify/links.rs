//! The deduplicated files: each is named by the hash of its archive.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix_base::{Hash, HashFormat, NarHash};
use nix_nar::fs::dump::dump_at_unnoticed;

use super::journal::Marks;
use super::options::Remedy;
use super::pool::in_order;
use super::problem::VerifyProblem;
use super::repair::RepairError;
use super::throttle::{Pace, PacedSink};
use super::{Check, Outcome};
use crate::error::{Error, Result};

impl Check<'_, '_, '_> {
    /// Hashes the deduplicated files; with repair, those that are damaged lose their names,
    /// so that nothing more is linked to them.
    pub(super) fn check_links(&mut self, mut marks: Option<&mut Marks>) -> Result<()> {
        let dir_path = self.store.layout().links_dir();
        let Some((dir, mut names)) = list(&dir_path)? else {
            return Ok(());
        };
        if let Some(marks) = &marks {
            names.retain(|name| !marks.covers_link(name));
        }
        let pace = Pace::new(self.options.rate);
        let hash = |i: usize| {
            let mut sink = PacedSink::new(&pace);
            dump_at_unnoticed(dir.as_fd(), OsStr::new(&names[i]), &mut sink).map(|_| sink.finish())
        };
        in_order(names.len(), self.threads(), &pace, hash, |event| {
            let Some((i, hashed)) = self.unless_cancelled(event, &pace) else {
                return Ok(());
            };
            self.report.links += 1;
            let problems = self.report.problems.len();
            self.judge_link(&dir_path, &names[i], hashed)?;
            let is_bad = self.report.problems.len() > problems;
            match &mut marks {
                Some(marks) => marks.passed_link(&names[i], is_bad),
                None => Ok(()),
            }
        })
    }

    fn judge_link(
        &mut self,
        dir: &Path,
        name: &OsStr,
        hashed: nix_nar::Result<(NarHash, u64)>,
    ) -> Result<()> {
        let link = dir.join(name);
        let problem = match hashed {
            Ok((hash, size)) => {
                self.report.bytes += size;
                self.watch.has_read(size);
                let actual = Hash::from(hash).render(HashFormat::Nix32);
                if name == OsStr::new(&actual) {
                    return Ok(());
                }
                VerifyProblem::LinkModified {
                    link: link.clone(),
                    expected: name.to_string_lossy().into_owned(),
                    actual,
                }
            }
            // A collector may remove what has no other name.
            Err(error) if error.is_not_found() => return Ok(()),
            Err(source) => VerifyProblem::LinkUnreadable {
                link: link.clone(),
                source: Box::new(Error::Tree {
                    action: "read",
                    path: link.clone(),
                    source,
                }),
            },
        };
        self.settle(problem, |check| {
            Ok(match check.options.remedy {
                Remedy::Repair => remove(&link).into(),
                _ => Outcome::Left,
            })
        })
    }
}

fn remove(link: &Path) -> Result<(), RepairError> {
    match fs::remove_file(link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let error = Error::io("remove link", link, error);
            Err(RepairError::Store(Box::new(error)))
        }
        _ => Ok(()),
    }
}

/// The directory and the names in it, sorted; nothing if it isn't there.
fn list(dir: &Path) -> Result<Option<(File, Vec<OsString>)>> {
    let fail = |error| Error::io("list", dir, error);
    let opened = match File::open(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(fail)?,
    };
    let names: io::Result<Vec<OsString>> = fs::read_dir(dir)
        .map_err(fail)?
        .map(|entry| Ok(entry?.file_name()))
        .collect();
    let mut names = names.map_err(fail)?;
    names.sort_unstable();
    Ok(Some((opened, names)))
}
