//! What a builder tries in vain: one test for each line of SEC-41 to SEC-47, as root and as a
//! user without rights on a store of its own.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use test_support::{PathToAdd, RawLimits, nar, say};

use crate::place::{Place, Who, as_user, set_mode};
use crate::processes::{ids, wait_for, wait_until_gone, with_words};

/// Makes two tests of a function of whom the server runs as.
macro_rules! as_root_and_as_nobody {
    ($($name:ident),* $(,)?) => {
        mod as_root {
            $(#[test]
            fn $name() {
                super::$name(super::Who::Root);
            })*
        }

        mod as_nobody {
            $(#[test]
            fn $name() {
                super::$name(super::Who::Nobody);
            })*
        }
    };
}

as_root_and_as_nobody!(
    build_directories_stay_closed,
    modes_and_attributes_do_not_last,
    special_files_are_refused,
    hard_links_are_cut,
    nobody_writes_after_the_end,
    planted_links_are_not_followed,
    the_kernel_refuses_what_is_no_builder_s_business,
    inputs_cannot_be_changed,
    nothing_of_the_host_is_seen,
    the_host_s_loopback_is_out_of_reach,
    processes_outside_are_out_of_reach,
    nothing_survives_the_builder,
    a_failed_build_leaves_nothing,
    a_failing_build_spares_a_concurrent_import,
    a_kept_directory_is_the_server_s,
);

const EPERM: i32 = 1;
const ENOSYS: i32 = 38;
const ENOTSUP: i32 = 95;

/// SEC-41. The builder opens its directories to all; nobody gets in all the same.
fn build_directories_stay_closed(who: Who) {
    let words = format!("opened-{}-{who:?}", std::process::id());
    let shapes = format!(
        r#"opener = make "opener" {{ }} ''
            $b chmod 777 . .. $NIX_BUILD_TOP || true; echo secret > file; $b chmod 666 file
            $b mkdir $out; $b chmod 777 $out /nix/store /tmp || true
            m={words}; $b sh -c ": $m-ready; $b sleep 1000; :"
        '';"#
    );
    let Some(place) = Place::new(who, &shapes) else {
        return;
    };
    let mut session = place.session();
    let limits = RawLimits::default();
    session.send(
        &place
            .drv("opener")
            .request(&place.paths["opener"], &limits, 7),
    );
    let (user, group) = ids(wait_for(&format!("{words}-ready")));
    let own = rustix::process::geteuid().as_raw();
    assert_ne!(user, own, "the builder runs as the server");
    let mut places = place.build_dirs();
    assert!(!places.is_empty(), "there is a build directory");
    let store = place.machine.path("nix/store");
    places.extend(place.oddities().iter().map(|name| store.join(name)));
    // As the builder's own user only where that isn't the owner of the store.
    let mut others = vec![(65533, 65533)];
    others.extend((who == Who::Root).then_some((user, group)));
    for directory in &places {
        let metadata = directory.symlink_metadata().unwrap();
        if !metadata.is_dir() {
            continue;
        }
        assert_eq!(metadata.mode() & 0o077, 0, "{}", directory.display());
        for (user, group) in &others {
            let mut list = as_user(*user, *group);
            list.arg("ls").arg(directory);
            let output = list.output().unwrap();
            assert!(!output.status.success(), "{} is open", directory.display());
        }
    }
    drop(session);
    wait_until_gone(&words);
}

/// SEC-42, SEC-44. No bit and no attribute is left on what was built.
fn modes_and_attributes_do_not_last(who: Who) {
    let shapes = r#"modes = make "modes" { } ''
        $b mkdir $out; ${tools}/probe modes $out; ${tools}/probe attributes $out
    '';"#;
    let Some(place) = Place::new(who, shapes) else {
        return;
    };
    let built = place.build_ok("modes");
    for name in ["chmod", "chmod-group", "fchmod", "fchmodat"] {
        assert_eq!(built.attempt(name), EPERM, "{name}: {built:?}");
    }
    let name = "fchmodat2";
    assert!([EPERM, ENOSYS].contains(&built.attempt(name)), "{built:?}");
    for name in ["chmod-32", "chmod-x32"] {
        if cfg!(target_arch = "x86_64") {
            assert!(
                [EPERM, ENOSYS].contains(&built.attempt(name)),
                "{name}: {built:?}"
            );
        }
    }
    for name in ["setxattr", "lsetxattr", "fsetxattr", "setxattrat"] {
        let errno = built.attempt(name);
        assert!([ENOTSUP, ENOSYS].contains(&errno), "{name}: {built:?}");
    }
    let mut count = 0;
    walk(&place.output("modes"), &mut |path, metadata| {
        count += 1;
        let wanted: &[u32] = if metadata.is_dir() {
            &[0o555]
        } else {
            &[0o444, 0o555]
        };
        let mode = metadata.mode() & 0o7777;
        assert!(wanted.contains(&mode), "{}: {mode:o}", path.display());
        assert_eq!(metadata.mtime(), 1, "{}", path.display());
        let mut names = [0_u8; 256];
        let length = rustix::fs::llistxattr(path, &mut names).unwrap();
        assert_eq!(length, 0, "{} has attributes", path.display());
    });
    assert!(count > 5, "only {count} files");
}

