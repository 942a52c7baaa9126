//! SEC-24: what a key doesn't see is not valid for it.

use nix_base::{StorePath, StorePathSet, ValidPathInfo, WireRead};

use super::machine::{Machine, Talk, file, key, path, text};
use crate::policy::{Role, View};
use crate::proto::ServeVersion;
use crate::proto::path_info::read_path_info_item;
use crate::server::Rule;

type Object = (Vec<u8>, ValidPathInfo);

/// `base`, and `top` that refers to it.
fn closure() -> (Object, Object) {
    let base = text("base", b"base", &[]);
    let top = text("top", b"top", &[&base.1.path]);
    (base, top)
}

fn exposing(root: &StorePath) -> Role {
    Role {
        exposed: vec![root.clone()],
        view: View::Own,
        ..Role::read_only()
    }
}

#[test]
fn what_another_key_brought_is_not_valid_in_any_answer() {
    let m = Machine::new();
    let (base, top) = closure();
    let request = [Talk::add(&base.1, &base.0), Talk::add(&top.1, &top.0)].concat();
    m.talk(key("a"), &request).done();
    let (base, top) = (&base.1.path, &top.1.path);
    assert_eq!(m.valid(key("a"), &[base, top]).len(), 2);
    assert_eq!(m.valid(key("b"), &[base, top]), StorePathSet::new());
    let infos = m.talk(key("b"), &Talk::query_infos(&[base, top]));
    assert_eq!(infos.replies, 0_u64.to_le_bytes());
    // The words are those for paths that aren't there.
    for role in [key("b"), exposing(base)] {
        for request in [Talk::dump(top), Talk::query_closure(&[top], true)] {
            let hidden = m.talk(role.clone(), &request).error();
            assert_eq!(hidden, format!("path '{}' is not valid", m.dir.print(top)));
        }
    }
    assert_eq!(m.valid(Role::read_only(), &[base, top]).len(), 2);
}

#[test]
fn exposed_roots_show_their_closure_and_no_more() {
    let m = Machine::new();
    let (base, top) = closure();
    let other = text("other", b"other", &[]);
    for object in [&base, &top, &other] {
        m.put(object);
    }
    let role = exposing(&top.1.path);
    let seen = m.valid(role.clone(), &[&base.1.path, &top.1.path, &other.1.path]);
    assert_eq!(seen, [base.1.path.clone(), top.1.path.clone()].into());
    let talk = m.talk(role, &Talk::query_closure(&[&top.1.path], false));
    let mut replies = &talk.replies[..];
    assert_eq!(replies.read_path_set("", &m.dir).unwrap(), seen);
    // Beside what it brings itself.
    let mut role = key("a");
    role.exposed = vec![base.1.path.clone()];
    assert!(m.sees(role.clone(), &base.1.path) && !m.sees(role, &top.1.path));
}

#[test]
fn nothing_hidden_is_referred_to() {
    let m = Machine::new();
    let (base, top) = closure();
    m.put(&base);
    let talk = m.talk(key("a"), &Talk::add(&top.1, b""));
    let expected = format!("path '{}' is not valid", m.dir.print(&base.1.path));
    assert_eq!(talk.error(), expected);
    // Once it was brought as well, it is no secret.
    let request = [Talk::add(&base.1, &base.0), Talk::add(&top.1, &top.0)].concat();
    m.talk(key("a"), &request).done();
    assert!(m.sees(key("a"), &top.1.path));
}

#[test]
fn what_is_valid_but_hidden_is_seen_once_it_was_brought_whole() {
    let m = Machine::new();
    let big = vec![b'x'; 400_000];
    let object = text("x", &big, &[]);
    m.put(&object);
    let mut cut = Talk::add(&object.1, &object.0);
    cut.truncate(cut.len() - 8);
    m.talk(key("a"), &cut).result.unwrap_err();
    assert!(!m.sees(key("a"), &object.1.path));
    m.talk(key("a"), &Talk::add(&object.1, &object.0)).done();
    assert!(m.sees(key("a"), &object.1.path));
}

#[test]
fn other_contents_at_a_hidden_path_are_not_shown() {
    let m = Machine::new();
    let secret = nix_base::SecretKey::from_seed("k", &[7; 32]);
    m.put(&file("x", b"secret"));
    let (nar, mut info) = file("x", b"mine");
    info.sign(&m.dir, &secret);
    let role = Role {
        trusted_keys: vec![secret.public_key()],
        ..key("a")
    };
    let talk = m.talk(role.clone(), &Talk::add(&info, &nar));
    assert_eq!(talk.refusal().rule, Rule::View);
    assert!(talk.replies.is_empty());
    assert!(!m.sees(role, &info.path));
}

#[test]
fn keys_share_a_view_only_if_all_of_them_do() {
    let m = Machine::new();
    let object = text("x", b"x", &[]);
    let shared = |name| Role {
        shared_view: true,
        ..key(name)
    };
    m.talk(shared("a"), &Talk::add(&object.1, &object.0)).done();
    assert!(m.sees(shared("b"), &object.1.path));
    assert!(!m.sees(key("b"), &object.1.path));
    assert!(!m.sees(key("shared"), &object.1.path));
}

#[test]
fn a_deriver_that_is_hidden_is_not_told() {
    let m = Machine::new();
    let (nar, mut info) = text("x", b"x", &[]);
    info.info.deriver = Some(path("x.drv"));
    m.put(&(nar.clone(), info.clone()));
    m.talk(key("a"), &Talk::add(&info, &nar)).done();
    let deriver = |role| {
        let talk = m.talk(role, &Talk::query_infos(&[&info.path]));
        let item = read_path_info_item(&m.dir, ServeVersion::v2(8), &mut &talk.replies[..]);
        item.unwrap().unwrap().info.deriver
    };
    assert_eq!(deriver(key("a")), None);
    assert_eq!(deriver(Role::read_only()), info.info.deriver);
}

#[test]
fn a_derivation_that_leaves_out_references_asks_for_nothing_hidden() {
    let m = Machine::new();
    let (source, base) = (text("source", b"source", &[]), path("base.drv"));
    m.put(&source);
    let names = |input: &StorePath| {
        format!(
            "Derive([(\"out\",\"\",\"r:sha256\",\"\")],[],[\"{}\"],\"x\",\"/x\",[],[])",
            m.dir.print(input)
        )
    };
    for input in [&source.1.path, &base] {
        let (nar, info) = text("x.drv", names(input).as_bytes(), &[]);
        let talk = m.talk(key("a"), &Talk::add(&info, &nar));
        let expected = format!("path '{}' is not valid", m.dir.print(input));
        assert_eq!(talk.error(), expected);
    }
}
