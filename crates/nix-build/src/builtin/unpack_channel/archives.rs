//! Archives for tests.

use std::io::Write;

use tar::{Builder, EntryType, Header};

/// What an archive may hold.
enum Item {
    File(&'static [u8], u32),
    Directory,
    Symlink(&'static str),
    HardLink(&'static str),
    Other(EntryType),
}

use Item::{Directory, File, HardLink, Other, Symlink};

/// Those that can be unpacked, by name.
pub(in crate::builtin) fn good() -> Vec<(&'static str, Vec<u8>)> {
    let usual = || {
        vec![
            ("chan", Directory),
            ("chan/default.nix", File(b"{}\n", 0o644)),
            ("chan/bin/x", File(b"#!\n", 0o755)),
            ("chan/l", Symlink("bin/x")),
            ("chan/abs", Symlink("/etc/passwd")),
            ("chan/h", HardLink("chan/bin/x")),
            ("chan/ro", File(b"ro", 0o400)),
            ("chan/empty", File(b"", 0o644)),
        ]
    };
    let plain = tar(usual());
    let mut no_end = plain.clone();
    no_end.truncate(plain.len() - 1024);
    vec![
        ("plain", plain.clone()),
        ("gzip", gzip(&plain)),
        ("bzip2", bzip2(&plain)),
        ("xz", xz(&plain)),
        ("lzma", lzma(&plain)),
        ("zstd", zstd::encode_all(&plain[..], 1).unwrap()),
        ("gzip-twice", gzip(&gzip(&plain))),
        (
            "two-members",
            [gzip(&plain[..700]), gzip(&plain[700..])].concat(),
        ),
        ("no-end", no_end),
        (
            "modes",
            tar(vec![
                ("c/suid", File(b"s", 0o4755)),
                ("c/group", File(b"g", 0o654)),
                ("c/nobody", File(b"n", 0o011)),
            ]),
        ),
        ("one-file", tar(vec![("only", File(b"x", 0o644))])),
        (
            "dots",
            tar(vec![
                (".", Directory),
                ("./c", Directory),
                ("./c//./x", File(b"1", 0o644)),
            ]),
        ),
        ("absolute", tar(vec![("/c/x", File(b"1", 0o644))])),
        ("link-at-the-top", tar(vec![("c", Symlink("/etc"))])),
        (
            "same-name",
            tar(vec![
                ("c/f", File(b"1", 0o644)),
                ("c/f", File(b"22", 0o755)),
            ]),
        ),
        (
            "file-over-link",
            tar(vec![
                ("c/l", Symlink("/nonexistent/x")),
                ("c/l", File(b"x", 0o644)),
            ]),
        ),
        (
            "file-over-directory",
            tar(vec![("c/x", Directory), ("c/x", File(b"x", 0o644))]),
        ),
        (
            "link-over-directory",
            tar(vec![("c/x", Directory), ("c/x", Symlink("/etc"))]),
        ),
        (
            "directory-over-link",
            tar(vec![
                ("c/x", Symlink("/nonexistent")),
                ("c/x", Directory),
                ("c/x/y", File(b"1", 0o644)),
            ]),
        ),
        (
            "link-to-link",
            tar(vec![
                ("c/s", Symlink("/etc/passwd")),
                ("c/h", HardLink("c/s")),
            ]),
        ),
        (
            "long",
            tar(vec![(LONG, File(b"long", 0o644)), ("c/l", Symlink(LONG))]),
        ),
    ]
}

/// Those that can't.
pub(in crate::builtin) fn bad() -> Vec<(&'static str, Vec<u8>)> {
    let plain = good().swap_remove(0).1;
    let packed = gzip(&plain);
    vec![
        (
            "two",
            tar(vec![("a", File(b"1", 0o644)), ("b", File(b"2", 0o644))]),
        ),
        ("none", tar(vec![])),
        ("no-bytes", Vec::new()),
        ("garbage", b"not an archive at all, ".repeat(100)),
        ("cut", plain[..5 * 512 + 100].to_vec()),
        ("cut-gzip", packed[..packed.len() / 2].to_vec()),
        (
            "dotdot",
            tar(vec![("c", Directory), ("c/../../evil", File(b"x", 0o644))]),
        ),
        (
            "dotdot-first",
            tar(vec![("c", Directory), ("../evil", File(b"x", 0o644))]),
        ),
        (
            "dotdot-link",
            tar(vec![("c/h", HardLink("../../../etc/passwd"))]),
        ),
        (
            "through-link",
            tar(vec![
                ("c/l", Symlink("../../..")),
                ("c/l/evil", File(b"x", 0o644)),
            ]),
        ),
        (
            "through-inner-link",
            tar(vec![
                ("c/d", Directory),
                ("c/l", Symlink("d")),
                ("c/l/evil", File(b"x", 0o644)),
            ]),
        ),
        (
            "through-file",
            tar(vec![("c", File(b"x", 0o644)), ("c/x", File(b"1", 0o644))]),
        ),
        (
            "absolute-hard-link",
            tar(vec![("c/h", HardLink("/etc/passwd"))]),
        ),
        (
            "hard-link-to-nothing",
            tar(vec![("c/h", HardLink("c/nope"))]),
        ),
        (
            "over-full-directory",
            tar(vec![
                ("c/x/y", File(b"1", 0o644)),
                ("c/x", File(b"1", 0o644)),
            ]),
        ),
        ("fifo", tar(vec![("c/p", Other(EntryType::Fifo))])),
        ("device", tar(vec![("c/n", Other(EntryType::Char))])),
    ]
}

fn tar(items: Vec<(&'static str, Item)>) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, item) in items {
        let (kind, mode, contents, target) = match item {
            File(contents, mode) => (EntryType::Regular, mode, contents, None),
            Directory => (EntryType::Directory, 0o755, &b""[..], None),
            Symlink(target) => (EntryType::Symlink, 0o777, &b""[..], Some(target)),
            HardLink(target) => (EntryType::Link, 0o644, &b""[..], Some(target)),
            Other(kind) => (kind, 0o644, &b""[..], None),
        };
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(contents.len() as u64);
        if kind == EntryType::Char {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        if let Some(target) = target {
            put(
                &mut builder,
                b'K',
                target,
                header.as_old_mut().linkname.len(),
            );
            fill(&mut header.as_old_mut().linkname, target);
        }
        put(&mut builder, b'L', name, header.as_old_mut().name.len());
        // Not by the library's functions, which refuse what is wrong here on purpose.
        fill(&mut header.as_old_mut().name, name);
        header.set_cksum();
        builder.append(&header, contents).unwrap();
    }
    builder.into_inner().unwrap()
}

/// What doesn't fit into the header comes before it.
fn put(builder: &mut Builder<Vec<u8>>, kind: u8, text: &str, room: usize) {
    if text.len() < room {
        return;
    }
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::new(kind));
    fill(&mut header.as_old_mut().name, "././@LongLink");
    header.set_size(text.len() as u64 + 1);
    header.set_cksum();
    let text = [text.as_bytes(), b"\0"].concat();
    builder.append(&header, &text[..]).unwrap();
}

fn fill(field: &mut [u8], text: &str) {
    for (to, from) in field.iter_mut().zip(text.bytes()) {
        *to = from;
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn lzma(bytes: &[u8]) -> Vec<u8> {
    let options = liblzma::stream::LzmaOptions::new_preset(6).unwrap();
    let stream = liblzma::stream::Stream::new_lzma_encoder(&options).unwrap();
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const LONG: &str = "c/nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn\
    nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn/mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm";
