//! Links to store paths that keep them from being collected.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix_base::{Hash, HashAlgo, HashFormat, StorePath, StorePathSet};
use nix_store_core::{LocalStore, StoreLayout};

/// Makes or replaces the link at `link`, and registers it as a root. Gives its absolute path.
///
/// # Errors
/// Something else is at `link`, or the directories can't be written.
pub(crate) fn add_root(
    store: &LocalStore,
    link: &Path,
    target: &StorePath,
) -> anyhow::Result<PathBuf> {
    let layout = store.layout();
    let link = std::path::absolute(link)
        .with_context(|| format!("cannot resolve '{}'", link.display()))?;
    if link.starts_with(&layout.real_store) || link.starts_with(layout.store_dir.as_str()) {
        bail!(
            "creating a garbage collector root '{}' in the Nix store is forbidden",
            link.display()
        );
    }
    refuse_foreign(&link, layout)?;
    if let Some(parent) = link.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot create '{}'", parent.display()))?;
    }
    // Until the root is found by collectors.
    store.add_temp_roots(&StorePathSet::from([target.clone()]))?;
    replace_link(Path::new(&layout.store_dir.print(target)), &link)?;
    register(&link, layout)?;
    // A collector of real Nix reads links first, and may read our temporary roots after our end.
    store.announce_temp_root(target)?;
    Ok(link)
}

/// Only links into the store are ours to replace.
fn refuse_foreign(link: &Path, layout: &StoreLayout) -> anyhow::Result<()> {
    match std::fs::read_link(link) {
        Ok(target) if target.starts_with(layout.store_dir.as_str()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Nix compat: its words.
        _ => bail!("cannot create symlink '{}'; already exists", link.display()),
    }
}

/// A collector looks at `gcroots/auto`, whose links lead to the users' links.
fn register(link: &Path, layout: &StoreLayout) -> anyhow::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let digest = Hash::of(HashAlgo::Sha1, link.as_os_str().as_bytes());
    let directory = layout.gc_roots_dir().join("auto");
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create '{}'", directory.display()))?;
    replace_link(link, &directory.join(digest.render(HashFormat::Nix32)))
}

/// Puts a link in place in one step.
fn replace_link(target: &Path, link: &Path) -> anyhow::Result<()> {
    let explain = || format!("cannot create symlink '{}'", link.display());
    let name = link.file_name().with_context(explain)?;
    for attempt in 0..ATTEMPTS {
        let mut temporary = std::ffi::OsString::from(format!(
            ".{}_{attempt}_",
            rustix::process::getpid().as_raw_nonzero()
        ));
        temporary.push(name);
        let temporary = link.with_file_name(temporary);
        match symlink(target, &temporary) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error).with_context(explain),
        }
        return std::fs::rename(&temporary, link)
            .inspect_err(|_| {
                let _ = std::fs::remove_file(&temporary);
            })
            .with_context(explain);
    }
    bail!("{}: all temporary names are taken", explain())
}

const ATTEMPTS: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use nix_base::StoreDir;
    use nix_store_core::lock::{GcLock, LockMode, Wait};
    use nix_store_core::{Durability, StoreConfig};
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::sync::mpsc;

    fn store(root: &Path) -> LocalStore {
        let layout = StoreLayout::chroot(StoreDir::default(), &root.join("root"));
        let mut config = StoreConfig::new(layout);
        config.durability = Durability::None;
        LocalStore::init(config).unwrap()
    }

    fn path(name: &str) -> StorePath {
        StorePath::from_base_name(&format!("{}-{name}", "1".repeat(32))).unwrap()
    }

    #[test]
    fn a_link_is_registered_and_can_be_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let link = directory.path().join("result");
        for name in ["a", "b"] {
            assert_eq!(add_root(&store, &link, &path(name)).unwrap(), link);
            let target = std::fs::read_link(&link).unwrap();
            assert_eq!(
                target.to_str().unwrap(),
                StoreDir::default().print(&path(name))
            );
        }
        let auto = store.layout().gc_roots_dir().join("auto");
        let registered: Vec<_> = std::fs::read_dir(auto)
            .unwrap()
            .map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap())
            .collect();
        assert_eq!(registered, [link]);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    /// Real Nix's collector may have read the links before this one was made.
    #[test]
    fn a_running_collector_is_told_of_what_is_kept_already() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let kept = path("a");
        store.add_temp_root(&kept).unwrap();
        let state = &store.layout().state;
        let lock = GcLock::acquire(state, LockMode::Exclusive, Wait::Never).unwrap();
        let socket = state.join("gc-socket");
        std::fs::create_dir(&socket).unwrap();
        let collector = UnixListener::bind(socket.join("socket")).unwrap();
        let (heard, receiver) = mpsc::channel();
        let listener = std::thread::spawn(move || {
            let (caller, _) = collector.accept().unwrap();
            let mut caller = BufReader::new(caller);
            let mut line = String::new();
            caller.read_line(&mut line).unwrap();
            caller.get_mut().write_all(b"1").unwrap();
            heard.send(line).unwrap();
        });
        add_root(&store, &directory.path().join("result"), &kept).unwrap();
        // For a listener that heard nothing before.
        if let Ok(mut stream) = UnixStream::connect(socket.join("socket")) {
            let _ = stream.write_all(b"nothing\n");
        }
        let line = receiver.recv().unwrap();
        assert_eq!(line, format!("{}\n", store.store_dir().print(&kept)));
        listener.join().unwrap();
        drop(lock);
    }

    #[test]
    fn what_is_not_ours_stays() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let file = directory.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let foreign = directory.path().join("foreign");
        symlink("/elsewhere", &foreign).unwrap();
        let inside = store.layout().real_store.join("x");
        for link in [&file, &foreign, &inside] {
            assert!(add_root(&store, link, &path("a")).is_err());
        }
        assert_eq!(std::fs::read(file).unwrap(), b"x");
        assert_eq!(
            std::fs::read_link(foreign).unwrap(),
            Path::new("/elsewhere")
        );
    }
}
