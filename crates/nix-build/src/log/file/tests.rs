use std::fs;
use std::io::{Seek, SeekFrom};

use nix_base::StoreDir;
use test_support::{Machine, Peer, poll_until, run_ok};

use super::*;

const NAME: &str = "00000000000000000000000000000000-some.drv";

fn layout(root: &Path) -> StoreLayout {
    StoreLayout::chroot(StoreDir::default(), root)
}

fn drv() -> StorePath {
    NAME.parse().unwrap()
}

fn raw(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn read(layout: &StoreLayout) -> Option<Vec<u8>> {
    let mut log = Vec::new();
    open_log(layout, &drv())
        .unwrap()?
        .read_to_end(&mut log)
        .unwrap();
    Some(log)
}

#[test]
fn logs_lie_where_nix_has_them() {
    let place = tempfile::tempdir().unwrap();
    let layout = layout(place.path());
    let drvs = place.path().join("nix/var/log/nix/drvs/00");
    let kept = keep_log(&layout, &drv(), &raw(b"x\n"), true).unwrap();
    assert_eq!(
        kept,
        drvs.join("000000000000000000000000000000-some.drv.bz2")
    );
    let kept = keep_log(&layout, &drv(), &raw(b"x\n"), false).unwrap();
    assert_eq!(kept, drvs.join("000000000000000000000000000000-some.drv"));
    assert_eq!(kept.metadata().unwrap().permissions().mode(), 0o100_644);
}

#[test]
fn what_is_kept_can_be_read() {
    let place = tempfile::tempdir().unwrap();
    let layout = layout(place.path());
    let long: Vec<u8> = (0..3_000_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 26) as u8)
        .collect();
    for bytes in [&b""[..], b"one\n", b"\xff\0\r", &long[..100_000], &long] {
        for compress in [true, false] {
            keep_log(&layout, &drv(), &raw(bytes), compress).unwrap();
            assert!(read(&layout).unwrap() == bytes, "{} bytes", bytes.len());
        }
    }
}

#[test]
fn the_newest_log_is_the_one_that_is_read() {
    let place = tempfile::tempdir().unwrap();
    let layout = layout(place.path());
    assert_eq!(read(&layout), None);
    for (text, compress) in [
        ("1", false),
        ("2", true),
        ("3", true),
        ("4", false),
        ("5", true),
    ] {
        let place = keep_log(&layout, &drv(), &raw(text.as_bytes()), compress).unwrap();
        assert_eq!(read(&layout).unwrap(), text.as_bytes());
        let names = std::fs::read_dir(place.parent().unwrap()).unwrap().count();
        assert_eq!(names, 1, "one log, and no file left over");
    }
}

#[test]
fn the_raw_log_keeps_its_position() {
    let place = tempfile::tempdir().unwrap();
    let mut raw = raw(b"0123456789");
    raw.seek(SeekFrom::Start(4)).unwrap();
    keep_log(&layout(place.path()), &drv(), &raw, true).unwrap();
    assert_eq!(raw.stream_position().unwrap(), 4);
    assert_eq!(read(&layout(place.path())).unwrap(), b"0123456789");
}

#[test]
fn logs_of_the_old_place_are_found() {
    let place = tempfile::tempdir().unwrap();
    let layout = layout(place.path());
    std::fs::create_dir_all(layout.log.join("drvs")).unwrap();
    std::fs::write(layout.log.join("drvs").join(NAME), "old\n").unwrap();
    assert_eq!(read(&layout).unwrap(), b"old\n");
}

/// Text of more than a million bytes.
fn long_text() -> Vec<u8> {
    (0..200_000)
        .flat_map(|n| format!("line {n}\n").into_bytes())
        .collect()
}

#[test]
fn long_logs_are_compressed_in_the_end() {
    let place = tempfile::tempdir().unwrap();
    let (layout, text) = (layout(place.path()), long_text());
    keep_log(&layout, &drv(), &raw(&text), true).unwrap();
    assert!(read(&layout).unwrap() == text, "it can be read at once");
    let plain = log_path(&layout, &drv());
    poll_until("the log to be compressed", || {
        fs::symlink_metadata(&plain).is_err().then_some(())
    });
    assert!(read(&layout).unwrap() == text);
    let names = fs::read_dir(plain.parent().unwrap()).unwrap().count();
    assert_eq!(names, 1, "one log, and no file left over");
}

