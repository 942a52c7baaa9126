use super::*;
use crate::aterm::Strictness;

const STORE: &str = "/nix/store";

fn parse(text: &str) -> Derivation {
    let store = StoreDir::default();
    Derivation::parse(
        text.as_bytes(),
        &store,
        &"x".parse().unwrap(),
        Strictness::Strict,
    )
    .unwrap()
}

fn path(base: &str) -> StorePath {
    base.parse().unwrap()
}

const DEP: &str = "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-dep.drv";
const OUT: &str = "f1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-dep";

#[test]
fn placeholders_become_paths_everywhere() {
    let p = Placeholder::of_input(&path(DEP), &"out".parse().unwrap()).unwrap();
    let drv = parse(&format!(
        r#"Derive([("out","","","")],[("{STORE}/{DEP}",["out"])],[],"s","{p}/bin/b",["a{p}{p}","/"],[("k{p}","{p}:{p}/x"),("out","")])"#
    ));
    let find = |_: &StorePath, _: &OutputName| Ok::<_, ReadError>(Some(path(OUT)));
    let basic = drv.resolve(&StoreDir::default(), find).unwrap();
    let out = format!("{STORE}/{OUT}");
    assert_eq!(basic.builder, format!("{out}/bin/b"));
    assert_eq!(basic.args, [format!("a{out}{out}"), "/".into()]);
    assert_eq!(
        basic.env_var(&format!("k{out}")).unwrap(),
        format!("{out}:{out}/x").as_bytes()
    );
    assert_eq!(basic.input_srcs, StorePathSet::from([path(OUT)]));
    // The output was deferred for the input's sake alone.
    let DerivationType::InputAddressed = basic.derivation_type().unwrap() else {
        panic!()
    };
    let known = basic.known_outputs(&StoreDir::default()).unwrap();
    let expected = StoreDir::default().print(&known[0].1);
    assert_eq!(basic.env_var("out").unwrap(), expected.as_bytes());
}

#[test]
fn an_output_that_is_not_there_yet_is_named() {
    let drv = parse(&format!(
        r#"Derive([("out","","","")],[("{STORE}/{DEP}",["out"])],[],"s","/b",[],[])"#
    ));
    assert!(drv.must_be_resolved().unwrap());
    let find = |_: &StorePath, _: &OutputName| Ok::<_, ReadError>(None);
    let error = drv.resolve(&StoreDir::default(), find).unwrap_err();
    assert!(error.is_not_realised());
    insta::assert_snapshot!(error, @"output 'out' of derivation 'g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-dep.drv' is not realised");
}

#[test]
fn outputs_of_outputs_are_looked_up_in_turn() {
    let out = "out".parse().unwrap();
    let parent = Placeholder::of_input(&path(DEP), &out).unwrap();
    let p = Placeholder::of_computed(&parent, &out);
    let drv = parse(&format!(
        r#"DrvWithVersion("xp-dyn-drv",[("out","","r:sha256","")],[("{STORE}/{DEP}",([],[("out",["out"])]))],[],"s","/b",["{p}"],[])"#
    ));
    let made = path("h1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-made.drv");
    let find = |drv: &StorePath, _: &OutputName| {
        Ok::<_, ReadError>(Some(if *drv == path(DEP) {
            made.clone()
        } else {
            path(OUT)
        }))
    };
    let basic = drv.resolve(&StoreDir::default(), find).unwrap();
    assert_eq!(basic.args, [format!("{STORE}/{OUT}")]);
    assert_eq!(basic.input_srcs, StorePathSet::from([path(OUT)]));
}
