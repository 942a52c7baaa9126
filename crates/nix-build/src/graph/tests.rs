use nix_base::{ContentAddress, ContentAddressMethod};
use nix_drv::{BasicDerivation, Derivation, DerivationOutput};
use nix_store_core::{StoreConfig, StoreLayout};
use tempfile::TempDir;

use super::*;

struct Given {
    store: LocalStore,
    directory: TempDir,
}

impl Given {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let layout = StoreLayout::chroot(StoreDir::default(), directory.path());
        let store = LocalStore::init(StoreConfig::new(layout)).unwrap();
        Self { store, directory }
    }

    fn text(&self, name: &str, references: &[&StorePath]) -> StorePath {
        let references = references.iter().map(|path| (*path).clone()).collect();
        let name = name.parse().unwrap();
        self.store.add_text(b"text", references, &name).unwrap()
    }

    /// A source, and a derivation that makes it; both or only the derivation in the store.
    fn derivation(&self, output_is_valid: bool) -> (StorePath, StorePath) {
        let file = self.directory.path().join("data");
        std::fs::write(&file, "hello\n").unwrap();
        let elsewhere = Self::new();
        let store = match output_is_valid {
            true => &self.store,
            false => &elsewhere.store,
        };
        let made = store.add_source(&file, &"data".parse().unwrap()).unwrap();
        let hash = store.query_path_info(&made).unwrap().unwrap().info.nar_hash;
        let output = DerivationOutput::CaFixed(ContentAddress {
            method: ContentAddressMethod::NixArchive,
            hash: hash.into(),
        });
        let drv = Derivation::from(BasicDerivation {
            name: "data".parse().unwrap(),
            outputs: [("out".parse().unwrap(), output)].into(),
            input_srcs: StorePathSet::new(),
            platform: "s".into(),
            builder: "/b".into(),
            args: Vec::new(),
            env: [("out".into(), self.full(&made).into())].into(),
        });
        let text = drv.to_aterm(&StoreDir::default()).unwrap();
        let name = "data.drv".parse().unwrap();
        let path = self.store.add_text(&text, StorePathSet::new(), &name);
        (path.unwrap(), made)
    }

    fn full(&self, path: &StorePath) -> String {
        self.store.store_dir().print(path)
    }

    fn compute(
        &self,
        wanted: &[(&str, &StorePath)],
        structured: bool,
    ) -> Result<GraphData, GraphError> {
        let mut options = DerivationOptions::default();
        for (name, path) in wanted {
            let paths = options.export_references_graph.entry((*name).into());
            paths.or_default().insert(OptionRef::Path((*path).clone()));
        }
        let inputs = self.store.query_all_valid().unwrap();
        GraphData::compute(&self.store, &options, structured, &inputs)
    }

    fn file(&self, path: &StorePath) -> String {
        match self.compute(&[("g", path)], false).unwrap() {
            GraphData::Files(files) => String::from_utf8(files[b"g".as_slice()].clone()).unwrap(),
            GraphData::Attributes(_) => panic!("files were asked for"),
        }
    }
}

#[test]
fn files_hold_closures_in_registration_form() {
    let given = Given::new();
    let (a, b) = (given.text("a", &[]), given.text("b", &[]));
    let c = given.text("c", &[&a, &b]);
    let [pa, pb, pc] = [&a, &b, &c].map(|path| given.full(path));
    let mut parts = [
        format!("{pa}\n\n0\n"),
        format!("{pb}\n\n0\n"),
        format!(
            "{pc}\n\n2\n{}\n{}\n",
            pa.as_str().min(&pb),
            pa.as_str().max(&pb)
        ),
    ];
    parts.sort();
    assert_eq!(given.file(&c), parts.concat());
    assert_eq!(given.file(&a), format!("{pa}\n\n0\n"));
}

