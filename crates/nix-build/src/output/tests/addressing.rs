//! Paths and content addresses.

use super::*;

/// Instantiated by real Nix; paths and hashes are those that Nix 2.8 gave its outputs.
const SELF_REFERENCES: &str = r#"Derive([("dev","","r:sha256",""),("out","","r:sha256","")],[],[],"x86_64-linux","/bin/sh",["-c","mkdir $out $dev; echo me $out > $out/self; echo see $out > $dev/see; echo me $dev >> $dev/see"],[("PATH","/bin:/usr/bin"),("builder","/bin/sh"),("dev","/02qcpld1y6xhs5gz9bchpxaw0xdhmsp5dv88lh25r2ss44kh8dxz"),("name","ca-self"),("out","/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9"),("outputHashAlgo","sha256"),("outputHashMode","recursive"),("outputs","out dev"),("system","x86_64-linux")])"#;

fn self_references(shop: &mut Shop) -> BasicDerivation {
    shop.drv_path =
        StorePath::from_base_name("ypr7rznznddrlicz36chq9if8163q8a8-ca-self.drv").unwrap();
    let dir = StoreDir::default();
    let text = SELF_REFERENCES.as_bytes();
    Derivation::parse_file(text, &dir, &shop.drv_path, Strictness::Strict)
        .unwrap()
        .basic
}

fn build_self_references(bench: &Bench) {
    let (out, dev) = (bench.told("out"), bench.told("dev"));
    fs::create_dir(bench.at("out")).unwrap();
    fs::create_dir(bench.at("dev")).unwrap();
    fs::write(bench.at("out").join("self"), format!("me {out}\n")).unwrap();
    let see = format!("see {out}\nme {dev}\n");
    fs::write(bench.at("dev").join("see"), see).unwrap();
}

#[test]
fn self_references_are_addressed_as_in_nix_2_8() {
    for copy_first in [false, true] {
        let mut shop = Shop::new();
        shop.copy_first = copy_first;
        shop.config.ca_derivations = true;
        let drv = self_references(&mut shop);
        let finished = shop.finish(&drv, build_self_references).unwrap();
        let out = &finished.infos[&name("out")];
        let dev = &finished.infos[&name("dev")];
        assert_eq!(
            out.path.base_name(),
            "pf6kp43dscr8fpld93j9qyx778m0mjlw-ca-self"
        );
        assert_eq!(
            dev.path.base_name(),
            "p3b30zps2s0yifg8dpn6z6jw31x2skvf-ca-self-dev"
        );
        let ca = |info: &ValidPathInfo| info.ca.unwrap().to_string();
        assert_eq!(
            ca(out),
            "fixed:r:sha256:0gccfi8291s95zr3q3qyipla9v94mv3xg10yi8m8g03wnymagz8h"
        );
        assert_eq!(
            ca(dev),
            "fixed:r:sha256:18kalzb61gniql8n30hf6rs72njfcnf0mrs5if7rya9q6nf675m4"
        );
        assert_eq!(
            out.nar_hash.to_base16(),
            "b8a124af9363804eebbe1f35ac19dd5562caa4d67ac7baa0176e2fcc4b711cd2"
        );
        assert_eq!(
            dev.nar_hash.to_base16(),
            "2ce01cd2d1b680f37e80695dacc7b7f551ec8ec623e7ab5690aa34c59fe5b9f3"
        );
        assert_eq!((out.nar_size, dev.nar_size), (336, 400));
        assert_eq!(dev.references, [dev.path.clone(), out.path.clone()].into());
        for info in [out, dev] {
            assert_eq!(shop.info(&info.path), *info);
            assert_eq!(shop.nar_hash_on_disk(&info.path), info.nar_hash);
        }
        let realisation = &finished.realisations[&name("out")];
        assert_eq!(
            realisation.id.to_string(),
            "sha256:aa9f0aa490671e6b4452438d13c18d563e2477345a0b26265df196b4b3be09d4!out"
        );
        let (stored, signatures) = shop
            .store
            .db()
            .query_realisation(&realisation.id)
            .unwrap()
            .unwrap();
        assert_eq!((&stored, signatures.len()), (&out.path, 0));
        shop.assert_clean();
    }
}

#[test]
fn without_the_feature_no_realisations_are_stored() {
    let mut shop = Shop::new();
    let drv = self_references(&mut shop);
    let finished = shop.finish(&drv, build_self_references).unwrap();
    let realisation = &finished.realisations[&name("dev")];
    assert_eq!(
        shop.store.db().query_realisation(&realisation.id).unwrap(),
        None
    );
}

