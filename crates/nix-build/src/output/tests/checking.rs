//! What derivations demand, comparison, and failures at the end.

use super::*;

fn json(text: &str) -> BasicDerivation {
    let outputs = [("dev", DEV, "", ""), ("out", OUT, "", "")];
    drv(&outputs, &[("__json", text)])
}

#[test]
fn references_are_checked() {
    let mut shop = Shop::new();
    let dep = shop.add_input("dep");
    let dep_path = StoreDir::default().print(&dep);
    let uses = |bench: &Bench| bench.write("out", format!("{dep_path} {OUT}"));
    let list = |paths: &[&str]| {
        let paths: Vec<String> = paths.iter().map(|path| format!("\n  {path}")).collect();
        format!(
            "output '{OUT}' is not allowed to refer to the following paths:{}",
            paths.concat()
        )
    };
    let cases: [(&str, &str, Option<String>); 9] = [
        ("allowedReferences", "", Some(list(&[OUT, &dep_path]))),
        ("allowedReferences", "out", Some(list(&[&dep_path]))),
        ("allowedReferences", &format!("out {dep_path}"), None),
        ("allowedRequisites", "", Some(list(&[&dep_path]))),
        ("allowedRequisites", &dep_path, None),
        ("disallowedReferences", &dep_path, Some(list(&[&dep_path]))),
        ("disallowedReferences", "out", Some(list(&[OUT]))),
        ("disallowedRequisites", &dep_path, Some(list(&[&dep_path]))),
        // The older attributes leave the output itself out of its requisites.
        ("disallowedRequisites", "out", None),
    ];
    for (attribute, value, refusal) in cases {
        let drv = plain(&[(attribute, value)]);
        match refusal {
            Some(message) => {
                let failure = shop.refusal(&drv, uses);
                assert_eq!(failure.status, BuildStatus::OutputRejected);
                let mut lines: Vec<&str> = failure.message.lines().collect();
                let mut expected: Vec<&str> = message.lines().collect();
                lines.sort_unstable();
                expected.sort_unstable();
                assert_eq!(lines, expected, "{attribute} = {value}");
            }
            None => {
                let made = shop.finish(&drv, uses).unwrap();
                shop.store
                    .db()
                    .invalidate(&made.infos[&name("out")].path)
                    .unwrap();
                shop.store.remove_invalid(&out_path()).unwrap();
            }
        }
    }
}

#[test]
fn lists_must_name_outputs() {
    let shop = Shop::new();
    let drv = plain(&[("allowedReferences", "nope")]);
    let failure = shop.refusal(&drv, |bench| bench.write("out", "x"));
    assert_eq!(failure.status, BuildStatus::OutputRejected);
    assert_eq!(
        failure.message,
        "derivation contains an illegal reference specifier 'nope'"
    );
}

