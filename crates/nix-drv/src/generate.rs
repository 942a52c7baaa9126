//! Package sets made up for measurements (feature `generate`).
//!
//! The derivations have the shape of those of a large package set: a few fixed
//! outputs at the bottom, then packages with 5 to 60 input derivations, most of
//! them recent ones, and an environment of build scripts. All paths follow as they
//! should, so that real Nix takes them as well. The same seed gives the same set.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use bstr::BString;
use nix_base::{
    ContentAddress, ContentAddressMethod, Hash, HashAlgo, OutputName, StoreDir, StorePath,
};

use crate::derivation::{BasicDerivation, Derivation, DerivationOutput};
use crate::error::Result;
use crate::hash_modulo::HashMemo;

/// A derivation of the set.
#[derive(Clone, Debug)]
pub struct Generated {
    /// The path of the `.drv` file.
    pub path: StorePath,
    /// Its contents.
    pub text: Vec<u8>,
}

/// Makes `count` derivations; inputs come before what depends on them.
///
/// # Errors
/// None in practice: what follows from made-up derivations does follow.
pub fn package_set(count: usize, seed: u64, store_dir: &StoreDir) -> Result<Vec<Generated>> {
    let mut maker = Maker {
        random: Random(seed | 1),
        store_dir,
        memo: HashMemo::new(),
        made: Vec::with_capacity(count),
    };
    (0..count).map(|n| maker.next(n)).collect()
}

struct Maker<'m> {
    random: Random,
    store_dir: &'m StoreDir,
    memo: HashMemo,
    made: Vec<Made>,
}

struct Made {
    path: StorePath,
    outputs: Vec<(OutputName, StorePath)>,
}

impl Maker<'_> {
    fn next(&mut self, n: usize) -> Result<Generated> {
        let mut drv = if n < 8 || self.random.below(6) == 0 {
            self.source(n)?
        } else {
            self.package(n)?
        };
        drv.fill_in_outputs(self.store_dir, &self.memo)?;
        let text = drv.to_aterm(self.store_dir)?;
        let path = drv.store_path_of_text(&text, self.store_dir)?;
        let hash = drv.input_hash(self.store_dir, &self.memo)?;
        self.memo.insert(&path, hash);
        let outputs = drv.known_outputs(self.store_dir)?;
        self.made.push(Made {
            path: path.clone(),
            outputs,
        });
        Ok(Generated { path, text })
    }

    /// A fixed output: what a fetcher makes.
    fn source(&mut self, n: usize) -> Result<Derivation> {
        let hash = Hash::of(HashAlgo::Sha256, &n.to_le_bytes());
        let ca = ContentAddress {
            method: ContentAddressMethod::Flat,
            hash,
        };
        let mut drv = Self::blank(&format!("source-{n}-{}.tar.gz", self.random.version()))?;
        drv.outputs
            .insert("out".parse()?, DerivationOutput::CaFixed(ca));
        self.add_inputs(&mut drv, 5);
        let path = drv.known_outputs(self.store_dir)?.remove(0).1;
        let path = self.store_dir.print(&path);
        drv.env.insert("out".into(), path.into());
        for (name, value) in [
            (
                "urls",
                format!("https://example.org/source-{n}.tar.gz mirror://gnu/source-{n}.tar.gz"),
            ),
            ("outputHash", hash.render(nix_base::HashFormat::Base16)),
            ("outputHashAlgo", "sha256".into()),
            ("outputHashMode", "flat".into()),
            (
                "impureEnvVars",
                "http_proxy https_proxy ftp_proxy all_proxy no_proxy".into(),
            ),
            ("preferLocalBuild", "1".into()),
        ] {
            drv.env.insert(name.into(), value.into());
        }
        Ok(drv)
    }

    fn package(&mut self, n: usize) -> Result<Derivation> {
        let version = self.random.version();
        let mut drv = Self::blank(&format!("package-{n}-{version}"))?;
        let outputs = ["out", "dev", "man"];
        for name in &outputs[..1 + self.random.below(3)] {
            drv.outputs
                .insert(name.parse()?, DerivationOutput::Deferred);
            drv.env.insert((*name).into(), BString::default());
        }
        let most = if self.random.below(8) == 0 { 60 } else { 40 };
        let count = 5 + self.random.below(most - 4);
        let paths = self.add_inputs(&mut drv, count);
        let (native, built) = paths.split_at(paths.len() / 3);
        let flags = format!("--prefix=/usr --with-version=\"{version}\" --enable-shared");
        for (name, value) in [
            ("version", version),
            ("pname", format!("package-{n}")),
            ("nativeBuildInputs", native.join(" ")),
            ("buildInputs", built.join(" ")),
            ("configureFlags", flags),
            (
                "outputs",
                drv.outputs
                    .keys()
                    .map(OutputName::as_str)
                    .collect::<Vec<_>>()
                    .join(" "),
            ),
            ("doCheck", "1".into()),
            ("strictDeps", "1".into()),
            ("postPatch", self.random.script(12)),
            ("installPhase", self.random.script(20)),
        ] {
            drv.env.insert(name.into(), value.into());
        }
        if self.random.below(4) == 0 {
            let script = self.random.script(120);
            drv.env.insert("buildPhase".into(), script.into());
        }
        Ok(drv)
    }

    fn blank(name: &str) -> Result<Derivation> {
        let mut env = BTreeMap::new();
        for (variable, value) in [
            ("name", name),
            ("system", "x86_64-linux"),
            ("builder", "/bin/bash"),
        ] {
            env.insert(variable.into(), value.into());
        }
        for variable in EMPTY {
            env.insert((*variable).into(), BString::default());
        }
        Ok(Derivation {
            basic: BasicDerivation {
                name: name.parse()?,
                outputs: BTreeMap::new(),
                input_srcs: BTreeSet::new(),
                platform: "x86_64-linux".into(),
                builder: "/bin/bash".into(),
                args: vec!["-e".into(), "/build/default-builder.sh".into()],
                env,
            },
            input_drvs: BTreeMap::new(),
        })
    }

    /// Adds inputs and gives the paths of their outputs.
    fn add_inputs(&mut self, drv: &mut Derivation, count: usize) -> Vec<String> {
        let mut paths = Vec::new();
        for _ in 0..count.min(self.made.len()) {
            let range = if self.random.below(3) > 0 {
                300
            } else {
                self.made.len()
            };
            let back = 1 + self.random.below(range.min(self.made.len()));
            let made = &self.made[self.made.len() - back];
            let (name, path) = &made.outputs[self.random.below(made.outputs.len())];
            paths.push(self.store_dir.print(path));
            let node = drv.input_drvs.entry(made.path.clone()).or_default();
            node.outputs.insert(name.clone());
        }
        paths
    }
}

