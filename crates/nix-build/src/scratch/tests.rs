use nix_base::{ContentAddressMethod, StorePathName};
use nix_drv::DerivationOutput;

use super::*;

const DRV: &str = "abacpfh69g9sac8k49w2lhsv99ck13n6-scr.drv";
const OUT: &str = "00bgd045z0d4icpbc2yyz4gx48ak44la-scr";

fn drv(outputs: &[(&str, DerivationOutput)]) -> BasicDerivation {
    let outputs = outputs.iter();
    BasicDerivation {
        name: StorePathName::new("scr").unwrap(),
        outputs: outputs
            .map(|(name, output)| (name.parse().unwrap(), output.clone()))
            .collect(),
        input_srcs: StorePathSet::new(),
        platform: "s".into(),
        builder: "/b".into(),
        args: Vec::new(),
        env: BTreeMap::new(),
    }
}

fn floating() -> DerivationOutput {
    DerivationOutput::CaFloating {
        method: ContentAddressMethod::NixArchive,
        algo: HashAlgo::Sha256,
    }
}

fn stated() -> DerivationOutput {
    DerivationOutput::InputAddressed(OUT.parse().unwrap())
}

fn paths(drv: &BasicDerivation, valid: &[&str], confined: bool) -> ScratchPaths {
    ScratchPaths::compute(&ScratchInput {
        store_dir: &StoreDir::default(),
        drv_path: &DRV.parse().unwrap(),
        drv,
        valid: &valid.iter().map(|name| name.parse().unwrap()).collect(),
        confined,
    })
    .unwrap()
}

fn name(name: &str) -> OutputName {
    name.parse().unwrap()
}

#[test]
fn floating_outputs_get_the_paths_that_real_nix_gives_them() {
    let drv = drv(&[("out", floating()), ("dev", floating())]);
    for confined in [true, false] {
        let paths = paths(&drv, &[], confined);
        let scratch = |output: &str| paths.scratch(&name(output)).unwrap().to_string();
        assert_eq!(scratch("out"), "77apjhy7w9ksqpbadn08xs3f8ys9z2xj-scr");
        assert_eq!(scratch("dev"), "j6y2vkg0afr301i0znj2v3l1cpnq9ql7-scr-dev");
        assert_eq!(paths.known(&name("out")), None);
        assert_eq!(paths.scratch(&name("doc")), None);
    }
}

#[test]
fn known_outputs_are_built_in_place_unless_a_valid_one_would_be_harmed() {
    let drv = drv(&[("out", stated())]);
    let out = name("out");
    for (valid, confined, in_place) in [
        (&["out"][..], true, true),
        (&[], true, true),
        (&[], false, true),
        (&["out"], false, false),
    ] {
        let paths = paths(&drv, valid, confined);
        assert_eq!(paths.known(&out).unwrap().to_string(), OUT);
        assert_eq!(paths.scratch(&out) == paths.known(&out), in_place);
        assert_eq!(paths.scratch(&out).unwrap().name().as_str(), "scr");
    }
}

#[test]
fn placeholders_and_displaced_paths_become_scratch_paths() {
    let drv = drv(&[("out", stated())]);
    let paths = paths(&drv, &["out"], false);
    let scratch = paths.scratch(&name("out")).unwrap();
    let rewritten = paths.rewrites().apply(
        format!(
            "{}/x {} {OUT} /nix/store/{OUT}",
            Placeholder::of_own_output(&name("out")),
            Placeholder::of_own_output(&name("dev")),
        )
        .as_bytes(),
    );
    let dev = Placeholder::of_own_output(&name("dev"));
    assert_eq!(
        rewritten,
        format!("/nix/store/{scratch}/x {dev} {scratch} /nix/store/{scratch}")
    );
}

#[test]
fn only_hashes_that_differ_are_rewritten_in_outputs() {
    let drv = drv(&[("out", floating()), ("dev", floating())]);
    let paths = paths(&drv, &[], true);
    let out: StorePath = OUT.parse().unwrap();
    let dev = paths.scratch(&name("dev")).unwrap().clone();
    let finals = [(name("out"), out.clone()), (name("dev"), dev)].into();
    let from = *paths.scratch(&name("out")).unwrap().hash();
    assert_eq!(paths.hash_rewrites(&finals), [(from, *out.hash())].into());
    assert_eq!(paths.scratch_paths().len(), 2);
}