#[test]
fn a_floating_output_that_is_valid_already_becomes_ultimate() {
    let mut shop = Shop::new();
    let drv = drv(&[("out", "", "r:sha256", "")], &[]);
    let source = shop.store.layout().state.join("source");
    fs::write(&source, "same").unwrap();
    let added = shop
        .store
        .add_source(&source, &"x".parse().unwrap())
        .unwrap();
    let before = shop.info(&added);
    assert!(!before.ultimate);
    shop.config.secret_keys = std::sync::Arc::new(vec![SecretKey::from_seed("k-1", &[7; 32])]);
    let finished = shop
        .finish(&drv, |bench| bench.write("out", "same"))
        .unwrap();
    assert_eq!(finished.infos[&name("out")].path, added);
    let after = shop.info(&added);
    assert!(after.ultimate);
    assert_eq!(after.sigs.len(), 1);
    assert_eq!(
        (after.registration_time, &after.deriver),
        (before.registration_time, &None)
    );
    shop.assert_clean();
}

#[test]
fn floating_methods_and_algorithms() {
    for (method, ca) in [
        (
            "sha256",
            "fixed:sha256:00xyyr3fi8l6hb839bv3f7yb86yjv7xi1cgh1xnhipym4asvb4aq",
        ),
        (
            "text:sha256",
            "text:sha256:00xyyr3fi8l6hb839bv3f7yb86yjv7xi1cgh1xnhipym4asvb4aq",
        ),
        ("r:sha1", "fixed:r:sha1:"),
        ("git:sha1", "fixed:git:sha1:"),
    ] {
        let shop = Shop::new();
        let drv = drv(&[("out", "", method, "")], &[]);
        let finished = shop
            .finish(&drv, |bench| bench.write("out", "hello\n"))
            .unwrap();
        let info = &finished.infos[&name("out")];
        assert!(
            info.ca.unwrap().to_string().starts_with(ca),
            "{method}: {:?}",
            info.ca
        );
        assert_eq!(
            info.content_address_matches(&StoreDir::default()),
            Some(true),
            "{method}"
        );
    }
}

#[test]
fn flat_outputs_are_files_that_nobody_may_run() {
    let shop = Shop::new();
    let flat = drv(&[("out", "", "sha256", "")], &[]);
    let text = "should be a non-executable regular file since recursive hashing is not enabled \
                (one of outputHashMode={flat,text} is true)";
    let directory = shop.refusal(&flat, |bench| fs::create_dir(bench.at("out")).unwrap());
    let program = shop.refusal(&flat, |bench| {
        bench.write("out", "x");
        fs::set_permissions(bench.at("out"), fs::Permissions::from_mode(0o755)).unwrap();
    });
    for failure in [directory, program] {
        assert_eq!(failure.status, BuildStatus::OutputRejected);
        assert!(failure.message.ends_with(text), "{failure}");
    }
}

#[test]
fn flat_outputs_cant_have_references() {
    let mut shop = Shop::new();
    let dep = shop.add_input("dep");
    let flat = drv(&[("out", "", "sha256", "")], &[]);
    let uses = |bench: &Bench| bench.write("out", dep.base_name());
    let failure = shop.refusal(&flat, uses);
    assert_eq!(failure.status, BuildStatus::MiscFailure);
    let text = "fixed output derivation 'x' is not allowed to refer to other store paths.\n\
                You may need to use the 'unsafeDiscardReferences' derivation attribute, see the manual for more details.";
    assert_eq!(failure.message, text);
    let json = r#"{"name":"x","unsafeDiscardReferences":{"out":true}}"#;
    let discarding = drv_with_json(&[("out", "", "sha256", "")], json);
    let finished = shop.finish(&discarding, uses).unwrap();
    assert_eq!(finished.infos[&name("out")].references, StorePathSet::new());
}

fn drv_with_json(outputs: &[(&str, &str, &str, &str)], json: &str) -> BasicDerivation {
    drv(outputs, &[("__json", json)])
}

#[test]
fn a_fixed_output_with_its_hash_becomes_valid_and_any_other_is_dropped() {
    let shop = Shop::new();
    let wanted = Hash::of(HashAlgo::Sha256, b"hello\n");
    let digits = wanted.render(HashFormat::Base16);
    let known = "/nix/store/d1yb1rpz3cybcv3m4i3hcxhg4yyai1ph-x";
    let bare = drv(&[("out", known, "sha256", &digits)], &[]);
    let path = &bare.known_outputs(&StoreDir::default()).unwrap()[0].1;
    let failure = shop.refusal(&bare, |bench| bench.write("out", "bye\n"));
    assert_eq!(failure.status, BuildStatus::OutputRejected);
    assert!(failure.hash_mismatch);
    assert_eq!(
        failure.message,
        "hash mismatch in fixed-output derivation '/nix/store/dddddddddddddddddddddddddddddddd-x.drv':\n  \
         specified: sha256-WJG1tSLV3whtD/CxEPvZ0hu0/HFjrzTQgoai6Eb2vgM=\n     \
         got:    sha256-q8b9WV/AedMRTUtxpNhLHR0Ped8ecPiBMhLypl2JFt8="
    );
    assert_eq!(shop.store.query_all_valid().unwrap(), StorePathSet::new());
    let finished = shop
        .finish(&bare, |bench| bench.write("out", "hello\n"))
        .unwrap();
    let info = &finished.infos[&name("out")];
    assert_eq!(info.path, *path);
    assert_eq!(info.ca.unwrap().hash, wanted);
    assert_eq!(shop.info(path), *info);
}

