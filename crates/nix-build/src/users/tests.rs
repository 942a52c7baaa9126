//! The pool. What needs accounts or root says so.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::pool::{Kind, Member};
use super::{BuildUser, SLOT_IDS, UserPool, UsersError};
use crate::config::BuildUsers;

const START: u32 = 872_415_232;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Root's own directory; `None` with a loud word for others.
fn state() -> Option<tempfile::TempDir> {
    if !is_root() {
        test_support::say("SKIPPED: NOT ROOT: users of builds are untested");
        return None;
    }
    Some(tempfile::tempdir().unwrap())
}

fn automatic(slots: u32) -> BuildUsers {
    BuildUsers::Automatic {
        start: START,
        count: slots * SLOT_IDS,
    }
}

fn uid(user: &Option<BuildUser>) -> Option<u32> {
    user.as_ref().map(|user| user.uid)
}

#[test]
fn slots_of_the_range_are_taken_in_order_and_given_back() {
    let Some(state) = state() else { return };
    let pool = UserPool::new(&automatic(2), state.path()).unwrap();
    assert_eq!(pool.size(), Some(2));
    let first = pool.try_acquire(false).unwrap();
    let second = pool.try_acquire(false).unwrap();
    assert_eq!(uid(&first), Some(START));
    assert_eq!(uid(&second), Some(START + SLOT_IDS));
    assert_eq!(pool.count_taken().unwrap(), 2);
    assert!(pool.try_acquire(false).unwrap().is_none());
    drop(first);
    assert_eq!(pool.count_taken().unwrap(), 1);
    assert_eq!(uid(&pool.try_acquire(false).unwrap()), Some(START));
}

#[test]
fn pools_of_two_servers_share_the_locks() {
    let Some(state) = state() else { return };
    let ours = UserPool::new(&automatic(1), state.path()).unwrap();
    let theirs = UserPool::new(&automatic(1), state.path()).unwrap();
    let held = ours.try_acquire(false).unwrap();
    assert!(held.as_ref().is_some_and(BuildUser::is_exclusive));
    assert!(theirs.try_acquire(false).unwrap().is_none());
    assert_eq!(theirs.count_taken().unwrap(), 1);
    drop(held);
    assert!(theirs.try_acquire(false).unwrap().is_some());
}

#[test]
fn members_are_held_by_their_ids() {
    let Some(state) = state() else { return };
    let member = |name: &str, uid| Member {
        name: name.into(),
        uid,
        supplementary: vec![7],
    };
    let members = || Kind::Members {
        gid: 30000,
        members: vec![member("nixbld1", 30001), member("nixbld2", 30002)],
    };
    let pool = UserPool::with_locks(members(), state.path()).unwrap();
    assert_eq!(pool.size(), Some(2));
    let first = pool.try_acquire(false).unwrap().unwrap();
    assert_eq!((first.uid, first.gid, first.count), (30001, 30000, 1));
    assert_eq!(first.name.as_deref(), Some("nixbld1"));
    assert_eq!(first.supplementary, [7]);
    assert!(fs::metadata(state.path().join("userpool/30001")).is_ok());

    let other = UserPool::with_locks(members(), state.path()).unwrap();
    assert_eq!(uid(&other.try_acquire(false).unwrap()), Some(30002));
    assert!(matches!(other.try_acquire(true), Err(UsersError::NoRange)));
}

#[test]
fn lock_files_are_where_nix_has_them() {
    let Some(state) = state() else { return };
    let pool = UserPool::new(&automatic(1), state.path()).unwrap();
    let _held = pool.try_acquire(false).unwrap();
    let lock = fs::metadata(state.path().join("userpool2/slot-0")).unwrap();
    assert_eq!(lock.mode() & 0o7777, 0o600);
    assert_eq!(lock.len(), 0);
}

#[test]
fn a_range_is_a_whole_slot() {
    let Some(state) = state() else { return };
    let pool = UserPool::new(&automatic(1), state.path()).unwrap();
    let user = pool.try_acquire(true).unwrap().unwrap();
    assert_eq!((user.uid, user.gid, user.count), (START, START, 65536));
    drop(user);
    assert_eq!(pool.try_acquire(false).unwrap().unwrap().count, 1);
}

