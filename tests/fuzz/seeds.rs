//! Inputs to begin with: some of our own, and other projects' vectors where they are present.

use std::collections::BTreeMap;

use nix_base::{
    BuildOptions, BuildResult, BuildStatus, ContentAddress, Hash, HashAlgo, HashFormat, NarHash,
    SecretKey, StoreDir, StorePath, StorePathSet, UnkeyedValidPathInfo, ValidPathInfo, WireWrite,
};
use nix_drv::generate::package_set;
use nix_drv::json::{JsonForm, derivation_to_json, show};
use nix_drv::proof::{PackedInput, PackedProof, ProofText, text_hash};
use nix_drv::{BasicDerivation, Derivation, OutputName, Strictness};
use nix_nar::NarWriter;
use nix_nar::export::{ExportTrailer, ExportWriter};
use nix_serve::proto::build_result::write_build_result;
use nix_serve::proto::handshake::write_client_hello;
use nix_serve::proto::options::write_build_options;
use nix_serve::proto::path_info::{
    write_add_to_store_nar, write_path_info_item, write_path_infos_end,
};
use nix_serve::proto::proof::write_text_hashes;
use nix_serve::proto::request::{BuildPaths, ExportPaths, QueryClosure, QueryValidPaths};
use nix_serve::proto::{Features, ServeCommand, ServeVersion, VersionWord};
use test_support::vectors;

type Seeds = Vec<Vec<u8>>;

fn vectors_of(format: &str) -> impl Iterator<Item = Vec<u8>> {
    let short = |seed: &Vec<u8>| seed.len() <= 64 << 10;
    vectors::with_format(format)
        .into_iter()
        .map(|vector| vector.read())
        .filter(short)
}

pub(crate) fn archives() -> Seeds {
    let mut file = Vec::new();
    nix_nar::write_regular(b"contents\n", true, &mut file).unwrap();
    let mut link = NarWriter::new(Vec::new());
    link.symlink(b"", b"../target").unwrap();
    let mut tree = NarWriter::new(Vec::new());
    tree.directory(b"").unwrap();
    tree.regular(b"a", false, 3).unwrap();
    tree.contents(b"abc").unwrap();
    tree.directory(b"d").unwrap();
    tree.symlink(b"l", b"a").unwrap();
    tree.regular(b"x", true, 8).unwrap();
    tree.contents(b"12345678").unwrap();
    tree.end_directory().unwrap();
    tree.regular(b"empty", false, 0).unwrap();
    tree.end_directory().unwrap();
    let [link, tree] = [link, tree].map(|writer| writer.finish().unwrap().0);
    [file, link, tree]
        .into_iter()
        .chain(vectors_of("nar"))
        .collect()
}

pub(crate) fn export_streams() -> Seeds {
    let mut writer = ExportWriter::new(Vec::new());
    for digit in ['a', 'b'] {
        writer.begin_archive().unwrap();
        nix_nar::write_regular(b"contents", false, writer.archive()).unwrap();
        let trailer = ExportTrailer {
            path: path(digit),
            references: [path('a'), path('c')].into(),
            deriver: (digit == 'a').then(|| drv_path('d')),
        };
        writer
            .write_trailer(&StoreDir::default(), &trailer)
            .unwrap();
    }
    [writer.finish().unwrap()]
        .into_iter()
        .chain(vectors_of("export"))
        .collect()
}

