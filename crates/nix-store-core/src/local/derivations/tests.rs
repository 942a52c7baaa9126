use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::PermissionsExt;

use nix_base::{NarHash, StoreDir, UnkeyedValidPathInfo};
use nix_drv::{BasicDerivation, DerivationOutput, InputNode};

use super::*;
use crate::StoreLayout;
use crate::local::{ImportBatch, StoreConfig};

/// A store, and derivations with the hashes that their own need.
struct Fixture {
    _temp: tempfile::TempDir,
    store: LocalStore,
    memo: HashMemo,
}

/// A derivation as it is sent.
#[derive(Clone)]
struct Sent {
    info: ValidPathInfo,
    text: Vec<u8>,
    nar: Vec<u8>,
}

impl Sent {
    fn new(path: &StorePath, text: &[u8], references: StorePathSet) -> Self {
        let mut nar = Vec::new();
        nix_nar::write_regular(text, false, &mut nar).unwrap();
        let mut info = UnkeyedValidPathInfo::new(NarHash::of(&nar), nar.len() as u64);
        info.references = references;
        let path = path.clone();
        Self {
            info: ValidPathInfo { path, info },
            text: text.to_vec(),
            nar,
        }
    }

    fn of(drv: &Derivation) -> Self {
        let dir = StoreDir::default();
        let (path, text) = (drv.store_path(&dir).unwrap(), drv.to_aterm(&dir).unwrap());
        Self::new(&path, &text, drv.references())
    }

    fn path(&self) -> &StorePath {
        &self.info.path
    }
}

fn fixture() -> Fixture {
    let temp = tempfile::tempdir().unwrap();
    let layout = StoreLayout::chroot(StoreDir::default(), temp.path());
    Fixture {
        store: LocalStore::init(StoreConfig::new(layout)).unwrap(),
        _temp: temp,
        memo: HashMemo::new(),
    }
}

impl Fixture {
    /// A right derivation above `inputs`.
    fn derivation(&mut self, name: &str, inputs: &[&Derivation]) -> Derivation {
        let dir = self.store.store_dir();
        let out: OutputName = "out".parse().unwrap();
        let node = InputNode {
            outputs: [out.clone()].into(),
            children: BTreeMap::new(),
        };
        let inputs = inputs.iter().map(|input| input.store_path(dir).unwrap());
        let mut drv = Derivation {
            basic: BasicDerivation {
                name: name.parse().unwrap(),
                outputs: [(out, DerivationOutput::Deferred)].into(),
                input_srcs: StorePathSet::new(),
                platform: "x86_64-linux".into(),
                builder: "/bin/sh".into(),
                args: Vec::new(),
                env: [("out".into(), "".into())].into(),
            },
            input_drvs: inputs.map(|path| (path, node.clone())).collect(),
        };
        drv.fill_in_outputs(dir, &self.memo).unwrap();
        let hash = drv.input_hash(dir, &self.memo).unwrap();
        self.memo.insert(&drv.store_path(dir).unwrap(), hash);
        drv
    }

    /// How many of the derivations become valid, and what is said of the next one.
    fn import(&self, batch: &ImportBatch<'_>, sent: &[&Sent]) -> (usize, String) {
        for one in sent {
            let info = one.info.clone();
            batch.stage(info, &mut one.nar.as_slice()).unwrap();
        }
        let outcome = batch.commit();
        let said = outcome.failure.as_ref().map(said).unwrap_or_default();
        for (i, one) in sent.iter().enumerate() {
            let is_valid = self.store.is_valid(one.path()).unwrap();
            assert_eq!(is_valid, i < outcome.valid, "{}", one.path());
            let real = self.store.layout().real_path(one.path());
            assert_eq!(real.symlink_metadata().is_ok(), is_valid);
        }
        (outcome.valid, said)
    }

    fn import_alone(&self, sent: &Sent) -> (usize, String) {
        self.import(&ImportBatch::new(&self.store), &[sent])
    }

