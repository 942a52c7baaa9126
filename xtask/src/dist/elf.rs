//! As much of a 64-bit little-endian ELF file as tells whether it is static.

use anyhow::{Context, Result, bail};

/// What the program headers and the dynamic section say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Linking {
    /// A dynamic loader is to start it (`PT_INTERP`).
    pub(super) has_interpreter: bool,
    /// It names shared libraries (`DT_NEEDED`).
    pub(super) needs_libraries: bool,
}

/// Reads the headers of a program.
pub(super) fn inspect(file: &[u8]) -> Result<Linking> {
    if !file.starts_with(b"\x7fELF\x02\x01") {
        bail!("this is no 64-bit little-endian ELF file");
    }
    let table = number::<8>(file, 0x20)?;
    let entry_size = number::<2>(file, 0x36)?;
    let count = number::<2>(file, 0x38)?;
    let mut found = Linking {
        has_interpreter: false,
        needs_libraries: false,
    };
    for index in 0..count {
        let at = table + index * entry_size;
        match number::<4>(file, at)? {
            PT_INTERP => found.has_interpreter = true,
            PT_DYNAMIC => {
                let start = number::<8>(file, at + 0x08)?;
                let size = number::<8>(file, at + 0x20)?;
                found.needs_libraries |= needs_libraries(file, start, size)?;
            }
            _ => {}
        }
    }
    Ok(found)
}

fn needs_libraries(file: &[u8], start: usize, size: usize) -> Result<bool> {
    for index in 0..size / 16 {
        match number::<8>(file, start + index * 16)? {
            DT_NULL => break,
            DT_NEEDED => return Ok(true),
            _ => {}
        }
    }
    Ok(false)
}

/// The little-endian number of `N` bytes at an offset.
fn number<const N: usize>(file: &[u8], at: usize) -> Result<usize> {
    let bytes = file
        .get(at..)
        .and_then(|rest| rest.get(..N))
        .context("the ELF headers point outside of the file")?;
    let mut wide = [0; 8];
    wide[..N].copy_from_slice(bytes);
    usize::try_from(u64::from_le_bytes(wide)).context("an ELF offset is too large")
}

const PT_DYNAMIC: usize = 2;
const PT_INTERP: usize = 3;
const DT_NULL: usize = 0;
const DT_NEEDED: usize = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_is_dynamic() {
        let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let expected = Linking {
            has_interpreter: true,
            needs_libraries: true,
        };
        assert_eq!(inspect(&file).unwrap(), expected);
    }

    #[test]
    fn a_cut_file_is_refused() {
        let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(inspect(&file[..100]).is_err());
        assert!(inspect(b"#!/bin/sh").is_err());
    }
}
