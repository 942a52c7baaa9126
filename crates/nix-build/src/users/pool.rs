//! Which users are free.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use posix::unistd::{Gid, Group, User, getgrouplist};
use rustix::fs::{AtFlags, Mode};

use super::{BuildUser, SLOT_IDS, UsersError};
use crate::config::BuildUsers;
use crate::slots::LockDirectory;

/// The users that builds of one store can have.
#[derive(Debug)]
pub struct UserPool {
    kind: Kind,
    locks: Option<LockDirectory>,
    /// Ids of the automatic range that were seen to have no account.
    free: Mutex<BTreeSet<u32>>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Caller,
    Members { gid: u32, members: Vec<Member> },
    Automatic { start: u32, slots: u32 },
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) supplementary: Vec<u32>,
}

impl UserPool {
    /// The pool that the operator configured, with its locks in `state_dir`.
    ///
    /// # Errors
    /// The configuration can't work on this machine; the words for the group are Nix's.
    pub fn new(users: &BuildUsers, state_dir: &Path) -> Result<Self, UsersError> {
        let is_root = rustix::process::geteuid().is_root();
        let kind = match users {
            BuildUsers::Caller if is_root => return Err(UsersError::Root),
            BuildUsers::Caller => {
                return Ok(Self {
                    kind: Kind::Caller,
                    locks: None,
                    free: Mutex::default(),
                });
            }
            BuildUsers::Group(name) => members_of(name)?,
            &BuildUsers::Automatic { start, count } => slots_of(start, count)?,
        };
        match is_root {
            true => Self::with_locks(kind, state_dir),
            false => Err(UsersError::NotRoot),
        }
    }

    pub(super) fn with_locks(kind: Kind, state_dir: &Path) -> Result<Self, UsersError> {
        let name = match &kind {
            Kind::Automatic { .. } => "userpool2",
            Kind::Caller | Kind::Members { .. } => "userpool",
        };
        let locks = Some(make_lock_dir(&state_dir.join(name))?);
        Ok(Self {
            kind,
            locks,
            free: Mutex::default(),
        })
    }

    /// A user that no other build has, with 65,536 ids if `range`; `None` if all are taken.
    ///
    /// # Errors
    /// There is no range, or a lock file can't be used.
    pub fn try_acquire(&self, range: bool) -> Result<Option<BuildUser>, UsersError> {
        match &self.kind {
            Kind::Caller if range => Err(UsersError::NoRange),
            Kind::Caller => BuildUser::caller().map(Some),
            Kind::Members { .. } if range => Err(UsersError::NoRange),
            Kind::Members { gid, members } => self.try_member(*gid, members),
            Kind::Automatic { start, slots } => self.try_slot(*start, *slots, range),
        }
    }

    /// How many builds can have a user at a time; `None` if any number can.
    #[must_use]
    pub fn size(&self) -> Option<usize> {
        match &self.kind {
            Kind::Caller => None,
            Kind::Members { members, .. } => Some(members.len()),
            Kind::Automatic { slots, .. } => usize::try_from(*slots).ok(),
        }
    }

    /// How many users are taken at this moment, by this and other processes.
    ///
    /// # Errors
    /// A lock file can't be used.
    pub fn count_taken(&self) -> Result<usize, UsersError> {
        let Some(locks) = &self.locks else {
            return Ok(0);
        };
        let names: Vec<String> = match &self.kind {
            Kind::Caller => Vec::new(),
            Kind::Members { members, .. } => members.iter().map(|m| m.uid.to_string()).collect(),
            Kind::Automatic { slots, .. } => (0..*slots).map(slot_name).collect(),
        };
        let mut taken = 0;
        for name in names {
            let Some(file) = locks.open_existing(&name)? else {
                continue;
            };
            // A shared lock: two that count at the same time don't count each other.
            if !locks.try_lock_shared(&file, &name)? {
                taken += 1;
            }
        }
        Ok(taken)
    }

    fn try_member(&self, gid: u32, members: &[Member]) -> Result<Option<BuildUser>, UsersError> {
        for member in members {
            if let Some(lock) = self.try_lock(&member.uid.to_string())? {
                return Ok(Some(BuildUser {
                    uid: member.uid,
                    gid,
                    count: 1,
                    supplementary: member.supplementary.clone(),
                    name: Some(member.name.clone()),
                    is_caller: false,
                    lock: Some(lock),
                }));
            }
        }
        Ok(None)
    }