#[test]
fn a_fixed_output_with_the_right_hash_must_not_have_references() {
    let mut shop = Shop::new();
    let dep = shop.add_input("dep");
    let text = StoreDir::default().print(&dep);
    let mut nar = Vec::new();
    nix_nar::write_regular(text.as_bytes(), false, &mut nar).unwrap();
    let digits = NarHash::of(&nar).to_base16();
    let known = "/nix/store/d1yb1rpz3cybcv3m4i3hcxhg4yyai1ph-x";
    let fixed = drv(&[("out", known, "r:sha256", &digits)], &[]);
    let failure = shop.refusal(&fixed, |bench| bench.write("out", &text));
    assert_eq!(failure.status, BuildStatus::OutputRejected);
    let expected = format!(
        "fixed-output derivations must not reference store paths: '/nix/store/dddddddddddddddddddddddddddddddd-x.drv' references 1 distinct paths, e.g. '{text}'"
    );
    assert_eq!(failure.message, expected);
}

#[test]
fn outputs_at_scratch_paths_are_rewritten() {
    // Where builders see the store itself, an output that is valid is built elsewhere, and
    // the missing one refers to where it was built.
    let mut shop = Shop::new();
    shop.confined = false;
    shop.copy_first = true;
    let dev_only = drv(&[("dev", DEV, "", "")], &[]);
    shop.finish(&dev_only, |bench| bench.write("dev", "valid"))
        .unwrap();
    let both = drv(&[("dev", DEV, "", ""), ("out", OUT, "", "")], &[]);
    let finished = shop
        .finish(&both, |bench| {
            assert_ne!(bench.told("dev"), DEV);
            assert_eq!(bench.told("out"), OUT);
            bench.write("dev", "thrown away");
            bench.write(
                "out",
                format!("{} {}", bench.told("dev"), bench.told("out")),
            );
        })
        .unwrap();
    assert_eq!(shop.read(&dev_path()), "valid");
    assert_eq!(shop.read(&out_path()), format!("{DEV} {OUT}"));
    assert_eq!(
        shop.info(&out_path()).references,
        [dev_path(), out_path()].into()
    );
    assert_eq!(finished.infos[&name("dev")], shop.info(&dev_path()));
}

#[test]
fn outputs_that_refer_to_each_other_are_refused() {
    let shop = Shop::new();
    for paths in [[DEV, OUT], ["", ""]] {
        let method = if paths[0].is_empty() { "r:sha256" } else { "" };
        let both = drv(
            &[("dev", paths[0], method, ""), ("out", paths[1], method, "")],
            &[],
        );
        let failure = shop.refusal(&both, |bench| {
            bench.write("dev", bench.told("out"));
            bench.write("out", bench.told("dev"));
        });
        assert_eq!(failure.status, BuildStatus::MiscFailure);
        assert_eq!(
            failure.message,
            "cycle detected in build of '/nix/store/dddddddddddddddddddddddddddddddd-x.drv' in \
             the references of output 'dev' from output 'out'"
        );
    }
}

#[test]
fn names_that_would_change_their_order_are_refused() {
    // Nix compat: so do 2.26 and 2.34; 2.8 takes them.
    let shop = Shop::new();
    let floating = drv(&[("out", "", "r:sha256", "")], &[]);
    let failure = shop.refusal(&floating, |bench| {
        let out = bench.at("out");
        fs::create_dir(&out).unwrap();
        for digit in "0123456789abcdfghijklmnpqrsvwxyz".chars() {
            fs::write(out.join(digit.to_string()), vec![0; 100_000]).unwrap();
        }
        let own = bench.told("out");
        fs::write(out.join(own.rsplit('/').next().unwrap()), "me").unwrap();
    });
    assert_eq!(failure.status, BuildStatus::MiscFailure);
    assert!(
        failure.message.contains("cannot copy to output"),
        "{failure}"
    );
}

#[test]
fn impure_outputs_have_a_realisation_in_the_answer_only() {
    let mut shop = Shop::new();
    shop.config.ca_derivations = true;
    let impure = drv(&[("out", "", "r:sha256", "impure")], &[]);
    let finished = shop
        .finish(&impure, |bench| bench.write("out", "now"))
        .unwrap();
    let realisation = &finished.realisations[&name("out")];
    assert!(shop.store.is_valid(&realisation.out_path).unwrap());
    let stored = shop.store.db().query_realisation(&realisation.id).unwrap();
    assert_eq!(stored, None);
}
