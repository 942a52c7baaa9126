//! What a builder may leave, and what becomes of it.

use super::*;

#[test]
fn an_output_becomes_valid_with_canonical_metadata() {
    let mut shop = Shop::new();
    let dep = shop.add_input("dep");
    let text = format!("uses {} and {OUT}", StoreDir::default().print(&dep));
    let finished = shop
        .finish(&plain(&[]), |bench| {
            let out = bench.at("out");
            fs::create_dir_all(out.join("bin")).unwrap();
            fs::write(out.join("bin/run"), &text).unwrap();
            fs::set_permissions(out.join("bin/run"), fs::Permissions::from_mode(0o4755)).unwrap();
            fs::write(out.join("data"), "x").unwrap();
            fs::set_permissions(out.join("data"), fs::Permissions::from_mode(0o600)).unwrap();
            symlink("/nowhere", out.join("link")).unwrap();
            fs::set_permissions(out.join("bin"), fs::Permissions::from_mode(0o1700)).unwrap();
        })
        .unwrap();
    let info = shop.info(&out_path());
    assert_eq!(finished.infos[&name("out")], info);
    assert_eq!(info.references, [dep, out_path()].into());
    assert_eq!(info.deriver, Some(shop.drv_path.clone()));
    assert!(info.ultimate && info.registration_time > 1_700_000_000);
    assert_eq!(info.nar_hash, shop.nar_hash_on_disk(&out_path()));
    assert_eq!(finished.realisations[&name("out")].out_path, out_path());
    for (part, mode) in [
        ("", 0o555),
        ("bin", 0o555),
        ("bin/run", 0o555),
        ("data", 0o444),
    ] {
        let metadata = fs::symlink_metadata(shop.real(&out_path()).join(part)).unwrap();
        assert_eq!(metadata.mode() & 0o7777, mode, "{part}");
    }
    for part in ["", "bin", "bin/run", "data", "link"] {
        let metadata = fs::symlink_metadata(shop.real(&out_path()).join(part)).unwrap();
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1, 0), "{part}");
        assert_eq!(
            metadata.uid(),
            rustix::process::geteuid().as_raw(),
            "{part}"
        );
    }
    shop.assert_clean();
}

#[test]
fn a_missing_output_is_named_with_its_place() {
    let shop = Shop::new();
    let failure = shop.refusal(&plain(&[]), |_| ());
    assert_eq!(failure.status, BuildStatus::OutputRejected);
    let begin = "builder for '/nix/store/dddddddddddddddddddddddddddddddd-x.drv' failed to \
                 produce output path for output 'out' at '/";
    assert!(failure.message.starts_with(begin), "{failure}");
    assert!(failure.message.ends_with("-x'"), "{failure}");
}

#[test]
fn an_output_that_others_can_write_is_refused() {
    let shop = Shop::new();
    for mode in [0o666, 0o620] {
        let failure = shop.refusal(&plain(&[]), |bench| {
            bench.write("out", "x");
            fs::set_permissions(bench.at("out"), fs::Permissions::from_mode(mode)).unwrap();
        });
        assert_eq!(failure.status, BuildStatus::OutputRejected);
        assert!(
            failure
                .message
                .contains("suspicious ownership or permission on")
        );
        assert!(
            failure
                .message
                .ends_with("for output 'out'; rejecting this build output")
        );
    }
}

#[test]
fn pipes_sockets_and_devices_are_refused() {
    use rustix::fs::FileType;
    let shop = Shop::new();
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    let null = rustix::fs::makedev(1, 3);
    for (kind, device, inner) in [
        (FileType::Fifo, 0, ""),
        (FileType::Socket, 0, "deep/er"),
        (FileType::CharacterDevice, null, "null"),
    ] {
        if kind == FileType::CharacterDevice && !is_root() {
            test_support::say_missing("NOT ROOT: DEVICES IN OUTPUTS ARE NOT TESTED", false);
            continue;
        }
        let failure = shop.refusal(&plain(&[]), |bench| {
            let at = match inner {
                "" => bench.at("out"),
                inner => bench.at("out").join(inner),
            };
            if !inner.is_empty() {
                fs::create_dir_all(at.parent().unwrap()).unwrap();
            }
            rustix::fs::mknodat(rustix::fs::CWD, &at, kind, mode, device).unwrap();
        });
        assert_eq!(failure.status, BuildStatus::MiscFailure);
        assert!(failure.message.starts_with("file '/"), "{failure}");
        let end = "' has an unsupported type";
        assert!(failure.message.ends_with(end), "{failure}");
    }
}

#[test]
fn files_of_somebody_else_are_refused() {
    if !is_root() {
        test_support::say_missing("NOT ROOT: FOREIGN OWNERS OF OUTPUTS ARE NOT TESTED", false);
        return;
    }
    let shop = Shop::new();
    let build = |bench: &Bench| {
        fs::create_dir(bench.at("out")).unwrap();
        fs::write(bench.at("out").join("mine"), "x").unwrap();
    };
    let inner = shop.finish_owned(&plain(&[]), build, |place| {
        give_away(place, BUILDER);
        let mine = place.join(out_path().base_name()).join("mine");
        std::os::unix::fs::chown(mine, Some(BUILDER + 1), None).unwrap();
    });
    let failure = inner.unwrap_err();
    assert_eq!(failure.status, BuildStatus::OutputRejected);
    assert!(
        failure.message.starts_with("invalid ownership on file '/"),
        "{failure}"
    );
    let root = shop.finish_owned(&plain(&[]), build, |_| ());
    let failure = root.unwrap_err();
    assert!(
        failure.message.starts_with("suspicious ownership"),
        "{failure}"
    );
    shop.assert_clean();
}

