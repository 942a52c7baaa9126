//! Honest requests, with the proofs that go with them.

use std::collections::{BTreeMap, BTreeSet};

use bstr::BString;
use nix_base::{
    ContentAddress, ContentAddressMethod, Hash, HashAlgo, HashFormat, OutputName, StoreDir,
    StorePath,
};

use crate::Strictness;
use crate::derivation::{BasicDerivation, Derivation, DerivationOutput};
use crate::generate::package_set;
use crate::hash_modulo::{HashMemo, visit_graph};
use crate::proof::Proof;

/// A small generator of numbers that look random.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 16) % limit as u64).unwrap()
    }

    pub(super) fn one_of<'t, T>(&mut self, items: &'t [T]) -> &'t T {
        &items[self.below(items.len())]
    }
}

/// What an honest client sends, and the derivation that it comes from.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) drv: BasicDerivation,
    pub(super) proof: Proof,
}

/// Derivations whose inputs come before them, with the text of each.
pub(super) struct Graph {
    pub(super) store_dir: StoreDir,
    pub(super) drvs: Vec<(StorePath, Derivation)>,
    pub(super) texts: BTreeMap<StorePath, Vec<u8>>,
}

impl Graph {
    /// The set made up for measurements.
    pub(super) fn of_package_set(count: usize) -> Self {
        let store_dir = StoreDir::default();
        let set = package_set(count, 11, &store_dir).unwrap();
        let files: BTreeMap<_, _> = set.iter().map(|drv| (&drv.path, &drv.text)).collect();
        let mut texts = BTreeMap::new();
        visit_graph(
            files.keys().copied().cloned(),
            &store_dir,
            &mut HashMemo::new(),
            |path| files.get(path).map(|text| text.to_vec()).ok_or("missing"),
            |drv| {
                texts.insert(drv.path().clone(), drv.input_text()?);
                Ok(())
            },
        )
        .unwrap();
        let drvs = set.iter().map(|made| {
            let drv =
                Derivation::parse_file(&made.text, &store_dir, &made.path, Strictness::Strict);
            (made.path.clone(), drv.unwrap())
        });
        Self {
            drvs: drvs.collect(),
            store_dir,
            texts,
        }
    }

    /// A small set with chains, several outputs, structured attributes, escapes, and
    /// fixed outputs of equal content that are fetched in different ways.
    pub(super) fn small(count: usize) -> Self {
        let mut maker = Maker {
            random: Random(0x5eed),
            memo: HashMemo::new(),
            graph: Self {
                store_dir: StoreDir::default(),
                drvs: Vec::new(),
                texts: BTreeMap::new(),
            },
        };
        for n in 0..count {
            maker.add(n);
        }
        maker.graph
    }

    /// The requests that need a proof.
    pub(super) fn requests(&self) -> Vec<Request> {
        let input_addressed = |drv: &Derivation| {
            let is_it = |output: &_| matches!(output, DerivationOutput::InputAddressed(_));
            drv.outputs.values().all(is_it) && !drv.input_drvs.is_empty()
        };
        let drvs = self.drvs.iter().filter(|(_, drv)| input_addressed(drv));
        drvs.map(|(_, drv)| self.request(drv)).collect()
    }

    pub(super) fn request(&self, drv: &Derivation) -> Request {
        let text_of = |path: &StorePath| self.texts.get(path).cloned().ok_or("missing");
        let proof = Proof::of(drv, text_of).unwrap();
        let outputs: BTreeMap<_, _> = self
            .drvs
            .iter()
            .map(|(path, drv)| {
                let known = drv.known_outputs(&self.store_dir).unwrap();
                (path, known.into_iter().collect::<BTreeMap<_, _>>())
            })
            .collect();
        let mut basic = drv.basic.clone();
        for (path, node) in &drv.input_drvs {
            let paths = node.outputs.iter().map(|name| outputs[path][name].clone());
            basic.input_srcs.extend(paths);
        }
        Request { drv: basic, proof }
    }
}

struct Maker {
    random: Random,
    memo: HashMemo,
    graph: Graph,
}

