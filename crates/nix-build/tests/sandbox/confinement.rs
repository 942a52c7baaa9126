//! What builders are and see.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use nix_build::builtin::BuiltinCall;
use nix_build::config::{Layer, SandboxPath};
use nix_build::helper::{Event, ExitStatus};
use nix_build::sandbox::plan::{Confinement, Network, Program, SandboxPlan, plan};

use crate::world::{SHELL, World, helper, is_root, pipe, skip, unprivileged, unused_uid};

/// Each test as this user, and (if that is root) as another one.
macro_rules! both {
    ($($name:ident $body:block)*) => {$(
        mod $name {
            use super::*;
            fn check() $body
            #[test]
            fn as_caller() { check(); }
            #[test]
            fn unprivileged_user() {
                let name = concat!("confinement::", stringify!($name), "::unprivileged_user");
                unprivileged(name, check);
            }
        }
    )*};
}

both! {
    builder_has_ids_of_the_namespace {
        let log = World::new().output(
            "b=/nix/store/8*/busybox; $b id; echo $$ $PPID; umask; pwd; $b grep Groups /proc/1/status",
        );
        assert_eq!(
            log,
            "uid=1000(nixbld) gid=100(nixbld)\n1 0\n0022\n/build\nGroups:\t \n"
        );
    }

    builder_has_no_rights {
        let world = World::new();
        let pattern = "^(Sig[PBIC]|Cap|NoNew|Seccomp:)";
        let program = world.program(&["grep", "-E", pattern, "/proc/self/status"]);
        let outcome = world.run(&helper(), program);
        let none = "0000000000000000";
        let names = ["SigPnd", "SigBlk", "SigIgn", "SigCgt", "CapInh", "CapPrm", "CapEff",
            "CapBnd", "CapAmb"];
        let mut expected: String = names.iter().map(|name| format!("{name}:\t{none}\n")).collect();
        expected.push_str("NoNewPrivs:\t1\nSeccomp:\t2\n");
        assert_eq!(outcome.log, expected);
    }

    root_has_only_what_belongs_there {
        let world = World::new();
        let log = world.output("b=/nix/store/8*/busybox; cd /; echo *; cd /dev; echo *; cd /etc; \
            echo *; cd /nix/store; echo *; cat() { $b cat \"$@\"; }; cat 9*-file; echo; \
            for l in a*-link /dev/fd /dev/stdin /dev/stdout /dev/stderr /dev/ptmx; do $b readlink $l; done; \
            cat /etc/passwd /etc/group /etc/hosts");
        assert_eq!(log, "build dev etc nix proc tmp\n\
            fd full null ptmx pts random shm stderr stdin stdout tty urandom zero\n\
            group hosts passwd\n\
            8mkl3bcn7q0dmn6wzc1y4hl4xr4dnnsr-busybox 9mkl3bcn7q0dmn6wzc1y4hl4xr4dnnsr-file \
            amkl3bcn7q0dmn6wzc1y4hl4xr4dnnsr-link\n\
            contents\n\
            /etc/shadow\n/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\n/dev/pts/ptmx\n\
            root:x:0:0:Nix build user:/build:/noshell\n\
            nixbld:x:1000:100:Nix build user:/build:/noshell\n\
            nobody:x:65534:65534:Nobody:/:/noshell\n\
            root:x:0:\nnixbld:!:100:\nnogroup:x:65534:\n\
            127.0.0.1 localhost\n::1 localhost\n");
    }

    only_four_places_are_writable {
        let world = World::new();
        let log = world.output("b=/nix/store/8*/busybox; \
            for d in / /etc /dev /nix /proc /nix/store/8*; do ( : >$d/new ) 2>/dev/null && echo $d; done; \
            for d in /build /tmp /dev/shm /nix/store; do ( : >$d/new ) || echo not $d; done; \
            : >/dev/null; ( : >/nix/store/9mkl3bcn7q0dmn6wzc1y4hl4xr4dnnsr-file ) 2>/dev/null && echo file; \
            $b chmod 777 /nix/store/8* /nix/store/8*/busybox 2>/dev/null && echo changed; \
            $b stat -c %a /tmp /dev/shm /nix/store /build /etc");
        assert_eq!(log, "1777\n1777\n1775\n700\n555\n");
        assert!(world.path("store/new").metadata().is_ok());
        assert!(world.path("build/new").metadata().is_ok());
        assert!(world.path("tmp/new").metadata().is_ok());
    }

    builder_gets_its_environment_only {
        let program = World::new();
        let outcome = program.run(&helper(), program.program(&["env"]));
        assert_eq!(outcome.log, "A=b c\n");
    }

    builder_has_three_descriptors {
        let log = World::new().output("/nix/store/8*/busybox ls /proc/1/fd; [ /dev/stdin -ef /dev/null ] && echo null; \
            ( : </dev/tty ) 2>/dev/null || echo no terminal");
        assert_eq!(log, "0\n1\n2\nnull\nno terminal\n");
    }

    host_is_called_localhost {
        let log = World::new().output("/nix/store/8*/busybox hostname; \
            while read l; do echo $l; done </proc/sys/kernel/domainname");
        assert_eq!(log, "localhost\n(none)\n");
    }

    network_is_a_loopback_interface_of_its_own {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let log = World::new().output(&format!("b=/nix/store/8*/busybox; \
            $b ls /proc/sys/net/ipv4/conf; $b ip addr show lo | $b grep -c 127.0.0.1; \
            $b nc -w 2 127.0.0.1 {port} </dev/null 2>/dev/null || echo refused"));
        assert_eq!(log, "all\ndefault\nlo\n1\nrefused\n");
    }

    first_process_survives_its_own_signals {
        let log = World::new().output("kill -9 $$; kill -TERM 0 -1 2>/dev/null; echo alive");
        assert_eq!(log, "alive\n");
    }

    machine_can_look_older_and_smaller {
        let mut world = World::new();
        let personality = "while read l; do echo $l; done </proc/self/personality";
        assert_eq!(world.output(personality), "00040000\n");
        world.personality_32 = true;
        world.config.impersonate_linux_26 = true;
        world.make_directories();
        let log = world.output(&format!("{personality}; /nix/store/8*/busybox uname -r"));
        assert!(log.starts_with("00060008\n2.6."), "{log}");
    }

    every_namespace_is_its_own {
        let mut world = World::new();
        world.own_cgroup = true;
        let log = world.output("cd /proc/self/ns; for n in user mnt pid ipc uts net cgroup; do \
            /nix/store/8*/busybox readlink $n; done");
        let host = |name| fs::read_link(format!("/proc/self/ns/{name}")).expect("a namespace");
        let names = ["user", "mnt", "pid", "ipc", "uts", "net", "cgroup"];
        assert_eq!(log.lines().count(), names.len(), "{log}");
        for (name, inside) in names.into_iter().zip(log.lines()) {
            assert_ne!(host(name), Path::new(inside), "{name}");
        }
    }

    new_privileges_are_possible_if_allowed {
        let mut world = World::new();
        world.config.allow_new_privileges = true;
        let pattern = "^(NoNew|Seccomp:|CapEff)";
        let program = world.program(&["grep", "-E", pattern, "/proc/self/status"]);
        let outcome = world.run(&helper(), program);
        assert_eq!(outcome.log, "CapEff:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2\n");
    }

    limits_are_set {
        let mut world = World::new();
        world.rlimits.file_size = Some(1 << 20);
        let log = world.output("ulimit -S -c; ulimit -f");
        assert_eq!(log, "0\n2048\n");
    }

    paths_of_the_host_appear {
        let mut world = World::new();
        fs::create_dir(world.path("host")).expect("a directory");
        fs::write(world.path("host/a"), "text").expect("a file");
        std::os::unix::fs::symlink("host", world.path("to-host")).expect("a link");
        let path = |target: &str, source: PathBuf, optional| SandboxPath {
            target: target.into(),
            source,
            optional,
        };
        let shell = world.path("busybox/busybox");
        world.paths = vec![
            path("/missing", world.path("missing"), true),
            path("/usr/share//x", world.path("to-host"), false),
            path("/bin/sh", shell, false),
            path("/dev/x", world.path("file"), false),
        ];
        let log = world.output("cd /; echo * usr/share/x/*; [ -x /bin/sh ] && [ -f /dev/x ] && echo ok");
        assert_eq!(log, "bin build dev etc nix proc tmp usr usr/share/x/a\nok\n");
    }

    nothing_is_made_in_paths_of_the_host {
        let mut world = World::new();
        fs::create_dir(world.path("host")).expect("a directory");
        let path = |target: &str, source| SandboxPath {
            target: target.into(),
            source,
            optional: false,
        };
        world.paths = vec![
            path("/x", world.path("host")),
            path("/x/inner", world.path("busybox")),
        ];
        let outcome = world.run(&helper(), world.script("true"));
        assert!(
            matches!(outcome.events.last(), Some(Event::SetupFailed { layer: Layer::Mounts, .. })),
            "{outcome:?}"
        );
        assert_eq!(fs::read_dir(world.path("host")).expect("a directory").count(), 0);
    }

    missing_path_fails_the_set_up {
        let mut world = World::new();
        world.inputs.push((world.path("missing"), Path::new("/nix/store/x").into()));
        let outcome = world.run(&helper(), world.script("true"));
        let [Event::Waiting, Event::SetupFailed { layer: Layer::Mounts, message }] =
            &outcome.events[..] else { panic!("{outcome:?}") };
        assert!(message.ends_with("/missing': No such file or directory (os error 2)"), "{message}");
    }

    missing_program_is_told_in_the_log {
        let world = World::new();
        let program = Program::Exec {
            path: "/bin/missing".into(),
            args: vec!["missing".into()],
            env: Vec::new(),
        };
        let outcome = world.run(&helper(), program);
        assert_eq!(outcome.log, "error: executing '/bin/missing': No such file or directory\n");
        assert_eq!(outcome.events.last(), Some(&Event::Exited(ExitStatus::Code(1))));
    }

    builtin_builders_run_inside {
        let world = World::new();
        let call = BuiltinCall {
            name: "nope".to_owned(),
            env: BTreeMap::new(),
            structured_attrs: None,
            outputs: BTreeMap::new(),
            ca_bundle: None,
            netrc: None,
            hashed_mirrors: Vec::new(),
            fixed: None,
            impure: false,
            connect_timeout: 0,
            public_only: false,
            build_dir: "/build".into(),
        };
        let outcome = world.run(&helper(), Program::Builtin(Box::new(call)));
        assert_eq!(outcome.log, "error: unsupported builtin builder 'nope'\n");
        assert_eq!(outcome.events[1..], [Event::Started, Event::Exited(ExitStatus::Code(1))]);
    }

    forgotten_steps_are_found {
        let mut steps = vec!["Pivot", "BoundingSet", "SyscallFilter", "NoCapabilities"];
        if is_root() {
            steps.extend(["UserNamespace", "Ids", "DeathSignal"]);
        }
        let helper = helper();
        for step in steps {
            let world = World::new();
            let marker = world.script(": >/nix/store/ran; : >/build/ran");
            let whole = plan(&world.input(marker)).expect("a plan");
            let crippled = without_step(&whole, step);
            let (_log, write) = pipe();
            let mut build = helper.start(&crippled, write).expect("a helper");
            assert_eq!(build.read_event(), Event::Waiting);
            build.go().expect("a helper");
            let event = build.read_event();
            assert!(matches!(event, Event::SetupFailed { .. }), "{step}: {event:?}");
            assert!(world.path("build/ran").symlink_metadata().is_err());
        }
    }

    unconfined_builder_has_its_ids_and_a_filter {
        let mut world = World::new();
        world.confinement = Confinement::None;
        if is_root() {
            world.identity.groups = vec![world.identity.gid + 1];
        }
        // The directory must be in reach of the builder.
        let outcome = world.run(&helper(), world.script(
            "while read a b; do case $a in Uid:|CapEff:|CapBnd:|Seccomp:|Groups:) echo $a $b;; esac; \
             done </proc/self/status; pwd",
        ));
        let uid = world.identity.uid;
        assert!(outcome.log.contains(&format!("Uid: {uid} {uid} {uid} {uid}\n")), "{}", outcome.log);
        assert!(outcome.log.contains("CapEff: 0000000000000000\n"), "{}", outcome.log);
        assert!(outcome.log.contains("Seccomp: 2\n"), "{}", outcome.log);
        if is_root() {
            assert!(outcome.log.contains(&format!("Groups: {}", world.identity.gid + 1)), "{}", outcome.log);
            assert!(outcome.log.contains("CapBnd: 0000000000000000\n"), "{}", outcome.log);
        }
        assert!(outcome.log.ends_with("/build\n"), "{}", outcome.log);
    }

    network_of_the_host_is_scoped {
        let mut world = World::new();
        world.network = Network::Host;
        fs::write(world.path("resolv"), "nameserver 1.2.3.4\n").expect("a file");
        world.network_files.files = vec![("resolv.conf".to_owned(), world.path("resolv"))];
        world.network_files.ca_bundle = Some(b"certificates".to_vec());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        if !nix_build::sandbox::landlock::is_available() {
            skip("this kernel has no Landlock scopes");
            return;
        }
        let log = world.output(&format!("b=/nix/store/8*/busybox; cd /etc; echo *; \
            $b cat resolv.conf nsswitch.conf ssl/certs/*; echo; $b hostname; \
            $b nc -w 2 127.0.0.1 {port} -e $b true && echo connected"));
        assert_eq!(log, "group nsswitch.conf passwd resolv.conf ssl\nnameserver 1.2.3.4\n\
            hosts: files dns\nservices: files\ncertificates\nlocalhost\nconnected\n");
    }
}