#[test]
fn a_file_with_another_name_elsewhere_is_copied_and_the_other_stays_as_it_was() {
    let shop = Shop::new();
    let elsewhere = shop.store.layout().state.join("elsewhere");
    fs::write(&elsewhere, "contents").unwrap();
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o640)).unwrap();
    let build = |bench: &Bench| {
        let out = bench.at("out");
        fs::create_dir(&out).unwrap();
        fs::hard_link(&elsewhere, out.join("a")).unwrap();
        fs::hard_link(&elsewhere, out.join("b")).unwrap();
    };
    shop.finish(&plain(&[]), build).unwrap();
    let real = shop.real(&out_path());
    let before = fs::metadata(&elsewhere).unwrap();
    assert_eq!(before.mode() & 0o7777, 0o640);
    assert_eq!(before.nlink(), 1);
    assert_ne!(before.mtime(), 1);
    fs::write(&elsewhere, "changed!").unwrap();
    assert_eq!(fs::read_to_string(real.join("a")).unwrap(), "contents");
    assert_eq!(fs::read_to_string(real.join("b")).unwrap(), "contents");
    assert_eq!(fs::metadata(real.join("a")).unwrap().mode() & 0o7777, 0o444);
}

#[test]
fn outputs_may_share_files() {
    let shop = Shop::new();
    let both = drv(&[("dev", DEV, "", ""), ("out", OUT, "", "")], &[]);
    shop.finish(&both, |bench| {
        fs::create_dir(bench.at("dev")).unwrap();
        fs::write(bench.at("dev").join("one"), "shared").unwrap();
        fs::hard_link(bench.at("dev").join("one"), bench.at("out")).unwrap();
    })
    .unwrap();
    let one = fs::metadata(shop.real(&dev_path()).join("one")).unwrap();
    let other = fs::metadata(shop.real(&out_path())).unwrap();
    assert_eq!(one.ino(), other.ino());
    assert_eq!(other.mode() & 0o7777, 0o444);
    assert_eq!(
        shop.info(&out_path()).nar_hash,
        shop.nar_hash_on_disk(&out_path())
    );
}

#[test]
fn trees_that_no_archive_can_hold_are_refused() {
    let shop = Shop::new();
    let failure = shop.refusal(&plain(&[]), |bench| {
        let mut deep = bench.at("out");
        for _ in 0..70 {
            deep.push("d");
        }
        fs::create_dir_all(deep).unwrap();
    });
    assert_eq!(failure.status, BuildStatus::MiscFailure);
    assert!(failure.message.contains("nested too deeply"), "{failure}");
}

#[test]
fn a_copy_doesnt_change_when_somebody_still_writes_to_the_original() {
    let mut shop = Shop::new();
    shop.copy_first = true;
    let held = RefCell::new(None);
    shop.finish(&plain(&[]), |bench| {
        bench.write("out", "what was hashed");
        let file = fs::OpenOptions::new().write(true).open(bench.at("out"));
        held.replace(Some(file.unwrap()));
    })
    .unwrap();
    let mut file = held.take().unwrap();
    std::io::Write::write_all(&mut file, b"something else!").unwrap();
    assert_eq!(shop.read(&out_path()), "what was hashed");
    let metadata = fs::metadata(shop.real(&out_path())).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o444, 1));
    assert_eq!(metadata.uid(), rustix::process::geteuid().as_raw());
}

#[test]
fn extended_attributes_are_removed() {
    let shop = Shop::new();
    let flags = rustix::fs::XattrFlags::empty();
    let supported = RefCell::new(true);
    shop.finish(&plain(&[]), |bench| {
        fs::create_dir(bench.at("out")).unwrap();
        let file = bench.at("out").join("file");
        fs::write(&file, "x").unwrap();
        for at in [bench.at("out"), file] {
            if rustix::fs::setxattr(&at, "user.test", b"value", flags).is_err() {
                supported.replace(false);
            }
        }
    })
    .unwrap();
    if !supported.take() {
        test_support::say_missing("NO USER XATTRS HERE: THEIR REMOVAL IS NOT TESTED", false);
    }
    for part in ["", "file"] {
        let at = shop.real(&out_path()).join(part);
        let mut none = [0; 256];
        assert_eq!(rustix::fs::listxattr(&at, &mut none), Ok(0), "{part}");
    }
}

#[test]
fn leftovers_of_a_builder_without_a_sandbox_are_removed_and_valid_paths_stay() {
    let shop = Shop::new();
    shop.finish(&drv(&[("dev", DEV, "", "")], &[]), |bench| {
        bench.write("dev", "valid");
    })
    .unwrap();
    let outputs = [("dev", DEV, "", ""), ("out", OUT, "", "")];
    let both = drv(&outputs, &[]);
    let valid = BTreeSet::from([name("dev")]);
    let scratch = ScratchPaths::compute(&ScratchInput {
        store_dir: shop.store.store_dir(),
        drv_path: &shop.drv_path,
        drv: &both,
        valid: &valid,
        confined: true,
    })
    .unwrap();
    fs::create_dir_all(shop.real(&out_path()).join("half/made")).unwrap();
    discard_leftovers(&shop.store, &scratch);
    shop.assert_clean();
    assert_eq!(shop.read(&dev_path()), "valid");
}
