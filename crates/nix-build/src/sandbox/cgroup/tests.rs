//! The texts of the kernel, and the groups of this machine where it has the controllers.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::find::Hierarchies;
use super::group::PREFIX;
use super::unified::{SERVER_GROUP, parent_with};
use super::{BuildCgroup, LimitHit, describe_missing};
use crate::config::ResourceLimits;

const HYBRID_GROUPS: &str = "\
8:pids:/jobs/a
4:memory:/jobs/a:b
2:cpu,cpuacct:/
1:name=systemd:/user
0::/user/session
";

const HYBRID_MOUNTS: &str = r"
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:3 master:1 - cgroup cgroup rw,memory
39 31 0:36 /jobs /sys/fs/cgroup/my\040pids rw - cgroup cgroup rw,pids
32 31 0:29 /elsewhere /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
";

#[test]
fn finds_groups_in_hybrid_hierarchies() {
    let found = Hierarchies::parse(HYBRID_GROUPS, HYBRID_MOUNTS);
    let one = |controller| found.version_1(controller);
    assert_eq!(
        one("memory"),
        Some(Path::new("/sys/fs/cgroup/memory/jobs/a:b"))
    );
    assert_eq!(one("pids"), Some(Path::new("/sys/fs/cgroup/my pids/a")));
    assert_eq!(
        found.version_2(),
        Some(Path::new("/sys/fs/cgroup/unified/user/session"))
    );
}

#[test]
fn passes_over_groups_that_no_mount_shows() {
    let found = Hierarchies::parse(HYBRID_GROUPS, HYBRID_MOUNTS);
    assert_eq!(found.version_1("cpu"), None);
    assert_eq!(found.version_1("name=systemd"), None);
    let outside = Hierarchies::parse("0::/../other\n", HYBRID_MOUNTS);
    assert_eq!(outside.version_2(), None);
    assert_eq!(Hierarchies::parse("", ""), Hierarchies::default());
    assert_eq!(
        Hierarchies::parse("0:\nx", "a b - "),
        Hierarchies::default()
    );
}

#[test]
fn finds_the_group_in_a_pure_hierarchy() {
    let mounts = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
    let found = Hierarchies::parse("0::/system.slice/nix.service\n", mounts);
    assert_eq!(
        found.version_2(),
        Some(Path::new("/sys/fs/cgroup/system.slice/nix.service"))
    );
    let root = Hierarchies::parse("0::/\n", mounts);
    assert_eq!(root.version_2(), Some(Path::new("/sys/fs/cgroup")));
}

/// A directory with the files that version 2 has.
fn imitation(controllers: &str, handed_on: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("cgroup.controllers"), controllers).unwrap();
    fs::write(dir.path().join("cgroup.subtree_control"), handed_on).unwrap();
    dir
}

#[test]
fn hands_on_what_the_group_has() {
    let dir = imitation("cpu memory pids\n", "");
    let parent = parent_with(dir.path(), &["memory", "pids"]).unwrap();
    assert_eq!(parent, dir.path());
    let written = fs::read_to_string(dir.path().join("cgroup.subtree_control")).unwrap();
    assert_eq!(written, "+memory +pids");
}

#[test]
fn leaves_alone_what_is_handed_on_already() {
    let dir = imitation("cpu memory pids\n", "memory pids\n");
    parent_with(dir.path(), &["memory"]).unwrap();
    let file = dir.path().join("cgroup.subtree_control");
    assert_eq!(fs::read_to_string(file).unwrap(), "memory pids\n");
}

#[test]
fn a_server_that_has_moved_uses_the_group_above() {
    let dir = imitation("memory\n", "memory\n");
    let own = dir.path().join(SERVER_GROUP);
    assert_eq!(parent_with(&own, &["memory"]).unwrap(), dir.path());
}