    fn try_slot(
        &self,
        start: u32,
        slots: u32,
        range: bool,
    ) -> Result<Option<BuildUser>, UsersError> {
        for slot in 0..slots {
            let first = start + slot * SLOT_IDS;
            let Some(lock) = self.try_lock(&slot_name(slot))? else {
                continue;
            };
            // An account in the range belongs to somebody, whose files a builder must not own.
            if self.has_account(first)? {
                tracing::warn!(
                    uid = first,
                    "a user id of the automatic range has an account"
                );
                continue;
            }
            return Ok(Some(BuildUser {
                uid: first,
                gid: first,
                count: if range { SLOT_IDS } else { 1 },
                supplementary: Vec::new(),
                name: None,
                is_caller: false,
                lock: Some(lock),
            }));
        }
        Ok(None)
    }

    /// Looks an id up once: a directory service may be slow, and there are many builds.
    fn has_account(&self, uid: u32) -> Result<bool, UsersError> {
        let known = || self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if known().contains(&uid) {
            return Ok(false);
        }
        let found = has_account(uid)?;
        if !found {
            known().insert(uid);
        }
        Ok(found)
    }

    fn try_lock(&self, name: &str) -> Result<Option<File>, UsersError> {
        let Some(locks) = &self.locks else {
            return Ok(None);
        };
        let file = locks.open(name)?;
        Ok(locks.try_lock(&file, name)?.then_some(file))
    }
}

fn slot_name(slot: u32) -> String {
    format!("slot-{slot}")
}

fn members_of(group_name: &str) -> Result<Kind, UsersError> {
    let group = Group::from_name(group_name)
        .map_err(|error| UsersError::io("look up the group", group_name, error))?
        .ok_or_else(|| UsersError::NoSuchGroup(group_name.to_owned()))?;
    if group.mem.is_empty() {
        return Err(UsersError::NoMembers(group_name.to_owned()));
    }
    let mut members = Vec::new();
    for name in &group.mem {
        let account = User::from_name(name)
            .map_err(|error| UsersError::io("look up the user", name, error))?;
        if let Some(user) = account {
            members.push(member(group_name, group.gid, &user)?);
        }
    }
    if members.is_empty() {
        return Err(UsersError::NoAccounts(group_name.to_owned(), group.mem));
    }
    Ok(Kind::Members {
        gid: group.gid.as_raw(),
        members,
    })
}

fn member(group_name: &str, gid: Gid, user: &User) -> Result<Member, UsersError> {
    let uid = user.uid.as_raw();
    let ours = [rustix::process::getuid(), rustix::process::geteuid()];
    if ours.iter().any(|our| our.as_raw() == uid) {
        return Err(UsersError::ServerIsMember(group_name.to_owned()));
    }
    // SEC-40: also where this process is somebody else.
    if uid == 0 || gid.as_raw() == 0 {
        return Err(UsersError::Root);
    }
    let list_error = |source: posix::errno::Errno| {
        UsersError::io("list the groups of", user.name.as_str(), source)
    };
    let name =
        CString::new(user.name.as_str()).map_err(|_| list_error(posix::errno::Errno::EINVAL))?;
    let supplementary = getgrouplist(&name, gid)
        .map_err(list_error)?
        .into_iter()
        .map(Gid::as_raw)
        .filter(|group| *group != gid.as_raw())
        .collect();
    Ok(Member {
        name: user.name.clone(),
        uid,
        supplementary,
    })
}

fn slots_of(start: u32, count: u32) -> Result<Kind, UsersError> {
    let slots = count / SLOT_IDS;
    if slots == 0 {
        return Err(UsersError::RangeTooSmall { count });
    }
    // The largest number stands for "no id" in system calls.
    let is_valid = start > 0 && start.checked_add(count).is_some();
    if !is_valid {
        return Err(UsersError::RangeInvalid { start, count });
    }
    Ok(Kind::Automatic { start, slots })
}

fn has_account(uid: u32) -> Result<bool, UsersError> {
    User::from_uid(uid.into())
        .map(|user| user.is_some())
        .map_err(|error| UsersError::io("look up the user", uid.to_string(), error))
}

/// A directory in which nobody else can put files.
fn make_lock_dir(path: &Path) -> Result<LockDirectory, UsersError> {
    let fail = |operation, error| UsersError::io(operation, path.display().to_string(), error);
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(fail("create", error)),
    }
    let locks = LockDirectory::open_path(path.to_owned())?;
    let stat = rustix::fs::statat(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| fail("look at", error))?;
    let is_ours = stat.st_uid == rustix::process::geteuid().as_raw();
    match is_ours && stat.st_mode & 0o022 == 0 {
        true => Ok(locks),
        false => Err(UsersError::UnsafeDirectory {
            path: path.to_owned(),
        }),
    }
}