    fn write(&self, sent: &Sent) {
        let real = self.store.layout().real_path(sent.path());
        std::fs::write(real, &sent.text).unwrap();
    }
}

/// An error with its causes.
fn said(error: &Error) -> String {
    let error: &dyn std::error::Error = error;
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

fn accepted(count: usize) -> (usize, String) {
    (count, String::new())
}

/// `drv` with another path for its output.
fn with_wrong_path(drv: &Derivation) -> Derivation {
    let wrong = "00bgd045z0d4icpbc2yyz4gx48ak44la-made-up".parse().unwrap();
    let mut drv = drv.clone();
    let (out, _) = drv.outputs.pop_first().unwrap();
    drv.env
        .insert("out".into(), StoreDir::default().print(&wrong).into());
    drv.outputs
        .insert(out, DerivationOutput::InputAddressed(wrong));
    drv
}

#[test]
fn outputs_that_follow_are_registered() {
    let mut f = fixture();
    let drv = f.derivation("a", &[]);
    let sent = Sent::of(&drv);
    assert_eq!(f.import_alone(&sent), accepted(1));
    let rows = f.store.query_derivation_outputs(sent.path()).unwrap();
    assert_eq!(rows, drv.known_outputs(f.store.store_dir()).unwrap());
}

#[test]
fn outputs_that_do_not_follow_are_refused() {
    let mut f = fixture();
    let drv = with_wrong_path(&f.derivation("a", &[]));
    insta::assert_snapshot!(f.import_alone(&Sent::of(&drv)).1, @"derivation '/nix/store/xli913f7danypyvhz4kb7d7f81chvmn5-a.drv' has incorrect output '/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-made-up', should be '/nix/store/q6cz8xnq7m50dva7v6l8ppsb9ifxahz2-a'");
}

#[test]
fn variables_that_do_not_hold_the_output_are_refused() {
    let mut f = fixture();
    let mut drv = f.derivation("a", &[]);
    drv.env.insert("out".into(), "".into());
    insta::assert_snapshot!(f.import_alone(&Sent::of(&drv)).1, @"derivation '/nix/store/9pxyf2m5wy5qpps4spsw1zl3v7jnap11-a.drv' has incorrect environment variable 'out', should be '/nix/store/q6cz8xnq7m50dva7v6l8ppsb9ifxahz2-a'");
}

#[test]
fn environments_that_lead_to_other_outputs_are_refused() {
    let mut f = fixture();
    let mut drv = f.derivation("a", &[]);
    drv.env.insert("more".into(), "".into());
    insta::assert_snapshot!(f.import_alone(&Sent::of(&drv)).1, @"derivation '/nix/store/abd279v1d8ihkymqqnx66jxqd6xnwsnn-a.drv' has incorrect output '/nix/store/q6cz8xnq7m50dva7v6l8ppsb9ifxahz2-a', should be '/nix/store/fnfw5lbqvh5682sacywrv20k55y86a3h-a'");
}

#[test]
fn texts_that_are_no_derivations_are_refused() {
    let mut f = fixture();
    let drv = Sent::of(&f.derivation("a", &[]));
    let cut = &drv.text[..drv.text.len() - 1];
    let cut = Sent::new(drv.path(), cut, StorePathSet::new());
    insta::assert_snapshot!(f.import_alone(&cut).1, @"error parsing derivation '/nix/store/qp0ma4nnszzpg9q9phabqk5cp0bxvs1h-a.drv': expected string ')' at offset 162");
}

#[test]
fn refusals_name_the_file() {
    let mut f = fixture();
    let mut drv = f.derivation("a", &[]);
    drv.outputs.clear();
    insta::assert_snapshot!(f.import_alone(&Sent::of(&drv)).1, @"cannot register derivation '/nix/store/2lnlvhihpmajxazkkgpzf6ggvjjvd49i-a.drv': must have at least one output");
}

#[test]
fn inputs_may_come_in_the_same_batch_in_any_order() {
    let mut f = fixture();
    let a = f.derivation("a", &[]);
    let b = f.derivation("b", &[&a]);
    let c = f.derivation("c", &[&a, &b]);
    let [a, b, c] = [&a, &b, &c].map(Sent::of);
    let batch = ImportBatch::new(&f.store);
    assert_eq!(f.import(&batch, &[&c, &a, &b]), accepted(3));
}

#[test]
fn inputs_may_have_come_earlier() {
    let mut f = fixture();
    let a = f.derivation("a", &[]);
    let b = f.derivation("b", &[&a]);
    let c = f.derivation("c", &[&b]);
    let wrong = with_wrong_path(&f.derivation("d", &[&c]));
    for drv in [&a, &b, &c] {
        assert_eq!(f.import_alone(&Sent::of(drv)), accepted(1));
    }
    let (_, said) = f.import_alone(&Sent::of(&wrong));
    assert!(said.contains("has incorrect output"), "{said}");
}

#[test]
fn what_comes_before_a_wrong_derivation_is_kept() {
    let mut f = fixture();
    let a = f.derivation("a", &[]);
    let wrong = with_wrong_path(&f.derivation("b", &[&a]));
    let c = f.derivation("c", &[&a]);
    let [a, wrong, c] = [&a, &wrong, &c].map(Sent::of);
    let batch = ImportBatch::new(&f.store);
    let (valid, said) = f.import(&batch, &[&a, &wrong, &c]);
    assert!(said.contains("has incorrect output"), "{said}");
    assert_eq!(valid, 1);
    assert_eq!(f.import(&batch, &[&c]), accepted(1));
}

#[test]
fn a_missing_input_is_reported_as_such() {
    let mut f = fixture();
    let a = f.derivation("a", &[]);
    let wrong = with_wrong_path(&f.derivation("b", &[&a]));
    let expected = format!("path '/nix/store/{}' is not valid", Sent::of(&a).path());
    assert_eq!(f.import_alone(&Sent::of(&wrong)), (0, expected.clone()));
    // Nor is a file read that nobody answers for, whatever the references say.
    let b = Sent::of(&f.derivation("b", &[&a]));
    let lying = Sent::new(b.path(), &b.text, StorePathSet::new());
    f.write(&Sent::of(&a));
    assert_eq!(f.import_alone(&lying), (0, expected));
}

#[test]
fn what_did_not_become_valid_is_forgotten() {
    let mut f = fixture();
    let a = f.derivation("a", &[]);
    let b = f.derivation("b", &[&a]);
    let a = Sent::of(&a);
    let nowhere = "00bgd045z0d4icpbc2yyz4gx48ak44la-nowhere".parse().unwrap();
    let x = "00bgd045z0d4icpbc2yyz4gx48ak44lb-x".parse().unwrap();
    let x = Sent::new(&x, b"x", [nowhere].into());
    let floating = br#"Derive([("out","","r:sha256","")],[],[],"s","/bin/sh",[],[])"#;
    // Another one under the same path, as can be without a content address.
    let impostor = Sent::new(a.path(), floating, StorePathSet::new());
    let batch = ImportBatch::new(&f.store);
    assert_eq!(f.import(&batch, &[&x, &impostor]).0, 0);
    assert_eq!(f.import(&batch, &[&a, &Sent::of(&b)]), accepted(2));
}

#[test]
fn each_file_is_read_once() {
    let mut f = fixture();
    let mut drvs = vec![f.derivation("0", &[])];
    for i in 1..40_usize {
        let inputs: Vec<_> = drvs.iter().rev().take(3).cloned().collect();
        let inputs: Vec<&Derivation> = inputs.iter().collect();
        drvs.push(f.derivation(&i.to_string(), &inputs));
    }
    let sent: HashMap<StorePath, Sent> = drvs
        .iter()
        .map(Sent::of)
        .map(|sent| (sent.path().clone(), sent))
        .collect();
    let mut batch: Vec<_> = sent
        .values()
        .map(|sent| Registration::from(sent.info.clone()))
        .collect();
    let reads = RefCell::new(Vec::new());
    let read = |path: &StorePath| {
        reads.borrow_mut().push(path.clone());
        Ok(sent[path].text.clone())
    };
    let mut known = KnownDerivations::default();
    known
        .check(&f.store, &mut batch, Strictness::Strict, read)
        .unwrap();
    let mut reads = reads.into_inner();
    reads.sort();
    let mut paths: Vec<_> = sent.keys().cloned().collect();
    paths.sort();
    assert_eq!(reads, paths);
    assert!(batch.iter().all(|new| new.outputs.len() == 1));
}

#[test]
fn a_circle_ends_in_an_error() {
    let f = fixture();
    let paths = ["a", "b"].map(|name| {
        let path = format!("00bgd045z0d4icpbc2yyz4gx48ak44la-{name}.drv");
        path.parse::<StorePath>().unwrap()
    });
    let sent = [0, 1].map(|i| {
        let input = &paths[1 - i];
        let text = format!(
            r#"Derive([("out","/nix/store/{input}","","")],[("/nix/store/{input}",["out"])],[],"s","/bin/sh",[],[])"#
        );
        Sent::new(&paths[i], text.as_bytes(), [input.clone()].into())
    });
    for one in &sent {
        f.write(one);
    }
    let infos = sent.iter().map(|one| one.info.clone()).collect();
    let error = f.store.register_present(infos).unwrap_err();
    assert!(said(&error).contains("depends on itself"), "{error:?}");
}

#[test]
fn present_files_are_read_as_real_nix_reads_them() {
    let mut f = fixture();
    let a = f.derivation("a", &[]);
    let b = f.derivation("b", &[&a]);
    let wrong = with_wrong_path(&f.derivation("c", &[&b]));
    let [mut a, b, wrong] = [&a, &b, &wrong].map(Sent::of);
    a.text.push(b'\n');
    let with_line_feed = Sent::new(a.path(), &a.text, StorePathSet::new());
    assert_eq!(
        f.import_alone(&with_line_feed).0,
        0,
        "strict towards clients"
    );
    for one in [&a, &b, &wrong] {
        f.write(one);
    }
    let infos = |sent: &[&Sent]| sent.iter().map(|one| one.info.clone()).collect();
    let error = f.store.register_present(infos(&[&b])).unwrap_err();
    assert!(error.is_not_valid(), "{error}");
    let error = f
        .store
        .register_present(infos(&[&wrong, &b, &a]))
        .unwrap_err();
    assert!(said(&error).contains("has incorrect output"), "{error:?}");
    assert!(!f.store.is_valid(a.path()).unwrap());
    f.store.register_present(infos(&[&b, &a])).unwrap();
    let rows = f.store.query_derivation_outputs(b.path()).unwrap();
    assert_eq!(rows.len(), 1);
}

#[test]
fn only_files_can_be_derivations() {
    let mut f = fixture();
    let a = f.derivation("a", &[]);
    let wrong = Sent::of(&with_wrong_path(&a));
    let a = Sent::of(&a);
    let real = f.store.layout().real_path(a.path());
    let refused = || {
        let error = f.store.register_present(vec![a.info.clone()]).unwrap_err();
        let expected = "is not a regular file, as a derivation has to be";
        assert!(error.to_string().ends_with(expected), "{error}");
    };
    std::fs::create_dir(&real).unwrap();
    refused();
    std::fs::remove_dir(&real).unwrap();
    std::os::unix::fs::symlink("/dev/null", &real).unwrap();
    refused();
    std::fs::remove_file(&real).unwrap();
    // One that may be executed is checked like any other.
    f.write(&wrong);
    let real = f.store.layout().real_path(wrong.path());
    std::fs::set_permissions(real, std::fs::Permissions::from_mode(0o555)).unwrap();
    let error = f.store.register_present(vec![wrong.info]).unwrap_err();
    assert!(said(&error).contains("has incorrect output"), "{error:?}");
}