/// The plan with one of its steps forgotten.
fn without_step(plan: &SandboxPlan, name: &str) -> SandboxPlan {
    let mut value = serde_json::to_value(plan).expect("JSON");
    let steps = value["steps"].as_array_mut().expect("steps");
    let before = steps.len();
    steps.retain(|step| step.as_str() != Some(name) && step.get(name).is_none());
    assert_eq!(steps.len(), before - 1, "{name}");
    serde_json::from_value(value).expect("a plan")
}

#[test]
fn range_makes_builder_root_in_its_namespace() {
    if !is_root() {
        return skip("ranges of ids take root");
    }
    let mut world = World::new();
    world.identity.count = 65536;
    world.identity.uid = unused_uid(65536);
    world.identity.gid = world.identity.uid;
    world.make_directories();
    let log = world.output(&format!(
        "b={SHELL}; $b id -u; $b mkdir /run && $b mount -t tmpfs none /run && echo mounted; \
         : >/build/x; $b chown 5:6 /build/x && $b stat -c %u:%g /build/x; $b ls /; \
         while read l; do echo $l; done </proc/self/uid_map; \
         ( : >/nix/store/9mkl3bcn7q0dmn6wzc1y4hl4xr4dnnsr-file ) 2>/dev/null || echo read-only"
    ));
    let uid = world.identity.uid;
    assert_eq!(
        log,
        format!(
            "0\nmounted\n5:6\nbuild\ndev\netc\nnix\nproc\nrun\nsys\ntmp\n0 {uid} 65536\nread-only\n"
        )
    );
}

#[test]
fn root_is_no_builder() {
    let mut world = World::new();
    world.identity.uid = 0;
    if is_root() {
        assert!(plan(&world.input(world.script("true"))).is_err());
    }
}