#[test]
fn says_which_controllers_are_missing() {
    let dir = imitation("hugetlb\n", "");
    let error = parent_with(dir.path(), &["memory", "pids"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the group doesn't have the controllers memory and pids"
    );
}

#[test]
fn nothing_is_made_without_limits() {
    let disk_only = ResourceLimits {
        disk: Some(1),
        ..ResourceLimits::default()
    };
    assert!(BuildCgroup::create(&disk_only).unwrap().is_none());
    assert_eq!(describe_missing(&disk_only), None);
}

/// Groups with these limits, or `None` with a loud word where this machine has none.
fn groups(memory: Option<u64>, processes: Option<u64>) -> Option<BuildCgroup> {
    let limits = ResourceLimits {
        memory,
        processes,
        disk: None,
    };
    match BuildCgroup::create(&limits) {
        Ok(groups) => groups,
        Err(error) => {
            assert!(
                !is_root_with_version_1(),
                "the controllers are there: {error}: {}",
                error.source
            );
            let why = format!("{error}: {}", error.source);
            test_support::say(&format!("SKIPPED: NO CONTROL GROUPS HERE: {why}"));
            None
        }
    }
}

fn is_root_with_version_1() -> bool {
    let found = Hierarchies::of_this_process().unwrap();
    let both = found.version_1("memory").and(found.version_1("pids"));
    rustix::process::geteuid().is_root() && both.is_some()
}

/// A shell in the groups, which runs `script` when it is told to.
fn start(groups: &BuildCgroup, script: &str) -> Child {
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(format!("read go; {script}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    groups.add(child.id()).unwrap();
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    child
}

#[test]
fn too_many_processes_are_noticed_and_killed() {
    let Some(groups) = groups(None, Some(8)) else {
        return;
    };
    let script = "trap '' TERM; while :; do sleep 1000 & done";
    let mut child = start(&groups, script);
    test_support::poll_until("the limit", || {
        (groups.hit() == Some(LimitHit::Processes)).then_some(())
    });
    assert!(!groups.is_empty());
    groups.kill().unwrap();
    assert!(groups.is_empty());
    assert_eq!(groups.hit(), Some(LimitHit::Processes));
    child.wait().unwrap();
}

#[test]
fn too_much_memory_is_noticed() {
    let Some(groups) = groups(Some(16 << 20), Some(64)) else {
        return;
    };
    let mut child = start(&groups, "head -c 256m /dev/zero | tail; sleep 1000");
    test_support::poll_until("the limit", || {
        (groups.hit() == Some(LimitHit::Memory)).then_some(())
    });
    groups.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn killing_is_no_hit() {
    let Some(groups) = groups(Some(1 << 30), Some(100)) else {
        return;
    };
    let mut child = start(&groups, "while :; do sleep 0; done");
    test_support::poll_until("the start", || (!groups.is_empty()).then_some(()));
    groups.kill().unwrap();
    assert_eq!(groups.hit(), None);
    child.wait().unwrap();
}

#[test]
fn dropping_kills_and_removes() {
    let Some(groups) = groups(Some(1 << 30), Some(100)) else {
        return;
    };
    let directories = groups.directories();
    let mut child = start(&groups, "sleep 1000");
    drop(groups);
    assert!(child.wait().unwrap().code().is_none());
    for dir in directories {
        assert!(fs::symlink_metadata(&dir).is_err(), "{}", dir.display());
    }
}

#[test]
fn leftovers_of_killed_servers_are_removed_and_others_kept() {
    let Some(held) = groups(None, Some(10)) else {
        return;
    };
    let dir = held.directories().pop().unwrap();
    let leftover = dir
        .parent()
        .unwrap()
        .join(format!("{PREFIX}leftover-{}", std::process::id()));
    fs::create_dir(&leftover).unwrap();
    let mut orphan = Command::new("sleep").arg("1000").spawn().unwrap();
    // Another test may sweep it at this moment.
    let _ = fs::write(leftover.join("cgroup.procs"), orphan.id().to_string());
    let _next = groups(None, Some(10)).unwrap();
    test_support::poll_until("the sweep", || {
        (fs::symlink_metadata(&leftover).is_err()).then_some(())
    });
    assert!(fs::symlink_metadata(&dir).is_ok());
    orphan.kill().unwrap();
    orphan.wait().unwrap();
}
