//! Tests of this module.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

const A: &str = "00000000000000000000000000000000";
const B: &str = "i9pmrzmpshapij2kin22pff6fc2adavx";

fn hash(text: &str) -> StorePathHash {
    StorePathHash::from_digits(text.as_bytes()).unwrap()
}

fn find(extent: Extent, make: impl FnOnce(&std::path::Path)) -> Vec<Place> {
    let dir = tempfile::tempdir().unwrap();
    make(&dir.path().join("x"));
    let parent = fs::File::open(dir.path()).unwrap();
    find_hashes(parent.as_fd(), OsStr::new("x"), [hash(A), hash(B)], extent).unwrap()
}

fn brief(places: &[Place]) -> Vec<String> {
    let brief = |place: &Place| {
        let hash = &place.hash.as_str()[..1];
        let Place {
            path,
            offset,
            count,
            excerpt,
            ..
        } = place;
        format!("{hash} {path} {offset} {count} {excerpt}")
    };
    places.iter().map(brief).collect()
}

#[test]
fn finds_files_and_symlinks_in_the_order_of_archives() {
    let make = |root: &std::path::Path| {
        fs::create_dir_all(root.join("b")).unwrap();
        fs::write(root.join("b/c"), format!("\x01see /s/{B}-b\n{B}")).unwrap();
        fs::write(root.join("b.d"), A).unwrap();
        symlink(format!("../{A}-a"), root.join("a")).unwrap();
    };
    let all = [
        format!("0 a 3 1 ../{A}-a"),
        format!("i b/c 8 2 see /s/{B}-b"),
        format!("0 b.d 0 1 {A}"),
    ];
    let found = brief(&find(Extent::All, make));
    assert_eq!(found, all);
    let first = brief(&find(Extent::First, make));
    assert_eq!(first.len(), 2);
}

#[test]
fn a_root_that_is_a_file_has_an_empty_path() {
    let found = find(Extent::All, |root| fs::write(root, B).unwrap());
    assert_eq!(brief(&found), [format!("i  0 1 {B}")]);
}

#[test]
fn finds_hashes_across_the_edges_of_blocks_once() {
    for shift in [0, 1, 16, 31, 32] {
        let start = BLOCK - shift;
        let found = find(Extent::All, |root| {
            let mut contents = vec![0; start];
            contents.extend_from_slice(B.as_bytes());
            contents.resize(2 * BLOCK, 0);
            fs::write(root, contents).unwrap();
        });
        assert_eq!(brief(&found), [format!("i  {start} 1 {B}")]);
    }
}
