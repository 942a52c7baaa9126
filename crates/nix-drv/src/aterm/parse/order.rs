//! The order of lists that stand for sets and maps: ascending, by bytes.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Range;

use nom::Err;

use super::{Fault, Reason};
use crate::aterm::{RawDerivation, RawNode};

/// Checks all lists of a derivation.
pub(super) fn check_order<'a>(parsed: &RawDerivation<'a>) -> Result<(), Err<Fault>> {
    let spans = &parsed.spans;
    ascending(
        parsed,
        "outputs",
        &spans.outputs,
        parsed.outputs.iter().map(|o| &o.name),
    )?;
    ascending(
        parsed,
        "input derivations",
        &spans.input_drvs,
        parsed.input_drvs.iter().map(|d| &d.path),
    )?;
    for input in &parsed.input_drvs {
        ascending(
            parsed,
            "wanted outputs",
            &spans.input_drvs,
            parsed.wanted(input).iter(),
        )?;
        check_children(parsed, &input.children)?;
    }
    ascending(
        parsed,
        "sources",
        &spans.input_srcs,
        parsed.input_srcs.iter(),
    )?;
    ascending(
        parsed,
        "environment variables",
        &spans.env,
        parsed.env.iter().map(|v| &v.name),
    )?;
    if parsed.is_versioned && !parsed.is_dynamic() {
        return Err(Err::Failure(Fault {
            rest: parsed.text.len(),
            reason: Reason::NeedlessVersion,
        }));
    }
    Ok(())
}

/// The same inside nested nodes, whose depth the grammar has bounded.
fn check_children<'a>(
    parsed: &RawDerivation<'a>,
    children: &[(Cow<'a, [u8]>, RawNode<'a>)],
) -> Result<(), Err<Fault>> {
    let span = &parsed.spans.input_drvs;
    ascending(
        parsed,
        "wanted outputs",
        span,
        children.iter().map(|(name, _)| name),
    )?;
    for (_, node) in children {
        ascending(parsed, "wanted outputs", span, node.outputs.iter())?;
        check_children(parsed, &node.children)?;
    }
    Ok(())
}

fn ascending<'p, 'a: 'p>(
    parsed: &RawDerivation<'a>,
    list: &'static str,
    part: &Range<usize>,
    items: impl Iterator<Item = &'p Cow<'a, [u8]>>,
) -> Result<(), Err<Fault>> {
    let mut previous: Option<&Cow<'a, [u8]>> = None;
    for item in items {
        let order = previous.map(|previous| previous.as_ref().cmp(item.as_ref()));
        let reason = match order {
            None | Some(Ordering::Less) => {
                previous = Some(item);
                continue;
            }
            Some(Ordering::Equal) => Reason::Duplicate {
                list,
                item: item.to_vec().into(),
            },
            Some(Ordering::Greater) => Reason::OutOfOrder {
                list,
                item: item.to_vec().into(),
            },
        };
        let rest = parsed.text.len() - parsed.offset_of(item, part);
        return Err(Err::Failure(Fault { rest, reason }));
    }
    Ok(())
}