pub(crate) fn derivations() -> Seeds {
    let store = StoreDir::default();
    let generated = package_set(12, 5, &store).unwrap();
    let own = [
        r#"Derive([("out","","","")],[],[],"s","/b",[],[])"#,
        r#"Derive([("dev","","r:sha256",""),("out","","r:sha256","")],[],["/nix/store/vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a"],"s","b",["\\\"\n\r\t","é"],[("a","1"),("b","")])"#,
        r#"DrvWithVersion("xp-dyn-drv",[("out","","","")],[("/nix/store/0127k303nfrwsqmlnx96lslb3y8q82yf-a.drv",(["out"],[("bin",["a","b"])]))],[],"s","/b",[],[("out","")])"#,
        r#"Derive([("out","","text:sha256","impure")],[("/nix/store/0127k303nfrwsqmlnx96lslb3y8q82yf-a.drv",["dev","out"])],[],"s","/b",[],[("__json","{\"exportReferencesGraph\":{\"g\":[\"/nix/store/vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a\"]},\"outputChecks\":{\"out\":{\"maxSize\":5}},\"outputs\":[\"out\"]}")])"#,
        r#"Derive([("out","","","")],[],[],"s","/b",[],[("allowedReferences","out"),("exportReferencesGraph","g /nix/store/vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a"),("passAsFile","a"),("requiredSystemFeatures","kvm"),("__noChroot","1")])"#,
    ];
    generated
        .into_iter()
        .map(|drv| drv.text)
        .chain(own.map(|text| text.as_bytes().to_vec()))
        .chain(vectors_of("drv-aterm"))
        .collect()
}

fn parsed() -> Vec<Derivation> {
    let store = StoreDir::default();
    let name = "a".parse().unwrap();
    let parse = |text| Derivation::parse(text, &store, &name, Strictness::Lenient).ok();
    derivations()
        .iter()
        .filter_map(|text| parse(text))
        .collect()
}

pub(crate) fn derivations_as_json() -> Seeds {
    let store = StoreDir::default();
    let mut seeds = Vec::new();
    let path = drv_path('d');
    for drv in parsed() {
        for form in [
            JsonForm::V4,
            JsonForm::V3,
            JsonForm::Unversioned,
            JsonForm::Early,
        ] {
            let one = derivation_to_json(&drv, &store, form);
            let all = show([(&path, &drv)], &store, form);
            seeds.extend([one, all].into_iter().flatten());
        }
    }
    seeds
        .into_iter()
        .map(|value| value.to_string().into_bytes())
        .chain(vectors_of("drv-json"))
        .chain(vectors_of("json:derivation*"))
        .collect()
}

