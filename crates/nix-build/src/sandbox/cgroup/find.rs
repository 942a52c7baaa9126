//! Where the groups of this process are.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The directories of the groups that a process is in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hierarchies {
    /// By controller.
    one: BTreeMap<String, PathBuf>,
    two: Option<PathBuf>,
}

impl Hierarchies {
    /// Those of this process, as the kernel lists them.
    pub(super) fn of_this_process() -> Result<Self, (PathBuf, io::Error)> {
        let read = |path: &str| {
            std::fs::read(path)
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .map_err(|error| (PathBuf::from(path), error))
        };
        Ok(Self::parse(
            &read("/proc/self/cgroup")?,
            &read("/proc/self/mountinfo")?,
        ))
    }

    /// From the texts of `/proc/self/cgroup` and `/proc/self/mountinfo`.
    pub(super) fn parse(groups: &str, mounts: &str) -> Self {
        let mounts: Vec<Mount> = mounts.lines().filter_map(Mount::parse).collect();
        let mut found = Self::default();
        for line in groups.lines() {
            // `<hierarchy>:<controllers>:<group>`; the group may have colons.
            let mut fields = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(group)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let group = Path::new(group);
            if controllers.is_empty() {
                let unified = mounts.iter().filter(|mount| mount.is_two);
                found.two = unified.filter_map(|mount| mount.place_of(group)).next();
                continue;
            }
            for controller in controllers.split(',') {
                let with = mounts.iter().filter(|mount| mount.has(controller));
                if let Some(dir) = with.filter_map(|mount| mount.place_of(group)).next() {
                    found.one.insert(controller.to_owned(), dir);
                }
            }
        }
        found
    }

    /// This process's group in version 1's hierarchy with this controller.
    pub(super) fn version_1(&self, controller: &str) -> Option<&Path> {
        self.one.get(controller).map(PathBuf::as_path)
    }

    /// Its group in version 2's hierarchy.
    pub(super) fn version_2(&self) -> Option<&Path> {
        self.two.as_deref()
    }
}

/// One mounted hierarchy.
struct Mount {
    /// The group that is seen at `point`.
    root: PathBuf,
    point: PathBuf,
    is_two: bool,
    options: Vec<String>,
}

impl Mount {
    /// `<id> <parent> <device> <root> <point> <options> <tags…> - <type> <source> <options>`
    fn parse(line: &str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, mount.next()?);
        let mut file_system = file_system.split(' ');
        let kind = file_system.next()?;
        let options = file_system.nth(1).unwrap_or_default();
        matches!(kind, "cgroup" | "cgroup2").then(|| Self {
            root: unescape(root),
            point: unescape(point),
            is_two: kind == "cgroup2",
            options: options.split(',').map(str::to_owned).collect(),
        })
    }

    fn has(&self, controller: &str) -> bool {
        !self.is_two && self.options.iter().any(|option| option == controller)
    }

    /// Where a group is; `None` if it isn't below this mount's root, as in some containers.
    fn place_of(&self, group: &Path) -> Option<PathBuf> {
        let below = group.strip_prefix(&self.root).ok()?;
        let has_parents = below.components().any(|c| c.as_os_str() == "..");
        (!has_parents).then(|| match below.as_os_str().is_empty() {
            true => self.point.clone(),
            false => self.point.join(below),
        })
    }
}

/// Blanks and the like are written as a backslash and three octal digits.
fn unescape(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 4).filter(|_| byte == b'\\');
        let value = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push(value.unwrap_or(byte));
        at += if value.is_some() { 4 } else { 1 };
    }
    OsString::from_vec(plain).into()
}