impl Maker {
    fn add(&mut self, n: usize) {
        let mut drv = match n % 5 {
            0 => self.fixed(n),
            _ => self.package(n),
        };
        let store_dir = &self.graph.store_dir;
        drv.fill_in_outputs(store_dir, &self.memo).unwrap();
        let path = drv.store_path(store_dir).unwrap();
        let hash = drv.input_hash(store_dir, &self.memo).unwrap();
        let text = crate::proof::input_text(&drv, store_dir, &self.memo).unwrap();
        self.memo.insert(&path, hash);
        self.graph.texts.insert(path.clone(), text);
        self.graph.drvs.push((path, drv));
    }

    /// Every other one has the content of the one before.
    fn fixed(&mut self, n: usize) -> Derivation {
        let content = n / 10;
        let hash = Hash::of(HashAlgo::Sha256, &content.to_le_bytes());
        let method = match content % 2 {
            0 => ContentAddressMethod::Flat,
            _ => ContentAddressMethod::NixArchive,
        };
        let mut drv = blank(&format!("source-{content}"));
        let output = DerivationOutput::CaFixed(ContentAddress { method, hash });
        drv.outputs.insert(out(), output);
        let path = drv
            .known_outputs(&self.graph.store_dir)
            .unwrap()
            .remove(0)
            .1;
        let path = self.graph.store_dir.print(&path);
        drv.env.insert("out".into(), path.into());
        let hash = hash.render(HashFormat::Base16);
        drv.env.insert("outputHash".into(), hash.into());
        let url = format!("https://example.org/{n}");
        drv.env.insert("url".into(), url.into());
        drv
    }

    fn package(&mut self, n: usize) -> Derivation {
        let mut drv = blank(&format!("package-{n}"));
        let names: &[&str] = match n % 3 {
            0 => &["out"],
            1 => &["dev", "out"],
            _ => &["bin", "doc", "out"],
        };
        for name in names {
            drv.outputs
                .insert(name.parse().unwrap(), DerivationOutput::Deferred);
            drv.env.insert((*name).into(), BString::default());
        }
        if n % 4 == 1 {
            let json = r#"{"builder":"/bin/sh","list":["a\"b",1,null]}"#;
            drv.env.insert("__json".into(), json.into());
        }
        drv.env.insert("a\"b".into(), "line\n\tof \\ text".into());
        for _ in 0..self.random.below(3) {
            let digest = Hash::of(
                HashAlgo::Sha256,
                &[u8::try_from(self.random.below(9)).unwrap()],
            );
            let digest = nix_base::store_path::make::fold20(digest.as_bytes());
            let hash = nix_base::StorePathHash::from_digest(digest);
            let name = "builder.sh".parse().unwrap();
            drv.basic.input_srcs.insert(StorePath::new(hash, name));
        }
        for _ in 0..1 + self.random.below(5) {
            self.depend(&mut drv);
        }
        drv
    }

    fn depend(&mut self, drv: &mut Derivation) {
        // Mostly recent ones, so that chains get long and several outputs of one are used.
        let back = self.graph.drvs.len().min(8);
        let recent = &self.graph.drvs[self.graph.drvs.len() - back..];
        let (path, input) = self.random.one_of(recent);
        let names: Vec<_> = input.outputs.keys().collect();
        let name = *self.random.one_of(&names);
        let known = input.known_outputs(&self.graph.store_dir).unwrap();
        let used = known.iter().find(|(output, _)| output == name).unwrap();
        let variable = format!("input-{}", used.1.hash());
        let used = self.graph.store_dir.print(&used.1);
        drv.env.insert(variable.into(), used.into());
        let node = drv.input_drvs.entry(path.clone()).or_default();
        node.outputs.insert(name.clone());
    }
}

pub(super) fn out() -> OutputName {
    "out".parse().unwrap()
}

fn blank(name: &str) -> Derivation {
    let env = [
        ("name", name),
        ("system", "x86_64-linux"),
        ("builder", "/bin/sh"),
    ];
    Derivation {
        basic: BasicDerivation {
            name: name.parse().unwrap(),
            outputs: BTreeMap::new(),
            input_srcs: BTreeSet::new(),
            platform: "x86_64-linux".into(),
            builder: "/bin/sh".into(),
            args: vec!["-c".into(), "echo \"hi\" > $out".into()],
            env: env.map(|(name, value)| (name.into(), value.into())).into(),
        },
        input_drvs: BTreeMap::new(),
    }
}
