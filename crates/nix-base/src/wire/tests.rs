use super::*;

fn written(f: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Vec<u8> {
    let mut out = Vec::new();
    f(&mut out).unwrap();
    out
}

#[test]
fn strings_are_padded_with_zeros() {
    assert_eq!(written(|w| w.write_str("")), [0; 8]);
    assert_eq!(
        written(|w| w.write_str("abc")),
        [3, 0, 0, 0, 0, 0, 0, 0, b'a', b'b', b'c', 0, 0, 0, 0, 0]
    );
    let eight = written(|w| w.write_str("12345678"));
    assert_eq!(eight.len(), 16);
    assert_eq!((&eight[..]).read_bytes("x", 8).unwrap(), b"12345678");
}

#[test]
fn padding_must_be_zero() {
    let mut bytes = written(|w| w.write_str("abc"));
    *bytes.last_mut().unwrap() = 1;
    assert!(matches!(
        (&bytes[..]).read_bytes("x", 8),
        Err(WireError::NonZeroPadding("x"))
    ));
}

#[test]
fn hostile_lengths_allocate_nothing() {
    for len in [1 << 20, 1 << 31, 1 << 63, u64::MAX - 7, u64::MAX] {
        let mut buffer = Vec::new();
        let header = len.to_le_bytes();
        let error = (&header[..])
            .read_bytes_into("x", u64::MAX, &mut buffer)
            .unwrap_err();
        assert!(error.is_eof(), "{error}");
        assert!(buffer.capacity() <= 2 * READ_AHEAD);
        assert!((&header[..]).read_bytes("x", 100).is_err());
        assert!(
            (&header[..])
                .read_path_set("x", &StoreDir::default())
                .is_err()
        );
    }
}

#[test]
fn integers_have_their_ranges() {
    let big = (1u64 << 32).to_le_bytes();
    assert!((&big[..]).read_int("x").is_err());
    assert!((&big[..]).read_bool("x").is_err());
    let two = 2u64.to_le_bytes();
    assert!((&two[..]).read_bool("x").unwrap());
    assert!((&u64::MAX.to_le_bytes()[..]).read_time("x").is_err());
    assert_eq!(written(|w| w.write_time(-1)), [255; 8]);
}

#[test]
fn sets_of_paths_are_sorted_on_the_wire_and_read_in_any_order() {
    let dir = StoreDir::default();
    let a = dir
        .parse("/nix/store/00000000000000000000000000000000-a")
        .unwrap();
    let b = dir
        .parse("/nix/store/10000000000000000000000000000000-b")
        .unwrap();
    let set: StorePathSet = [b.clone(), a.clone()].into();
    let bytes = written(|w| w.write_path_set(&dir, &set));
    assert_eq!((&bytes[..]).read_path_set("x", &dir).unwrap(), set);
    let backwards = written(|w| {
        w.write_u64(3)?;
        w.write_path(&dir, &b)?;
        w.write_path(&dir, &a)?;
        w.write_path(&dir, &a)
    });
    assert_eq!((&backwards[..]).read_path_set("x", &dir).unwrap(), set);
    assert_eq!(written(|w| w.write_optional_path(&dir, None)), [0; 8]);
}

#[test]
fn paths_of_any_length_are_padded_strings() {
    for dir_len in [1, 40, 90, 120, 300] {
        let dir = StoreDir::new(&format!("/{}", "d".repeat(dir_len))).unwrap();
        for name_len in [1, 2, 7, 8, 9, 63, 64, 65, 211] {
            let base = format!("{}-{}", "0".repeat(32), "n".repeat(name_len));
            let path = StorePath::from_base_name(&base).unwrap();
            assert_eq!(
                written(|w| w.write_path(&dir, &path)),
                written(|w| w.write_str(&dir.print(&path)))
            );
        }
    }
}