#[test]
fn a_newer_log_is_not_replaced_by_an_older_one() {
    let place = tempfile::tempdir().unwrap();
    let layout = layout(place.path());
    let plain = log_path(&layout, &drv());
    let packed = with_suffix(&plain, ".bz2");
    let old = raw(b"old");
    let kept = write_to(&plain, &old, copy).unwrap();
    keep_log(&layout, &drv(), &raw(b"new"), false).unwrap();
    replace_by_compressed(&old, &kept, &plain, &packed).unwrap();
    assert_eq!(read(&layout).unwrap(), b"new");
    assert!(fs::symlink_metadata(&packed).is_err());

    keep_log(&layout, &drv(), &raw(b"newer"), true).unwrap();
    replace_by_compressed(&old, &kept, &plain, &packed).unwrap();
    assert_eq!(read(&layout).unwrap(), b"newer");
}

#[test]
fn file_systems_without_nameless_files_do_as_well() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("log");
    for text in ["one", "two"] {
        let path = name_beside(&target).unwrap();
        let mut fresh = Fresh {
            file: File::create_new(&path).unwrap(),
            named: Some(path),
        };
        fresh.file.write_all(text.as_bytes()).unwrap();
        fresh.move_to(&target).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), text);
    }
    let path = name_beside(&target).unwrap();
    drop(Fresh {
        file: File::create_new(&path).unwrap(),
        named: Some(path),
    });
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
}

#[test]
fn a_log_that_cannot_be_kept_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let layout = layout(place.path());
    let directory = layout.log.join("drvs/00");
    // A directory can't be replaced by a file.
    let target = directory.join("000000000000000000000000000000-some.drv.bz2");
    std::fs::create_dir_all(&target).unwrap();
    let error = keep_log(&layout, &drv(), &raw(b"x"), true).unwrap_err();
    assert!(error.to_string().contains("some.drv.bz2"), "{error}");
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
}

#[test]
fn a_damaged_log_is_an_error_when_read() {
    let place = tempfile::tempdir().unwrap();
    let layout = layout(place.path());
    let kept = keep_log(&layout, &drv(), &raw(b"some text"), true).unwrap();
    std::fs::write(&kept, b"BZh9no").unwrap();
    let mut log = open_log(&layout, &drv()).unwrap().unwrap();
    assert!(log.read_to_end(&mut Vec::new()).is_err());
}

#[test]
fn every_release_reads_our_logs() {
    let text = b"first\nsecond \xff\r\nlast without newline";
    for peer in Peer::all() {
        for (log, compress) in [(&text[..], true), (text, false), (b"", true)] {
            let place = tempfile::tempdir().unwrap();
            let layout = layout(place.path());
            keep_log(&layout, &drv(), &raw(log), compress).unwrap();
            let store = format!("local?root={}", place.path().display());
            let output = peer
                .command("nix-store")
                .args(["--store", &store, "-l", &format!("/nix/store/{NAME}")])
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{}: {}",
                peer.version(),
                String::from_utf8_lossy(&output.stderr)
            );
            assert_eq!(output.stdout, log, "{}", peer.version());
        }
    }
}

#[test]
fn logs_of_every_release_are_read() {
    if !Machine::available() {
        return;
    }
    for peer in Peer::all() {
        for compress in [true, false] {
            let machine = Machine::with(peer);
            machine.configure(&format!("compress-build-log = {compress}"));
            let expression = r#"derivation {
                name = "speaks"; system = builtins.currentSystem; builder = "/bin/sh";
                args = [ "-c" "echo one; printf 'two\\r\\377'; echo x > $out" ];
            }"#;
            let instantiate = machine.peer(peer, "nix-instantiate", ["-E", expression]);
            let drv = run_ok(instantiate).remove(0);
            run_ok(machine.nix_store(peer, ["-r", &drv]));
            let drv = StoreDir::default().parse(&drv).unwrap();

            let layout = StoreLayout {
                log: machine.path("nix/var/log/nix"),
                ..StoreLayout::default()
            };
            let mut path = log_path(&layout, &drv).into_os_string();
            if compress {
                path.push(".bz2");
            }
            assert!(Path::new(&path).is_file(), "{}", peer.version());
            let mut log = Vec::new();
            let mut file = open_log(&layout, &drv).unwrap().unwrap();
            file.read_to_end(&mut log).unwrap();
            assert_eq!(log, b"one\ntwo\r\xff", "{}", peer.version());
        }
    }
}

#[test]
fn keeping_an_empty_log_costs_next_to_nothing() {
    let place = tempfile::tempdir().unwrap();
    let (layout, raw) = (layout(place.path()), raw(b""));
    let start = std::time::Instant::now();
    for n in 0..100 {
        let drv: StorePath = NAME.replace("some", &format!("some{n}")).parse().unwrap();
        keep_log(&layout, &drv, &raw, true).unwrap();
    }
    // A tenth of it is usual; other tests run beside this one.
    assert!(start.elapsed().as_millis() < 1000, "{:?}", start.elapsed());
}