pub(crate) fn store_paths() -> Seeds {
    [
        "/nix/store/vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a",
        "/nix/store/vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a/bin/b",
        "vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-bash-5.2_p15+x?=.drv",
        "/nix/store//vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a/",
        "sha256:ba4225a2258e2c5aa9456dec465c4399371eae3160bdbf813d559fbcd23cede2!out",
        "/gnu/store",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

/// Descriptions in caches, with all that they can say and with little.
pub(crate) fn narinfos() -> Seeds {
    let digits = "0rsv7kag23nvdpy4500mv2m0b4sm4c8fkgqrfsrmv1kgk77bi81c";
    let least = format!(
        "StorePath: /nix/store/{A}-a\nURL: nar/a.nar\nNarHash: sha256:{digits}\nNarSize: 120\n",
        A = "a".repeat(32)
    );
    let more = format!(
        "{least}Compression: xz\nFileHash: sha256:{digits}\nFileSize: 77\nReferences: {A}-a {B}-b\n\
         Deriver: {B}-a.drv\nSig: k:AA==\nSig: l:AA==\nCA: fixed:r:sha256:{digits}\n",
        A = "a".repeat(32),
        B = "b".repeat(32)
    );
    [least, more].map(String::into_bytes).into()
}

pub(crate) fn signatures() -> Seeds {
    let key = SecretKey::from_seed("cache.example.org-1", &[7; 32]);
    [
        key.sign(b"text").as_str().to_owned(),
        key.public_key().to_string(),
        key.to_text().to_string(),
    ]
    .map(String::into_bytes)
    .into()
}

pub(crate) fn hashes() -> Seeds {
    let mut seeds = Vec::new();
    for algo in [
        HashAlgo::Md5,
        HashAlgo::Sha1,
        HashAlgo::Sha256,
        HashAlgo::Sha512,
        HashAlgo::Blake3,
    ] {
        let hash = Hash::of(algo, b"text");
        for format in [HashFormat::Base16, HashFormat::Nix32, HashFormat::Base64] {
            seeds.push(hash.render(format).into_bytes());
            seeds.push(hash.render_prefixed(format).into_bytes());
        }
        for method in ["fixed:", "fixed:r:", "text:", "fixed:git:"] {
            let text = format!("{method}{}", hash.render_prefixed(HashFormat::Nix32));
            if text.parse::<ContentAddress>().is_ok() {
                seeds.push(text.into_bytes());
            }
        }
    }
    seeds
}

fn path(digit: char) -> StorePath {
    let digits: String = std::iter::repeat_n(digit, 32).collect();
    StorePath::from_base_name(&format!("{digits}-x")).unwrap()
}

fn drv_path(digit: char) -> StorePath {
    StorePath::from_base_name(&format!("{}.drv", path(digit))).unwrap()
}

fn info(digit: char, nar: &[u8]) -> ValidPathInfo {
    let mut info = UnkeyedValidPathInfo::new(NarHash::of(nar), nar.len() as u64);
    info.references = [path('a')].into();
    let key = SecretKey::from_seed("k", &[7; 32]);
    info.sigs.insert(key.sign(b"text"));
    ValidPathInfo {
        path: path(digit),
        info,
    }
}

/// A connection of this version; `rest` writes what comes after the greeting.
fn connect(minor: u8, rest: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_client_hello(ServeVersion::v2(minor).into(), &mut bytes).unwrap();
    rest(&mut bytes);
    bytes
}

fn command(command: ServeCommand, out: &mut Vec<u8>) {
    out.write_u64(command.number()).unwrap();
}

pub(crate) fn connections() -> Seeds {
    let dir = &StoreDir::default();
    let paths: StorePathSet = [path('a'), path('b')].into();
    let mut seeds = Vec::new();
    let mut file = Vec::new();
    nix_nar::write_regular(b"contents", false, &mut file).unwrap();
    seeds.push(connect(7, |out| {
        for digit in ['a', 'b'] {
            command(ServeCommand::AddToStoreNar, out);
            write_add_to_store_nar(&info(digit, &file), dir, out).unwrap();
            out.extend_from_slice(&file);
        }
    }));
    seeds.push(connect(8, |out| {
        command(ServeCommand::QueryValidPaths, out);
        let request = QueryValidPaths {
            lock: true,
            substitute: false,
            paths: paths.clone(),
        };
        request.write(dir, out).unwrap();
        command(ServeCommand::QueryPathInfos, out);
        out.write_path_set(dir, &paths).unwrap();
        command(ServeCommand::DumpStorePath, out);
        out.write_path(dir, &path('a')).unwrap();
    }));
    seeds.push(connect(5, |out| {
        command(ServeCommand::QueryClosure, out);
        let request = QueryClosure {
            include_outputs: true,
            paths: paths.clone(),
        };
        request.write(dir, out).unwrap();
        command(ServeCommand::ExportPaths, out);
        let request = ExportPaths {
            sign: false,
            paths: paths.clone(),
        };
        request.write(dir, out).unwrap();
    }));
    seeds.push(connect(3, |out| {
        command(ServeCommand::BuildPaths, out);
        let request = BuildPaths {
            targets: vec![dir.print(&path('a'))],
            options: BuildOptions::default(),
        };
        request.write(ServeVersion::v2(3), out).unwrap();
    }));
    seeds.extend(export_streams().into_iter().map(|stream| {
        connect(6, |out| {
            command(ServeCommand::ImportPaths, out);
            out.extend_from_slice(&stream);
        })
    }));
    seeds.extend(basic_derivations().into_iter().map(|drv| {
        connect(7, |out| {
            command(ServeCommand::BuildDerivation, out);
            out.write_path(dir, &drv_path('d')).unwrap();
            out.extend_from_slice(&drv);
            write_build_options(&BuildOptions::default(), ServeVersion::v2(7), out).unwrap();
        })
    }));
    seeds.extend(basic_derivations().into_iter().map(|drv| {
        let mut bytes = Vec::new();
        write_client_hello(VersionWord::OURS, &mut bytes).unwrap();
        with_proof(&drv, &mut bytes);
        bytes
    }));
    seeds
}

/// What a client sends that proves what it wants built.
fn with_proof(drv: &[u8], out: &mut Vec<u8>) {
    let dir = &StoreDir::default();
    let proof = proof();
    command(ServeCommand::AnnounceFeatures, out);
    Features::ALL.write(out).unwrap();
    command(ServeCommand::QueryProofTexts, out);
    let hashes = proof.inputs.iter().map(|input| input.hash).collect();
    write_text_hashes(&hashes, out).unwrap();
    command(ServeCommand::BuildDerivationWithProof, out);
    out.write_path(dir, &drv_path('d')).unwrap();
    out.extend_from_slice(drv);
    write_build_options(&BuildOptions::default(), ServeVersion::LATEST, out).unwrap();
    proof.write(out, dir).unwrap();
}

fn proof() -> PackedProof {
    let texts = [
        "fixed:out:r:sha256:00:/nix/store/x",
        "Derive([],[],[],\"\",\"\",[],[])",
    ];
    let inputs = texts.iter().enumerate().map(|(i, text)| PackedInput {
        hash: text_hash(text.as_bytes()),
        text: (i > 0).then(|| ProofText::new(text.as_bytes())),
        wanted: ["dev", "out"]
            .map(|name| OutputName::new(name).unwrap())
            .into(),
    });
    let mut inputs: Vec<PackedInput> = inputs.collect();
    inputs.sort_by_key(|input| input.hash);
    PackedProof {
        sources: [path('a'), path('b')].into(),
        inputs,
    }
}

fn basic_derivations() -> Seeds {
    let dir = &StoreDir::default();
    let write = |drv: Derivation| {
        let mut bytes = Vec::new();
        let basic: &BasicDerivation = &drv.basic;
        basic.write_wire(&mut bytes, dir).ok().map(|()| bytes)
    };
    parsed().into_iter().filter_map(write).take(12).collect()
}

pub(crate) fn replies() -> Seeds {
    let dir = &StoreDir::default();
    let mut bodies: BTreeMap<u8, Seeds> = BTreeMap::new();
    let mut add = |which: u8, write: &dyn Fn(ServeVersion, &mut Vec<u8>)| {
        for minor in [2_u8, 7, 8] {
            let mut body = vec![minor << 4 | which];
            write(ServeVersion::v2(minor), &mut body);
            bodies.entry(which).or_default().push(body);
        }
    };
    add(1, &|_, out| {
        let paths = [path('a'), path('b')].into();
        out.write_path_set(dir, &paths).unwrap();
    });
    add(2, &|version, out| {
        write_path_info_item(&info('a', b"x"), dir, version, out).unwrap();
        write_path_infos_end(out).unwrap();
    });
    add(3, &|version, out| {
        let result = BuildResult::failure(BuildStatus::MiscFailure, "no");
        write_build_result(&result, dir, version, out).unwrap();
    });
    add(5, &|version, out| {
        write_build_options(&BuildOptions::default(), version, out).unwrap();
    });
    add(11, &|_, out| {
        write_add_to_store_nar(&info('b', b"x"), dir, out).unwrap();
    });
    add(13, &|_, out| proof().write(out, dir).unwrap());
    add(14, &|_, out| Features::ALL.write(out).unwrap());
    add(15, &|_, out| {
        write_text_hashes(&[[1; 32], [2; 32]].into(), out).unwrap()
    });
    let with_first = |first: u8, body: Vec<u8>| [vec![first], body].concat();
    let derivations = basic_derivations();
    // Values of one kind are worth trying with the readers of others.
    let values = vectors_of("serve-value");
    let values =
        values.flat_map(|value| (0..16).map(move |which| with_first(0x70 | which, value.clone())));
    bodies
        .into_values()
        .flatten()
        .chain(derivations.into_iter().map(|drv| with_first(0x7c, drv)))
        .chain(values)
        .collect()
}