/// SEC-42. Fifos, sockets and devices are no part of an output.
fn special_files_are_refused(who: Who) {
    let shapes = r#"
        fifo = make "fifo" { } "$b mkdir $out; $b mkfifo $out/it";
        only-fifo = make "only-fifo" { } "$b mkfifo $out";
        socket = make "socket" { } "$b mkdir $out; cd $out; ${tools}/probe socket it";
    "#;
    let Some(place) = Place::new(who, shapes) else {
        return;
    };
    for name in ["fifo", "only-fifo", "socket"] {
        let built = place.build(name);
        assert!(matches!(built.result.status, 5 | 9), "{built:?}");
        assert!(
            built.result.error.contains("has an unsupported type"),
            "{built:?}"
        );
        assert!(place.output(name).symlink_metadata().is_err());
    }
}

/// SEC-42. A file with another name outside the output becomes a copy.
fn hard_links_are_cut(who: Who) {
    let shapes = r#"linked = make "linked" { input = "${tools}"; } ''
        $b mkdir $out; echo own > /nix/store/extra; $b ln /nix/store/extra $out/outside
        echo twice > $out/one; $b ln $out/one $out/two
        if $b ln $input/busybox $out/input; then echo LINKED; fi
    '';"#;
    let Some(place) = Place::new(who, shapes) else {
        return;
    };
    let tools = |place: &Place| {
        let input = place.drv("linked").input_srcs[0].clone();
        let file = place.machine.on_disk(&input).join("busybox");
        file.symlink_metadata().unwrap()
    };
    let before = tools(&place);
    place.build_ok("linked");
    let output = place.output("linked");
    let links = |name: &str| output.join(name).symlink_metadata().unwrap().nlink();
    assert_eq!(links("outside"), 1, "the file has another name still");
    let after = tools(&place);
    assert_eq!(
        (before.mode(), before.uid(), before.mtime(), before.nlink()),
        (after.mode(), after.uid(), after.mtime(), after.nlink()),
        "the input is as it was"
    );
}

/// SEC-43. A descriptor of the output gets out, and what is written to it later changes
/// nothing: of a fixed output, whose builder may have a network.
fn nobody_writes_after_the_end(who: Who) {
    let address = format!("nix-serve-test-{}-{who:?}", std::process::id());
    let shapes = format!(
        r#"sender = make "sender" {{
            outputHashMode = "flat"; outputHashAlgo = "sha256";
            outputHash = builtins.hashString "sha256" "built\n";
        }} "${{tools}}/probe send {address} $out";"#
    );
    let Some(place) = Place::new(who, &shapes) else {
        return;
    };
    let mut helper = Command::new(place.machine.path("home/probe"));
    helper.args(["take", &address]);
    helper.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut helper = helper.spawn().unwrap();
    let mut lines = BufReader::new(helper.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "listening");
    let built = place.build_ok("sender");
    let output = place.output("sender");
    if built.attempt("abstract") == 0 {
        assert_eq!(lines.next().unwrap().unwrap(), "taken");
        helper.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "write 0");
        helper.wait().unwrap();
    } else {
        say(&format!(
            "a builder as {who:?} reaches no abstract socket outside"
        ));
        helper.kill().unwrap();
        helper.wait().unwrap();
    }
    assert_eq!(std::fs::read(&output).unwrap(), b"built\n");
}

