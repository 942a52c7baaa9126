//! Which texts stand for an input.

use nix_base::StoreDir;

use super::graph::{Graph, Random};
use crate::proof::{TextError, text_outputs};
use crate::{RawDerivation, Strictness};

const A: &str = r#"Derive([("out","/nix/store/vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a","","")],[("9dfa15de2b8c57cbb8f0b06018af837b2a7ac14f1272261c57ea5f6c67cfb3f6",["dev","out"])],["/nix/store/1p9q0bz6f22dyxh4lw8xs08p4201vyq4-f"],"x86_64-linux","/bin/sh",[],[("name","a")])"#;
const F: &str = "fixed:out:sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03:/nix/store/1p9q0bz6f22dyxh4lw8xs08p4201vyq4-f";

fn outputs(text: &str) -> Result<Vec<String>, TextError> {
    let outputs = text_outputs(text.as_bytes(), &StoreDir::default())?;
    Ok(outputs
        .iter()
        .map(|(name, path)| format!("{name} {path}"))
        .collect())
}

#[test]
fn outputs_are_read() {
    assert_eq!(
        outputs(A).unwrap(),
        ["out vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a"]
    );
    assert_eq!(
        outputs(F).unwrap(),
        ["out 1p9q0bz6f22dyxh4lw8xs08p4201vyq4-f"]
    );
}

#[test]
fn rejects_texts_that_nobody_prints() {
    let changed = |from: &str, to: &str| {
        let text = A.replacen(from, to, 1);
        assert_ne!(text, A, "{from}");
        text
    };
    for text in [
        changed("9dfa15de", "9DFA15DE"),
        changed("9dfa15de", "9dfa15d"),
        changed("9dfa15de", "/nix/store/9dfa15de"),
        changed(r#"["dev","out"]"#, "[]"),
        changed(r#"["dev","out"]"#, r#"["out","dev"]"#),
        changed(r#"["dev","out"]"#, r#"["dev","dev"]"#),
        changed(r#"["dev","out"]"#, r#"["dev","o/t"]"#),
        changed(r#"["dev","out"]"#, r#"["dev","o\"t"]"#),
        changed(r#""out","/nix"#, r#""o ut","/nix"#),
        changed(r#""out","/nix"#, r#"".","/nix"#),
        changed("/nix/store/vr92", "/nix//store/vr92"),
        changed("/nix/store/vr92", "/nix/stor/vr92"),
        changed("/nix/store/1p9q", "/nix/store/../store/1p9q"),
        changed(r#"4-a","","""#, r#"4-a","sha256","""#),
        changed(r#"4-a","","""#, r#"4-a","","x""#),
        changed("/nix/store/vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a", ""),
        changed(
            r#"("out","/nix/store/vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a","","")"#,
            "",
        ),
        changed("x86_64-linux", r#"x86\"64"#),
        changed("/bin/sh", r"/bin/\sh"),
        changed("/bin/sh", "/bin/sh\n"),
        changed("Derive([", r#"DrvWithVersion("xp-dyn-drv",["#),
        format!("{A}\n"),
        format!("{A})"),
        String::new(),
    ] {
        assert!(outputs(&text).is_err(), "{text}");
    }
}

#[test]
fn rejects_lines_of_fixed_outputs_that_nobody_prints() {
    for (from, to) in [
        ("fixed:out:", "fixed:dev:"),
        ("sha256:", "r:sha256:"),
        ("sha256:", "md5:"),
        ("sha256:", "sha256::"),
        ("sha256:", "flat:sha256:"),
        ("5891b5", "5891B5"),
        ("5891b5", "5891b6"),
        ("5891b5", ""),
        ("/nix/store/1", "/nix//store/1"),
        ("/nix/store/1p", "/nix/store/1q"),
        ("/nix/store/1p", "nix/store/1p"),
        ("yq4-f", "yq4-g"),
        ("yq4-f", "yq4-f\n"),
        ("yq4-f", "yq4-f/"),
    ] {
        let text = F.replacen(from, to, 1);
        assert_ne!(text, F, "{from}");
        assert!(outputs(&text).is_err(), "{text}");
    }
}

/// Texts of the same meaning would have different hashes, and one hash only one meaning.
#[test]
fn accepted_texts_are_in_canonical_form() {
    let graph = Graph::small(60);
    let texts: Vec<_> = graph.texts.values().collect();
    let mut random = Random(7);
    let mut accepted = 0;
    for _ in 0..20_000 {
        let mut text = random.one_of(&texts).to_vec();
        for _ in 0..1 + random.below(2) {
            let at = random.below(text.len());
            match random.below(3) {
                0 => text[at] = *random.one_of(b"abc019\"\\,()[]n/-: \n"),
                1 => drop(text.remove(at)),
                _ => text.insert(at, *random.one_of(b"abc019\"\\,()[]n/-: \n")),
            }
        }
        if text_outputs(&text, &graph.store_dir).is_ok() && !text.starts_with(b"fixed:") {
            assert_eq!(reprinted(&text), text, "{}", bstr::BStr::new(&text));
            accepted += 1;
        }
    }
    assert!(accepted > 100, "{accepted}");
}

/// The text as it is printed from its parts.
fn reprinted(text: &[u8]) -> Vec<u8> {
    let raw = RawDerivation::parse(text, Strictness::Strict).unwrap();
    let list = |items: Vec<Vec<u8>>| [&b"["[..], &items.join(&b','), b"]"].concat();
    let plain = |text: &[u8]| [b"\"", text, b"\""].concat();
    let quoted = |text: &[u8]| {
        let mut printer = crate::aterm::Printer::default();
        printer.byte(b'"');
        printer.escaped(text);
        printer.byte(b'"');
        printer.finish()
    };
    let row = |fields: Vec<Vec<u8>>| [&b"("[..], &fields.join(&b','), b")"].concat();
    let outputs = raw.outputs().iter().map(|output| {
        let fields = [&output.name, &output.path, &output.hash_algo, &output.hash];
        row(fields.map(|field| plain(field)).to_vec())
    });
    let inputs = raw.input_drvs().iter().map(|input| {
        let mut wanted: Vec<_> = raw.wanted(input).iter().map(|name| plain(name)).collect();
        wanted.sort();
        row(vec![plain(&input.path), list(wanted)])
    });
    let mut sources: Vec<_> = raw
        .input_srcs()
        .iter()
        .map(|source| plain(source))
        .collect();
    sources.sort();
    let env = raw
        .env()
        .map(|(name, value)| row(vec![quoted(name), quoted(value)]));
    let parts = [
        list(outputs.collect()),
        list(inputs.collect()),
        list(sources),
        plain(raw.platform()),
        quoted(raw.builder()),
        list(raw.args().iter().map(|arg| quoted(arg)).collect()),
        list(env.collect()),
    ];
    [&b"Derive("[..], &parts.join(&b','), b")"].concat()
}