#[test]
fn attributes_hold_closures_as_objects() {
    let given = Given::new();
    let a = given.text("a", &[]);
    let b = given.text("b", &[&a]);
    let graphs = given
        .compute(&[("g", &a), ("g", &b), ("h", &a)], true)
        .unwrap();
    let GraphData::Attributes(graphs) = graphs else {
        panic!("attributes were asked for");
    };
    let info = |path: &StorePath| given.store.query_path_info(path).unwrap().unwrap().info;
    let object = |path: &StorePath, references: &[&StorePath], size: u64| {
        json!({
            "ca": info(path).ca.unwrap().to_string(),
            "closureSize": size,
            "narHash": info(path).nar_hash.to_prefixed_nix32(),
            "narSize": info(path).nar_size,
            "path": given.full(path),
            "references": references.iter().map(|path| given.full(path)).collect::<Vec<_>>(),
            "valid": true,
        })
    };
    let (size_a, size_b) = (info(&a).nar_size, info(&b).nar_size);
    let mut objects = [
        (&a, object(&a, &[], size_a)),
        (&b, object(&b, &[&a], size_a + size_b)),
    ];
    objects.sort_by_key(|(path, _)| *path);
    let objects = objects.map(|(_, object)| object);
    assert_eq!(graphs["g"], Value::from(objects.to_vec()));
    assert_eq!(graphs["h"], json!([object(&a, &[], size_a)]));
}

#[test]
fn outputs_of_derivations_belong_to_graphs() {
    let given = Given::new();
    let (drv, made) = given.derivation(true);
    let text = given.file(&drv);
    for path in [&drv, &made] {
        assert!(
            text.contains(&format!("{}\n\n0\n", given.full(path))),
            "{text}"
        );
    }
}

#[test]
fn outputs_that_are_not_valid_fail() {
    let given = Given::new();
    let (drv, made) = given.derivation(false);
    let failure = BuildFailure::from(given.compute(&[("g", &drv)], false).unwrap_err());
    assert_eq!(failure.status, BuildStatus::MiscFailure);
    let message = format!("path '{}' is not valid", given.full(&made));
    assert_eq!(failure.message, message);
}

#[test]
fn only_inputs_have_graphs() {
    let given = Given::new();
    let path: StorePath = "00bgd045z0d4icpbc2yyz4gx48ak44la-src".parse().unwrap();
    for structured in [false, true] {
        let error = given.compute(&[("g", &path)], structured).unwrap_err();
        let failure = BuildFailure::from(error);
        assert_eq!(failure.status, BuildStatus::InputRejected);
        assert_eq!(
            failure.message,
            "cannot export references of path \
             '/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-src' because it is not in the input \
             closure of the derivation"
        );
    }
}

#[test]
fn a_path_counts_once_in_a_closures_size() {
    let given = Given::new();
    let a = given.text("a", &[]);
    let (b, c) = (given.text("b", &[&a]), given.text("c", &[&a]));
    let d = given.text("d", &[&b, &c]);
    let infos = read(&given.store, &[d.clone()].into()).unwrap();
    let size = |path: &StorePath| infos[path].nar_size;
    let wanted: BTreeMap<&StorePath, u64> = [
        (&a, size(&a)),
        (&b, size(&a) + size(&b)),
        (&c, size(&a) + size(&c)),
        (&d, size(&a) + size(&b) + size(&c) + size(&d)),
    ]
    .into();
    assert_eq!(
        closure_sizes(&infos),
        wanted.into_values().collect::<Vec<_>>()
    );
}

#[test]
fn graphs_do_not_fill_the_memory() {
    let given = Given::new();
    let path = given.text("a", &[]);
    let mut options = DerivationOptions::default();
    for name in ["g", "h"] {
        let paths = [OptionRef::Path(path.clone())].into();
        options.export_references_graph.insert(name.into(), paths);
    }
    let inputs = [path].into();
    let compute = |most| GraphData::compute_within(&given.store, &options, true, &inputs, most);
    assert!(matches!(compute(600), Err(GraphError::TooLarge)));
    assert!(compute(800).is_ok());
}