/// SEC-43. Names that a server might use are links to a file of somebody else.
fn planted_links_are_not_followed(who: Who) {
    let shapes = r#"planter = make "planter" {
        outputHashMode = "recursive"; outputHashAlgo = "sha256"; canary = "@CANARY@";
        outputHash = "sha256:0000000000000000000000000000000000000000000000000000";
    } ''
        for name in $out.tmp $out.lock $out.check $out-tmp $out.new $out~ /nix/store/.tmp; do
            $b ln -s $canary $name || true
        done
        $b ln -s $canary $NIX_BUILD_TOP/.attrs.json || true
        $b mkdir $out; $b ln -s $canary $out/link; echo text > $out/file
    '';
    plain = make "plain" { canary = "@CANARY@"; } ''
        for name in $out.tmp $out.lock $out.check $out-tmp $out.new $out~ /nix/store/.tmp; do
            $b ln -s $canary $name || true
        done
        $b mkdir $out; $b ln -s $canary $out/link; echo $out > $out/self
    '';"#;
    let directory = tempfile::tempdir().unwrap();
    set_mode(directory.path(), 0o777);
    let canary = directory.path().join("canary");
    std::fs::write(&canary, "sings").unwrap();
    set_mode(&canary, 0o666);
    let shapes = shapes.replace("@CANARY@", canary.to_str().unwrap());
    let Some(place) = Place::new(who, &shapes) else {
        return;
    };
    let before = canary.metadata().unwrap();
    // Its hash is wrong; the output is looked at all the same.
    let built = place.build("planter");
    assert_eq!(built.result.status, 5, "{built:?}");
    place.build_ok("plain");
    let after = canary.metadata().unwrap();
    assert_eq!(std::fs::read(&canary).unwrap(), b"sings");
    assert_eq!(
        (before.mode(), before.uid(), before.mtime(), before.nlink()),
        (after.mode(), after.uid(), after.mtime(), after.nlink())
    );
    assert!(place.output("plain").join("link").is_symlink());
    assert_eq!(place.oddities(), Vec::<String>::new());
}

/// SEC-44. Calls that no builder needs.
fn the_kernel_refuses_what_is_no_builder_s_business(who: Who) {
    let shapes = r#"kernel = make "kernel" { } ''
        ${tools}/probe kernel; echo it > $out
    '';"#;
    let Some(place) = Place::new(who, shapes) else {
        return;
    };
    let built = place.build_ok("kernel");
    for name in ["io_uring", "bpf", "add_key", "kexec", "init_module"] {
        assert!(
            [EPERM, ENOSYS].contains(&built.attempt(name)),
            "{name}: {built:?}"
        );
    }
    for name in [
        "reboot",
        "chroot",
        "mknod-device",
        "sethostname",
        "setuid",
        "setgroups",
        "mount",
    ] {
        assert_ne!(built.attempt(name), 0, "{name}: {built:?}");
    }
}

/// SEC-45. Inputs are what they were, also for a builder that makes namespaces of its own.
fn inputs_cannot_be_changed(who: Who) {
    let shapes = r#"changer = make "changer" { } ''
        ${tools}/probe writing ${tools}/busybox; ${tools}/probe nested ${tools}
        $b rm -rf ${tools}/probe || true; echo more > ${tools}/more || true
        $b mv ${tools} /nix/store/elsewhere || true; echo it > $out
    '';"#;
    let Some(place) = Place::new(who, shapes) else {
        return;
    };
    let tools = place.machine.on_disk(&place.drv("changer").input_srcs[0]);
    let before = nar::of_path(&tools);
    let built = place.build_ok("changer");
    for name in [
        "write-input",
        "truncate-input",
        "chmod-input",
        "rename-input",
        "unlink-input",
        "link-input",
        "nested-remount",
        "nested-umount",
        "nested-chmod",
    ] {
        assert_ne!(built.attempt(name), 0, "{name}: {built:?}");
    }
    assert!(nar::of_path(&tools) == before, "an input was changed");
    let mode = tools.symlink_metadata().unwrap().mode() & 0o7777;
    assert_eq!(mode, 0o555);
}

