//! Not written yet.
use crate::args::Args;
use anyhow::{Result, bail};
pub(crate) fn run(_args: &Args) -> Result<()> {
    bail!("not written yet")
}