/// Variables that packages have without using them.
const EMPTY: &[&str] = &[
    "__structuredAttrs",
    "cmakeFlags",
    "depsBuildBuild",
    "depsBuildBuildPropagated",
    "depsBuildTarget",
    "depsBuildTargetPropagated",
    "depsHostHost",
    "depsHostHostPropagated",
    "depsTargetTarget",
    "depsTargetTargetPropagated",
    "doInstallCheck",
    "mesonFlags",
    "patches",
    "propagatedBuildInputs",
    "propagatedNativeBuildInputs",
];

/// A small generator of numbers that look random.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 16) % limit as u64).unwrap_or(0)
    }

    fn version(&mut self) -> String {
        format!("{}.{}.{}", self.below(10), self.below(40), self.below(9))
    }

    /// A shell script of so many lines, with quotes and line breaks.
    fn script(&mut self, lines: usize) -> String {
        let mut script = String::new();
        for _ in 0..lines {
            let number = self.below(100);
            // Writing to a string can't fail.
            let _ = match self.below(4) {
                0 => writeln!(script, "mkdir -p $out/share/part-{number} # keep the tree"),
                1 => writeln!(
                    script,
                    "substituteInPlace src/file-{number}.c --replace \"/usr/bin\" \"$out/bin\""
                ),
                2 => writeln!(
                    script,
                    "\tinstall -Dm755 build/program-{number} \"$out/bin/program-{number}\""
                ),
                _ => writeln!(
                    script,
                    "for f in lib/*.so.{number}; do cp -a $f $out/lib/; done"
                ),
            };
        }
        script
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Strictness;

    #[test]
    fn the_same_seed_gives_the_same_canonical_set() {
        let store = StoreDir::default();
        let one = package_set(60, 7, &store).unwrap();
        let two = package_set(60, 7, &store).unwrap();
        for (one, two) in one.iter().zip(&two) {
            assert_eq!((&one.path, &one.text), (&two.path, &two.text));
            let drv = Derivation::parse_file(&one.text, &store, &one.path, Strictness::Strict);
            assert_eq!(drv.unwrap().store_path(&store).unwrap(), one.path);
        }
    }

    #[test]
    fn pieces_of_texts_hash_like_derivations() {
        let store = StoreDir::default();
        let set = package_set(200, 3, &store).unwrap();
        let files: BTreeMap<_, _> = set.iter().map(|drv| (&drv.path, &drv.text)).collect();
        let read = |path: &StorePath| files.get(path).map(|text| text.to_vec()).ok_or("missing");
        let mut memo = HashMemo::new();
        let mut visited = 0;
        crate::visit_graph(
            files.keys().copied().cloned(),
            &store,
            &mut memo,
            read,
            |drv| {
                visited += 1;
                for (name, path) in drv.computed_outputs()? {
                    let stated = drv.outputs()[name].known_path(&store, drv.name(), name)?;
                    assert_eq!(path, stated, "{}", drv.path());
                }
                let pending = drv.pending_outputs()?;
                for output in pending.finish(&store)? {
                    assert_eq!(output.computed, output.stated, "{}", drv.path());
                }
                Ok(())
            },
        )
        .unwrap();
        assert_eq!(visited, 200);
        for drv in &set {
            let typed = Derivation::parse_file(&drv.text, &store, &drv.path, Strictness::Strict);
            let hash = typed.unwrap().input_hash(&store, &memo).unwrap();
            assert_eq!(memo.find(&drv.path), Some(&hash));
        }
    }
}
