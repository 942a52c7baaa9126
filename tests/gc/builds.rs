//! What a build under way needs and makes is kept from collectors, ours and real ones.

use std::fs;
use std::path::Path;
use std::process::{self, Command};

use test_support::{
    Machine, Peer, RawDrv, RawLimits, ServeSession, Workshop, busybox, poll_until, run_ok, say,
    say_missing,
};

const SERVE: &str = env!("CARGO_BIN_EXE_nix-serve");

/// Begins, waits at the gate, reads an input again and writes its outputs. The second input is
/// itself the output of a build.
const SHAPES: &str = r#"
  before = make "before" { } ''echo of before > $out'';
  held = make "held" { outputs = [ "out" "more" ]; inherit before tools; } ''
    echo 1 > /gate/begun
    until $b test -e /gate/open; do $b usleep 2000; done
    $b cat $before > $out; $b test -e $tools/busybox; echo $out > $more
  '';
"#;

fn ours(machine: &Machine, arguments: &[&str]) -> Command {
    machine.command(SERVE, arguments)
}

fn temp_roots(machine: &Machine) -> Vec<String> {
    let lines = run_ok(ours(machine, &["gc", "--print-roots"])).into_iter();
    lines.filter(|line| line.starts_with("{temp:")).collect()
}

#[test]
fn builds_under_way_are_kept_from_collectors() {
    let (true, Some(_), Some(newest)) = (
        Machine::available(),
        busybox(),
        Peer::find("newest").or_else(|| Peer::find("2.26")),
    ) else {
        say_missing("NO MACHINE, BUSYBOX OR REAL NIX: NOTHING IS BUILT", true);
        return;
    };
    let machine = Machine::with(newest);
    let gate = machine.path("gate");
    fs::create_dir(&gate).unwrap();
    set_mode(&gate, 0o777);
    machine.configure(&format!(
        "sandbox = true\nsandbox-paths = /gate={}\n",
        gate.display()
    ));
    let workshop = Workshop::new(&machine, newest);
    // Collectors keep what any process on the host runs from, whatever its store: no other test's
    // builder may run from a path of the same name.
    workshop.add_file("tools/owner", process::id().to_string().as_bytes());
    let paths = workshop.instantiate(SHAPES);
    let drv_path = &paths["held"];
    let drv = RawDrv::read(&machine.on_disk(drv_path));
    let before = RawDrv::read(&machine.on_disk(&paths["before"]));

    let mut server = ServeSession::open(ours(&machine, &["serve", "--write"]), 7);
    let first = server.build(&paths["before"], &before, &RawLimits::default());
    assert!(first.is_success(), "{}", first.error);
    // What a client sends has its input derivations resolved to their outputs.
    let mut request = drv.clone();
    request.input_srcs.push(before.output("out").to_owned());
    server.send(&request.request(drv_path, &RawLimits::default(), 7));
    poll_until("the builder to begin", || {
        gate.join("begun").symlink_metadata().ok()
    });

    let kept: Vec<&str> = request.input_srcs.iter().map(String::as_str).collect();
    let roots = temp_roots(&machine);
    let outputs = ["out", "more"].map(|name| request.output(name));
    for path in kept.iter().chain(&outputs).chain([&drv_path.as_str()]) {
        let is_rooted = roots.iter().any(|root| root.ends_with(path));
        assert!(is_rooted, "'{path}' is no root: {roots:?}");
    }
    run_ok(ours(&machine, &["gc"]));
    for peer in Peer::all().iter().filter(|peer| peer.is_at_least(2, 5)) {
        say(&format!("collecting with Nix {}", peer.version()));
        run_ok(machine.nix_store(peer, ["--gc"]));
    }
    assert!(!server.has_output(), "it waits at the gate");
    for path in &kept {
        assert!(machine.on_disk(path).symlink_metadata().is_ok(), "{path}");
    }
    fs::write(gate.join("open"), "").unwrap();
    let result = server.read_build_result();
    assert!(result.is_success(), "{}", result.error);
    run_ok(ours(&machine, &["gc"]));
    for path in outputs {
        assert!(machine.on_disk(path).symlink_metadata().is_ok(), "{path}");
    }
    server.finish_ok();

    run_ok(ours(&machine, &["gc"]));
    let left: Vec<String> = machine
        .names()
        .into_iter()
        .filter(|name| !name.starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(temp_roots(&machine).is_empty());
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