#[test]
fn checks_of_single_outputs() {
    let mut shop = Shop::new();
    let dep = shop.add_input("dep");
    let dep_path = StoreDir::default().print(&dep);
    let dep_size = shop.info(&dep).nar_size;
    let build = |bench: &Bench| {
        bench.write("dev", format!("{OUT} and more"));
        bench.write("out", &dep_path);
    };
    let (out_size, dev_size) = (160, 168);
    let closure = dep_size + out_size + dev_size;
    let cases = [
        (
            format!(r#""dev":{{"maxSize":{}}}"#, dev_size - 1),
            format!(
                "path '{DEV}' is too large at {dev_size} bytes; limit is {} bytes",
                dev_size - 1
            ),
        ),
        (
            format!(r#""dev":{{"maxClosureSize":{}}}"#, closure - 1),
            format!(
                "closure of path '{DEV}' is too large at {closure} bytes; limit is {} bytes",
                closure - 1
            ),
        ),
        (
            r#""dev":{"disallowedReferences":["out"]}"#.to_owned(),
            format!("output '{DEV}' is not allowed to refer to the following paths:\n  {OUT}"),
        ),
        (
            format!(r#""dev":{{"disallowedRequisites":["{dep_path}"]}}"#),
            format!("output '{DEV}' is not allowed to refer to the following paths:\n  {dep_path}"),
        ),
        // Here the output itself counts.
        (
            r#""dev":{"disallowedRequisites":["dev"]}"#.to_owned(),
            format!("output '{DEV}' is not allowed to refer to the following paths:\n  {DEV}"),
        ),
    ];
    for (check, message) in cases {
        let drv = json(&format!(r#"{{"name":"x","outputChecks":{{{check}}}}}"#));
        let failure = shop.refusal(&drv, build);
        assert_eq!(
            (failure.status, failure.message),
            (BuildStatus::OutputRejected, message)
        );
    }
    let fits = format!(
        r#"{{"name":"x","outputChecks":{{"dev":{{"maxSize":{dev_size},"maxClosureSize":{closure},"allowedReferences":["out"]}}}}}}"#
    );
    shop.finish(&json(&fits), build).unwrap();
}

#[test]
fn discarded_references_dont_count() {
    let mut shop = Shop::new();
    let dep = shop.add_input("dep");
    let drv = json(r#"{"name":"x","unsafeDiscardReferences":{"out":true}}"#);
    shop.finish(&drv, |bench| {
        bench.write("dev", dep.base_name());
        bench.write("out", format!("{} {OUT}", dep.base_name()));
    })
    .unwrap();
    assert_eq!(shop.info(&dev_path()).references, [dep].into());
    assert_eq!(shop.info(&out_path()).references, StorePathSet::new());
}

#[test]
fn what_is_valid_stays_as_it_is() {
    let shop = Shop::new();
    shop.finish(&drv(&[("dev", DEV, "", "")], &[]), |bench| {
        bench.write("dev", "first")
    })
    .unwrap();
    let before = shop.info(&dev_path());
    let both = drv(&[("dev", DEV, "", ""), ("out", OUT, "", "")], &[]);
    let finished = shop
        .finish(&both, |bench| {
            // A valid output needn't even be made again.
            bench.write("out", DEV);
        })
        .unwrap();
    assert_eq!(shop.read(&dev_path()), "first");
    assert_eq!(finished.infos[&name("dev")], before);
    assert_eq!(finished.infos[&name("out")].references, [dev_path()].into());
}

#[test]
fn a_second_build_is_compared() {
    let mut shop = Shop::new();
    shop.finish(&plain(&[]), |bench| bench.write("out", "one"))
        .unwrap();
    shop.mode = BuildMode::Check;
    let same = shop
        .finish(&plain(&[]), |bench| bench.write("out", "one"))
        .unwrap();
    assert_eq!(same.infos[&name("out")], shop.info(&out_path()));
    let failure = shop
        .finish(&plain(&[]), |bench| bench.write("out", "two"))
        .unwrap_err();
    assert_eq!(failure.status, BuildStatus::NotDeterministic);
    let real = shop.real(&out_path());
    let message = format!(
        "derivation '/nix/store/dddddddddddddddddddddddddddddddd-x.drv' may not be \
         deterministic: output '{}' differs",
        real.display()
    );
    assert_eq!(failure.message, message);
    shop.assert_clean();
    assert_eq!(shop.read(&out_path()), "one");
    shop.keep_different = true;
    for content in ["three", "four"] {
        let failure = shop
            .finish(&plain(&[]), |bench| {
                fs::create_dir(bench.at("out")).unwrap();
                fs::write(bench.at("out").join("file"), content).unwrap();
            })
            .unwrap_err();
        let new = PathBuf::from(format!("{}.check", real.display()));
        assert_eq!(
            failure.message,
            format!("{message} from '{}'", new.display())
        );
        assert_eq!(fs::read_to_string(new.join("file")).unwrap(), content);
        let told = shop.differences.take();
        let old = real.clone();
        assert_eq!(told, [Difference { old, new }]);
    }
}

#[test]
fn an_equal_second_build_makes_a_copied_output_ultimate() {
    let mut shop = Shop::new();
    shop.finish(&plain(&[]), |bench| bench.write("out", "one"))
        .unwrap();
    let mut info = shop.info(&out_path());
    info.info.ultimate = false;
    shop.store.db().register(&[info.into()]).unwrap();
    assert!(!shop.info(&out_path()).ultimate);
    shop.config.secret_keys = std::sync::Arc::new(vec![SecretKey::from_seed("k-1", &[7; 32])]);
    shop.mode = BuildMode::Check;
    shop.finish(&plain(&[]), |bench| bench.write("out", "one"))
        .unwrap();
    let info = shop.info(&out_path());
    assert!(info.ultimate);
    let key = shop.config.secret_keys[0].public_key();
    assert!(info.is_signed_by(&StoreDir::default(), &[key]));
}

#[test]
fn leftovers_are_replaced_and_signatures_made() {
    let mut shop = Shop::new();
    let key = SecretKey::from_seed("k-1", &[7; 32]);
    shop.config.secret_keys = std::sync::Arc::new(vec![key.clone()]);
    shop.config.ca_derivations = true;
    fs::create_dir_all(shop.real(&out_path()).join("left/over")).unwrap();
    let finished = shop
        .finish(&plain(&[]), |bench| bench.write("out", "x"))
        .unwrap();
    assert_eq!(shop.read(&out_path()), "x");
    let keys = [key.public_key()];
    assert!(
        shop.info(&out_path())
            .is_signed_by(&StoreDir::default(), &keys)
    );
    let realisation = &finished.realisations[&name("out")];
    let text = nix_base::json::realisation::realisation_fingerprint(realisation);
    let [signature] = realisation.signatures.iter().collect::<Vec<_>>()[..] else {
        panic!("one signature");
    };
    assert!(keys[0].verifies(text.as_bytes(), signature));
}

#[test]
fn an_output_that_is_no_proper_derivation_is_refused_and_nothing_stays() {
    let shop = Shop::new();
    let both = drv(
        &[
            ("dev", DEV, "", ""),
            (
                "out",
                "/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-x.drv",
                "",
                "",
            ),
        ],
        &[],
    );
    let failure = shop.refusal(&both, |bench| {
        bench.write("dev", "fine");
        bench.write("out", "not a derivation");
    });
    assert_eq!(failure.status, BuildStatus::MiscFailure);
    assert_eq!(shop.store.query_all_valid().unwrap(), StorePathSet::new());
}