#[test]
fn the_usual_range_has_128_slots() {
    let Some(state) = state() else { return };
    let pool = UserPool::new(&BuildUsers::AUTOMATIC, state.path()).unwrap();
    assert_eq!(pool.size(), Some(128));
}

#[test]
fn ids_with_an_account_are_passed_over() {
    let Some(state) = state() else { return };
    // 1 belongs to 'daemon' everywhere.
    let users = BuildUsers::Automatic {
        start: 1,
        count: 2 * SLOT_IDS,
    };
    let pool = UserPool::new(&users, state.path()).unwrap();
    assert_eq!(uid(&pool.try_acquire(false).unwrap()), Some(1 + SLOT_IDS));
}

#[test]
fn refuses_ranges_that_cannot_be() {
    let dir = tempfile::tempdir().unwrap();
    let of = |start, count| {
        UserPool::new(&BuildUsers::Automatic { start, count }, dir.path()).unwrap_err()
    };
    assert!(matches!(of(START, 65535), UsersError::RangeTooSmall { .. }));
    assert!(matches!(of(0, 65536), UsersError::RangeInvalid { .. }));
    assert!(matches!(
        of(u32::MAX - 5, 65536),
        UsersError::RangeInvalid { .. }
    ));
}

#[test]
fn refuses_a_lock_directory_of_others() {
    let Some(state) = state() else { return };
    let locks = state.path().join("userpool2");
    fs::create_dir(&locks).unwrap();
    fs::set_permissions(&locks, fs::Permissions::from_mode(0o777)).unwrap();
    let error = UserPool::new(&automatic(1), state.path()).unwrap_err();
    assert!(
        matches!(error, UsersError::UnsafeDirectory { .. }),
        "{error}"
    );

    fs::remove_dir(&locks).unwrap();
    std::os::unix::fs::symlink(state.path(), &locks).unwrap();
    assert!(UserPool::new(&automatic(1), state.path()).is_err());
}

#[test]
fn follows_no_link_to_a_lock_file() {
    let Some(state) = state() else { return };
    let pool = UserPool::new(&automatic(1), state.path()).unwrap();
    let target = state.path().join("target");
    std::os::unix::fs::symlink(&target, state.path().join("userpool2/slot-0")).unwrap();
    assert!(pool.try_acquire(false).is_err());
    assert!(fs::symlink_metadata(&target).is_err());
}

#[test]
fn says_that_the_group_does_not_exist() {
    let dir = tempfile::tempdir().unwrap();
    let users = BuildUsers::Group("no-such-group-at-all".into());
    assert_eq!(
        UserPool::new(&users, dir.path()).unwrap_err().to_string(),
        "the group 'no-such-group-at-all' specified in 'build-users-group' does not exist"
    );
}

#[test]
fn says_that_the_group_has_no_members() {
    let dir = tempfile::tempdir().unwrap();
    // A group that every system has and nobody is listed in.
    let users = BuildUsers::Group("daemon".into());
    match UserPool::new(&users, dir.path()) {
        Err(UsersError::NoMembers(group)) => assert_eq!(
            UsersError::NoMembers(group).to_string(),
            "the build users group 'daemon' has no members"
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn root_never_builds_as_root() {
    let dir = tempfile::tempdir().unwrap();
    let pool = UserPool::new(&BuildUsers::Caller, dir.path());
    match is_root() {
        true => {
            assert!(matches!(pool, Err(UsersError::Root)));
            assert!(matches!(BuildUser::caller(), Err(UsersError::Root)));
        }
        false => {
            let pool = pool.unwrap();
            let user = pool.try_acquire(false).unwrap().unwrap();
            assert_eq!(user.uid, rustix::process::geteuid().as_raw());
            assert!(matches!(pool.try_acquire(true), Err(UsersError::NoRange)));
            assert_eq!((pool.size(), pool.count_taken().unwrap()), (None, 0));
        }
    }
}

#[test]
fn without_root_there_are_no_other_users() {
    if is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let error = UserPool::new(&BuildUsers::AUTOMATIC, dir.path()).unwrap_err();
    assert!(matches!(error, UsersError::NotRoot));
}
