//! Path arguments: store paths, paths inside them, and symlinks that lead there.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail};
use nix_base::{StorePath, StorePathSet};
use nix_store_core::StoreLayout;

/// The store path that `argument` means; a part of a store object means the object.
///
/// Symlinks are followed until the path is in the store, and no further: what is in the
/// store is named by its own name, be it there or not.
pub(crate) fn store_path(argument: &Path, layout: &StoreLayout) -> anyhow::Result<StorePath> {
    if argument.as_os_str().is_empty() {
        bail!("an empty path is not a store path");
    }
    let absolute = std::path::absolute(argument)
        .with_context(|| format!("cannot resolve '{}'", argument.display()))?;
    let found = follow(&absolute, layout)
        .with_context(|| format!("cannot resolve '{}'", argument.display()))?;
    let text = found
        .to_str()
        .with_context(|| not_in_store(argument, layout))?;
    if Path::new(text) == Path::new(layout.store_dir.as_str()) {
        bail!(not_in_store(argument, layout));
    }
    let (path, _) = layout
        .store_dir
        .parse_in_store(text)
        .with_context(|| not_in_store(argument, layout))?;
    Ok(path)
}

/// The store paths that `arguments` mean.
pub(crate) fn store_paths(
    arguments: &[PathBuf],
    layout: &StoreLayout,
) -> anyhow::Result<StorePathSet> {
    arguments
        .iter()
        .map(|argument| store_path(argument, layout))
        .collect()
}

fn not_in_store(argument: &Path, layout: &StoreLayout) -> String {
    let (path, dir) = (argument.display(), &layout.store_dir);
    format!("path '{path}' is not in the Nix store '{dir}'")
}

/// `path` with its symlinks replaced, up to the first place in the logical store directory.
fn follow(path: &Path, layout: &StoreLayout) -> io::Result<PathBuf> {
    let store_dir = Path::new(layout.store_dir.as_str());
    let mut done = PathBuf::from("/");
    let mut todo: Vec<OsString> = reversed(path);
    let mut links = 0;
    while let Some(name) = todo.pop() {
        if name == ".." {
            done.pop();
            continue;
        }
        done.push(&name);
        if let Some(inside) = inside_store(&done, store_dir, layout) {
            let rest = todo.iter().rev();
            return Ok(rest.fold(inside, |path, name| path.join(name)));
        }
        let target = match rustix::fs::readlink(&done, Vec::new()) {
            Ok(target) => target,
            // Not a link.
            Err(rustix::io::Errno::INVAL) => continue,
            // On the way to a store directory that is only logical, nothing need exist.
            Err(_) if store_dir.starts_with(&done) => continue,
            Err(error) => return Err(error.into()),
        };
        links += 1;
        if links > MAX_LINKS {
            return Err(rustix::io::Errno::LOOP.into());
        }
        done.pop();
        let target = PathBuf::from(OsStr::from_bytes(target.as_bytes()));
        if target.is_absolute() {
            done = PathBuf::from("/");
        }
        todo.extend(reversed(&target));
    }
    Ok(done)
}

/// The logical path of `path` if it is a child of the logical or real store directory.
fn inside_store(path: &Path, store_dir: &Path, layout: &StoreLayout) -> Option<PathBuf> {
    let name = [store_dir, &layout.real_store]
        .into_iter()
        .find(|dir| path.parent() == Some(dir))
        .and_then(|_| path.file_name())?;
    Some(store_dir.join(name))
}

fn reversed(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

/// As many as the kernel follows.
const MAX_LINKS: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use nix_base::StoreDir;
    use std::os::unix::fs::symlink;

    const HELLO: &str = "/nix/store/i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt";

    fn chroot(root: &Path) -> StoreLayout {
        StoreLayout::chroot(StoreDir::default(), root)
    }

    fn resolve(argument: impl AsRef<Path>, layout: &StoreLayout) -> anyhow::Result<String> {
        store_path(argument.as_ref(), layout).map(|path| layout.store_dir.print(&path))
    }

    #[test]
    fn store_paths_need_not_exist_and_parts_mean_the_whole() {
        let layout = chroot(Path::new("/nonexistent"));
        assert_eq!(resolve(HELLO, &layout).unwrap(), HELLO);
        assert_eq!(resolve(format!("{HELLO}/bin/x"), &layout).unwrap(), HELLO);
    }

    #[test]
    fn links_to_the_store_are_followed_wherever_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let layout = chroot(&at("root"));
        symlink(HELLO, at("result")).unwrap();
        symlink("result", at("again")).unwrap();
        std::fs::create_dir(at("sub")).unwrap();
        symlink("../again", at("sub/up")).unwrap();
        for name in ["result", "again", "sub/up", "result/bin/x", "sub/../result"] {
            assert_eq!(resolve(at(name), &layout).unwrap(), HELLO, "{name}");
        }
    }

    #[test]
    fn a_link_inside_the_store_is_a_store_path_itself() {
        let directory = tempfile::tempdir().unwrap();
        let layout = chroot(directory.path());
        std::fs::create_dir_all(&layout.real_store).unwrap();
        let link = layout.real_store.join(&HELLO["/nix/store/".len()..]);
        symlink("/elsewhere", &link).unwrap();
        assert_eq!(resolve(&link, &layout).unwrap(), HELLO);
        assert_eq!(resolve(HELLO, &layout).unwrap(), HELLO);
    }

    #[test]
    fn what_is_elsewhere_or_missing_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let layout = chroot(Path::new("/nonexistent"));
        let error =
            |path: &Path| crate::cli::report::one_line(&resolve(path, &layout).unwrap_err());
        let missing = directory.path().join("none");
        let expected = format!("cannot resolve '{}': No such file", missing.display());
        assert!(
            error(&missing).starts_with(&expected),
            "{}",
            error(&missing)
        );
        let text = error(directory.path());
        assert!(
            text.contains("is not in the Nix store '/nix/store'"),
            "{text}"
        );
        symlink("loop", directory.path().join("loop")).unwrap();
        let text = error(&directory.path().join("loop"));
        assert!(text.contains("symbolic links"), "{text}");
        let text = error(Path::new("/nix/store/short"));
        assert!(
            text.contains("'/nix/store/short' is not in the Nix store"),
            "{text}"
        );
    }
}