/// SEC-45. Nothing but the closure and what the sandbox is made of.
fn nothing_of_the_host_is_seen(who: Who) {
    let shapes = r#"looker = make "looker" { } ''
        echo "ROOT" $($b ls -A /); echo "STORE" $($b ls -A /nix/store)
        echo "DEV" $($b ls -A /dev); echo "NIX" $($b ls -A /nix)
        echo "PIDS" $($b ls /proc | $b grep '^[0-9]' | $b sort -n | $b head -n 3)
        echo "HOST" $($b hostname); echo "LINKS" $($b ls /sys/class/net 2>/dev/null)
        $b ls -l /proc/self/fd | $b wc -l
        echo it > $out
    '';"#;
    let Some(place) = Place::new(who, shapes) else {
        return;
    };
    let built = place.build_ok("looker");
    let list = |word: &str| -> BTreeSet<String> {
        let line = built
            .log
            .lines()
            .find(|line| line.starts_with(word))
            .unwrap();
        line.split_whitespace().skip(1).map(str::to_owned).collect()
    };
    let known: BTreeSet<String> = ["build", "dev", "etc", "nix", "proc", "shared", "tmp"]
        .map(str::to_owned)
        .into();
    assert_eq!(list("ROOT"), known);
    let inputs = place.drv("looker").input_srcs;
    let bases: BTreeSet<String> = inputs
        .iter()
        .map(|path| path.trim_start_matches("/nix/store/").to_owned())
        .collect();
    assert_eq!(list("STORE"), bases);
    assert_eq!(list("NIX"), BTreeSet::from(["store".to_owned()]));
    assert_eq!(list("HOST"), BTreeSet::from(["localhost".to_owned()]));
    for absent in ["sda", "vda", "mem", "kmsg", "console", "fuse", "loop0"] {
        assert!(!list("DEV").contains(absent), "{built:?}");
    }
    assert!(list("PIDS").contains("1"), "{built:?}");
}

/// SEC-45. A service of the host on its loopback.
fn the_host_s_loopback_is_out_of_reach(who: Who) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let address = format!("nix-serve-loopback-{}-{who:?}", std::process::id());
    let shapes = format!(
        r#"caller = make "caller" {{ }} ''
            ${{tools}}/probe network {port}; ${{tools}}/probe send {address} file
            echo it > $out
        '';"#
    );
    let Some(place) = Place::new(who, &shapes) else {
        return;
    };
    let mut helper = Command::new(place.machine.path("home/probe"));
    helper.args(["take", &address]);
    helper.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut helper = helper.spawn().unwrap();
    let mut lines = BufReader::new(helper.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "listening");
    let built = place.build("caller");
    helper.kill().unwrap();
    helper.wait().unwrap();
    assert_eq!(built.result.status, 0, "{built:?}");
    assert_ne!(built.attempt("loopback"), 0, "{built:?}");
    assert_ne!(built.attempt("abstract"), 0, "{built:?}");
    assert!(listener.accept().is_err(), "somebody called");
}

/// SEC-45. Processes of others, by their numbers.
fn processes_outside_are_out_of_reach(who: Who) {
    let own = std::process::id();
    let shapes = format!(
        r#"hunter = make "hunter" {{ }} ''
            ${{tools}}/probe process {own}; $b kill -9 {own} -1 || true; echo it > $out
        '';"#
    );
    let Some(place) = Place::new(who, &shapes) else {
        return;
    };
    let built = place.build_ok("hunter");
    for name in ["kill", "ptrace", "proc-root"] {
        assert_ne!(built.attempt(name), 0, "{name}: {built:?}");
    }
}

/// SEC-42. What the builder started ends with it, before its output is looked at.
fn nothing_survives_the_builder(who: Who) {
    let words = format!("survivor-{}-{who:?}", std::process::id());
    let shapes = format!(
        r#"parent = make "parent" {{ }} ''
            m={words}; echo first > $out
            $b setsid $b sh -c ": $m-child; trap true 1 2 15; while true; do echo more >> $out; done" &
            while ! $b grep -q more $out; do :; done
        '';"#
    );
    let Some(place) = Place::new(who, &shapes) else {
        return;
    };
    let built = place.build_ok("parent");
    assert_eq!(with_words(&words), Vec::<u32>::new(), "{built:?}");
    let mut session = place.session();
    let output = place.drv("parent").output("out").to_owned();
    let info = session.query_path_infos([&output]).remove(0);
    session.finish_ok();
    let archive = nar::of_path(&place.output("parent"));
    assert_eq!(
        info.nar_size,
        archive.len() as u64,
        "it was written to afterwards"
    );
}

