//! Sizes for people.

/// `bytes` with a unit and one digit behind the point.
// Nix compat: as since 2.34.
pub(crate) fn rendered(bytes: u64) -> String {
    let mut tenths = u128::from(bytes) * 10;
    let mut divisor: u128 = 1 << 10;
    let mut units = UNITS.iter();
    let mut unit = units.next().unwrap_or(&"");
    for next in units {
        if u128::from(bytes) < divisor << 10 {
            break;
        }
        divisor <<= 10;
        unit = next;
    }
    tenths = (tenths + divisor / 2) / divisor;
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_largest_unit_that_is_not_less_than_one() {
        assert_eq!(rendered(0), "0.0 KiB");
        assert_eq!(rendered(100_000), "97.7 KiB");
        assert_eq!(rendered(3_000_000), "2.9 MiB");
        assert_eq!(rendered(1 << 20), "1.0 MiB");
        assert_eq!(rendered((1 << 20) - 1), "1024.0 KiB");
        assert_eq!(rendered(u64::MAX), "16.0 EiB");
    }
}
