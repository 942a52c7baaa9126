//! JSON text as real Nix writes it: compact, keys in ascending order, and floating
//! point numbers in the manner of its library.

use serde_json::{Number, Value};

/// `value` as a text.
///
/// The depth is that of a value which was parsed, and the parser bounds it.
pub fn render_canonical(value: &Value) -> String {
    let mut text = String::new();
    render(value, &mut text);
    text
}

fn render(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    text.push(',');
                }
                render(item, text);
            }
            text.push(']');
        }
        Value::Object(members) => {
            text.push('{');
            for (n, (key, member)) in members.iter().enumerate() {
                if n > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                render(member, text);
            }
            text.push('}');
        }
        Value::Number(number) => text.push_str(&render_number(number)),
        Value::Null | Value::Bool(_) | Value::String(_) => text.push_str(&value.to_string()),
    }
}

/// Integers as they are; other numbers with as few digits as tell them apart, plain
/// between 0.0001 and 10^15 and with an exponent of two digits or more outside.
fn render_number(number: &Number) -> String {
    let shortest = number.to_string();
    if !number.is_f64() {
        return shortest;
    }
    let (sign, shortest) = match shortest.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", shortest.as_str()),
    };
    let (mantissa, exponent) = shortest.split_once(['e', 'E']).unwrap_or((shortest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let leading = all.len() - all.trim_start_matches('0').len();
    let digits = all[leading..].trim_end_matches('0');
    if digits.is_empty() {
        return format!("{sign}0.0");
    }
    // The value is 0.digits times ten to the power of `point`.
    let point =
        exponent.parse::<i32>().unwrap_or(0) + len(whole) - i32::try_from(leading).unwrap_or(0);
    format!("{sign}{}", place_point(digits, point))
}

fn place_point(digits: &str, point: i32) -> String {
    let count = len(digits);
    if count <= point && point <= MAX_PLAIN {
        let zeros = "0".repeat(usize::try_from(point - count).unwrap_or(0));
        return format!("{digits}{zeros}.0");
    }
    if 0 < point && point <= MAX_PLAIN {
        let (whole, fraction) = digits.split_at(usize::try_from(point).unwrap_or(0));
        return format!("{whole}.{fraction}");
    }
    if MIN_PLAIN < point && point <= 0 {
        let zeros = "0".repeat(usize::try_from(-point).unwrap_or(0));
        return format!("0.{zeros}{digits}");
    }
    let (first, rest) = digits.split_at(1);
    let dot = if rest.is_empty() { "" } else { "." };
    let exponent = point - 1;
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{first}{dot}{rest}e{sign}{:02}", exponent.abs())
}

fn len(digits: &str) -> i32 {
    i32::try_from(digits.len()).unwrap_or(i32::MAX)
}

/// Most digits before the point without an exponent.
const MAX_PLAIN: i32 = 15;
/// One less than the least power of ten without an exponent.
const MIN_PLAIN: i32 = -4;

#[cfg(test)]
mod tests {
    use super::*;

    fn again(text: &str) -> String {
        render_canonical(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn numbers_are_written_as_real_nix_writes_them() {
        for (given, written) in [
            ("1", "1"),
            ("-7", "-7"),
            ("18446744073709551615", "18446744073709551615"),
            ("1.0", "1.0"),
            ("0.0", "0.0"),
            ("-0.0", "-0.0"),
            ("1.50", "1.5"),
            ("1e2", "100.0"),
            ("123456789012345.0", "123456789012345.0"),
            ("1e15", "1e+15"),
            ("1e14", "100000000000000.0"),
            ("1e20", "1e+20"),
            ("1.25e100", "1.25e+100"),
            ("0.001", "0.001"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("1.5e-7", "1.5e-07"),
            ("3.141592653589793", "3.141592653589793"),
        ] {
            assert_eq!(again(given), written, "{given}");
        }
    }

    #[test]
    fn keys_are_sorted_and_white_space_is_gone() {
        assert_eq!(
            again("{ \"b\": [1, true, null], \"a\": \"x\\u0001\\/\\u00e9\\n\" }"),
            "{\"a\":\"x\\u0001/é\\n\",\"b\":[1,true,null]}"
        );
    }
}