/// SEC-46. Neither a failure nor a rejection leaves anything, and a retry begins afresh.
fn a_failed_build_leaves_nothing(who: Who) {
    let shapes = r#"
        failing = make "failing" { } "echo it > $out; echo other > /nix/store/other; exit 1";
        missing = make "missing" { outputs = [ "out" "dev" ]; } "echo it > $out";
        open = make "open" { } "echo it > $out; $b chmod 666 $out";
        large = make "large" { __structuredAttrs = true; outputChecks.out.maxSize = 1; } ''
            out=$($b sed 's/.*"outputs":{"out":"\([^"]*\)".*/\1/' .attrs.json); echo it > $out
        '';
    "#;
    let Some(place) = Place::new(who, shapes) else {
        return;
    };
    let before: BTreeSet<String> = place.machine.names().into_iter().collect();
    for name in ["failing", "missing", "open", "large"] {
        let built = place.build(name);
        assert!(!built.result.is_success(), "{built:?}");
        let after = place.machine.names().into_iter();
        let new: Vec<String> = after
            .filter(|name| !before.contains(name) && name != ".links" && !is_lock(name))
            .collect();
        assert_eq!(new, Vec::<String>::new(), "after '{name}'");
        assert_eq!(
            place.build_dirs(),
            Vec::<std::path::PathBuf>::new(),
            "after '{name}'"
        );
    }
}

/// SEC-46. The path that is being built comes in from elsewhere meanwhile.
fn a_failing_build_spares_a_concurrent_import(who: Who) {
    let words = format!("importer-{}-{who:?}", std::process::id());
    let shapes = format!(
        r#"racer = make "racer" {{ }} ''
            m={words}; echo half > $out
            $b sh -c ": $m-ready; while ! [ -e /shared/go ]; do :; done"; exit 1
        '';"#
    );
    let Some(place) = Place::new(who, &shapes) else {
        return;
    };
    let drv = place.drv("racer");
    let mut builder = place.session();
    builder.send(&drv.request(&place.paths["racer"], &RawLimits::default(), 7));
    wait_for(&format!("{words}-ready"));
    let output = drv.output("out").to_owned();
    let object = PathToAdd::from_nar(output.clone(), nar::regular(b"whole\n"));
    let mut importer = place.session();
    // It may have to wait for the path's lock.
    importer.send(&object.request());
    importer.send(&test_support::Message::query_valid_paths(
        false,
        false,
        [&output],
    ));
    std::fs::write(place.shared("go"), "").unwrap();
    let result = builder.read_build_result();
    assert_eq!(importer.read_u64(), 1, "the import succeeds");
    assert_eq!(importer.read_strings(), std::slice::from_ref(&output));
    importer.finish_ok();
    builder.finish_ok();
    // If the import came first in the end, the build found the path valid or failed.
    assert!(matches!(result.status, 2 | 3), "{result:?}");
    assert!(place.is_valid(&output));
    assert_eq!(std::fs::read(place.output("racer")).unwrap(), b"whole\n");
}

/// SEC-47. What stays of a failed build belongs to the server, and links in it were not
/// followed.
fn a_kept_directory_is_the_server_s(who: Who) {
    let directory = tempfile::tempdir().unwrap();
    let canary = directory.path().join("canary");
    std::fs::write(&canary, "sings").unwrap();
    let shapes = format!(
        r#"kept = make "kept" {{ }} ''
            echo evidence > file; $b mkdir sub; echo more > sub/file
            $b ln -s {canary} link; $b chmod -R 777 .; exit 1
        '';"#,
        canary = canary.display()
    );
    let Some(place) = Place::new(who, &shapes) else {
        return;
    };
    let before = canary.metadata().unwrap();
    let limits = RawLimits {
        keep_failed: true,
        ..RawLimits::default()
    };
    let built = place.build_limited("kept", &limits);
    assert_eq!(built.result.status, 3, "{built:?}");
    assert!(built.log.contains("keeping build directory"), "{built:?}");
    let owner = match who {
        Who::Root => 0,
        Who::Nobody => 65534,
    };
    let mut count = 0;
    for directory in place.build_dirs() {
        walk(&directory, &mut |path, metadata| {
            count += 1;
            assert_eq!(metadata.uid(), owner, "{}", path.display());
        });
    }
    assert!(count >= 4, "only {count} files were kept: {built:?}");
    let after = canary.metadata().unwrap();
    assert_eq!((before.uid(), before.mode()), (after.uid(), after.mode()));
}

fn is_lock(name: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|extension| extension == "lock")
}

/// Calls `visit` for everything in a tree.
fn walk(path: &Path, visit: &mut dyn FnMut(&Path, &std::fs::Metadata)) {
    let metadata = path.symlink_metadata().unwrap();
    visit(path, &metadata);
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            walk(&entry.unwrap().path(), visit);
        }
    }
}
