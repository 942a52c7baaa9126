//! The canonical printer.

use std::collections::BTreeMap;

use memchr::{memchr2_iter, memchr3_iter};
use nix_base::{HashFormat, OutputName, StoreDir, StorePath, StorePathSet};

use super::DYNAMIC_VERSION;
use crate::derivation::{BasicDerivation, Derivation, DerivationOutput, InputNode};
use crate::error::Result;
use crate::outputs::output_path_of_fixed;

/// Whether output paths are left out, as the hash that they follow from has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masked {
    /// Output paths, and environment variables named like outputs, become empty.
    Yes,
    /// All is there.
    No,
}

/// The text of a derivation.
pub(crate) fn print(drv: &Derivation, store_dir: &StoreDir, masked: Masked) -> Result<Vec<u8>> {
    let mut printer = Printer::with_capacity(estimate(drv, store_dir));
    printer.derivation(&drv.basic, drv.is_dynamic(), store_dir, masked, |printer| {
        let mut sep = b'[';
        for (path, node) in &drv.input_drvs {
            printer.byte(sep);
            printer.raw(b"(\"");
            printer.path(store_dir, path);
            printer.raw(b"\",");
            printer.node(node);
            printer.byte(b')');
            sep = b',';
        }
        printer.close(sep);
    })?;
    Ok(printer.finish())
}

/// A little more than the text will have, so that it is allocated once.
fn estimate(drv: &Derivation, store_dir: &StoreDir) -> usize {
    let path_len = |path: &StorePath| store_dir.full_len(path) + 16;
    let outputs = drv.outputs.len() * (store_dir.as_str().len() + 320);
    let inputs: usize = drv
        .input_drvs
        .iter()
        .map(|(path, node)| path_len(path) + 16 * (node.outputs.len() + node.children.len()))
        .sum();
    let srcs: usize = drv.input_srcs.iter().map(path_len).sum();
    let args: usize = drv.args.iter().map(|arg| arg.len() + 4).sum();
    let env: usize = drv
        .env
        .iter()
        .map(|(name, value)| name.len() + value.len() + 8)
        .sum();
    let strings = args + env + drv.platform.len() + drv.builder.len();
    // An escape doubles its byte; the share of those is small.
    64 + outputs + inputs + srcs + strings + strings / 16
}

/// Writes pieces of derivations, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Printer {
    out: Vec<u8>,
}

impl Printer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self {
            out: Vec::with_capacity(bytes),
        }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.out
    }

    /// A whole derivation, whose list of input derivations `inputs` writes.
    pub(crate) fn derivation(
        &mut self,
        drv: &BasicDerivation,
        is_dynamic: bool,
        store_dir: &StoreDir,
        masked: Masked,
        inputs: impl FnOnce(&mut Self),
    ) -> Result<()> {
        self.head(is_dynamic);
        self.parts(drv, &drv.input_srcs, store_dir, masked, inputs)
    }

    /// A derivation that has `sources` in place of its own ones.
    pub(crate) fn derivation_with_sources(
        &mut self,
        drv: &BasicDerivation,
        sources: &StorePathSet,
        store_dir: &StoreDir,
        masked: Masked,
        inputs: impl FnOnce(&mut Self),
    ) -> Result<()> {
        self.head(false);
        self.parts(drv, sources, store_dir, masked, inputs)
    }

    /// All that follows the opening word.
    fn parts(
        &mut self,
        drv: &BasicDerivation,
        sources: &StorePathSet,
        store_dir: &StoreDir,
        masked: Masked,
        inputs: impl FnOnce(&mut Self),
    ) -> Result<()> {
        self.outputs(drv, store_dir, masked)?;
        self.byte(b',');
        inputs(self);
        self.byte(b',');
        self.tail(drv, sources, store_dir, masked);
        Ok(())
    }

    /// The opening word.
    fn head(&mut self, is_dynamic: bool) {
        if is_dynamic {
            self.raw(b"DrvWithVersion(\"");
            self.raw(DYNAMIC_VERSION.as_bytes());
            self.raw(b"\",");
        } else {
            self.raw(b"Derive(");
        }
    }

    fn outputs(
        &mut self,
        drv: &BasicDerivation,
        store_dir: &StoreDir,
        masked: Masked,
    ) -> Result<()> {
        let mut sep = b'[';
        for (name, output) in &drv.outputs {
            self.byte(sep);
            self.output(drv, store_dir, masked, name, output)?;
            sep = b',';
        }
        self.close(sep);
        Ok(())
    }

    fn output(
        &mut self,
        drv: &BasicDerivation,
        store_dir: &StoreDir,
        masked: Masked,
        name: &OutputName,
        output: &DerivationOutput,
    ) -> Result<()> {
        self.raw(b"(\"");
        self.raw(name.as_str().as_bytes());
        self.raw(b"\",\"");
        let shown = |path| (masked == Masked::No).then_some(path);
        match output {
            DerivationOutput::InputAddressed(path) => {
                if let Some(path) = shown(path) {
                    self.path(store_dir, path);
                }
                self.raw(b"\",\"\",\"");
            }
            DerivationOutput::CaFixed(ca) => {
                if masked == Masked::No {
                    let path = output_path_of_fixed(store_dir, &drv.name, name, ca)?;
                    self.path(store_dir, &path);
                }
                self.raw(b"\",\"");
                self.raw(ca.method.prefix().as_bytes());
                self.raw(ca.hash.algo().as_str().as_bytes());
                self.raw(b"\",\"");
                self.raw(ca.hash.render(HashFormat::Base16).as_bytes());
            }
            DerivationOutput::CaFloating { method, algo }
            | DerivationOutput::Impure { method, algo } => {
                self.raw(b"\",\"");
                self.raw(method.prefix().as_bytes());
                self.raw(algo.as_str().as_bytes());
                self.raw(b"\",\"");
                if matches!(output, DerivationOutput::Impure { .. }) {
                    self.raw(b"impure");
                }
            }
            DerivationOutput::Deferred => self.raw(b"\",\"\",\""),
        }
        self.raw(b"\")");
        Ok(())
    }

    /// All that follows the input derivations.
    fn tail(
        &mut self,
        drv: &BasicDerivation,
        sources: &StorePathSet,
        store_dir: &StoreDir,
        masked: Masked,
    ) {
        let mut sep = b'[';
        for src in sources {
            self.byte(sep);
            self.byte(b'"');
            self.path(store_dir, src);
            self.byte(b'"');
            sep = b',';
        }
        self.close(sep);
        // Nix compat: the platform is written without escapes since 2.4.
        self.raw(b",\"");
        self.raw(&drv.platform);
        self.raw(b"\",\"");
        self.escaped(&drv.builder);
        self.raw(b"\",");
        let mut sep = b'[';
        for arg in &drv.args {
            self.byte(sep);
            self.byte(b'"');
            self.escaped(arg);
            self.byte(b'"');
            sep = b',';
        }
        self.close(sep);
        self.byte(b',');
        self.env(drv, masked);
        self.byte(b')');
    }

    fn env(&mut self, drv: &BasicDerivation, masked: Masked) {
        let is_blank = |name: &[u8]| masked == Masked::Yes && names_output(&drv.outputs, name);
        let mut sep = b'[';
        for (name, value) in &drv.env {
            self.byte(sep);
            self.raw(b"(\"");
            self.escaped(name);
            self.raw(b"\",\"");
            if !is_blank(name) {
                self.escaped(value);
            }
            self.raw(b"\")");
            sep = b',';
        }
        self.close(sep);
    }

    /// The wanted outputs of one input, plain or nested.
    ///
    /// The depth is that of a value in memory, which the parsers bound.
    fn node(&mut self, node: &InputNode) {
        if node.children.is_empty() {
            return self.names(node.outputs.iter());
        }
        self.byte(b'(');
        self.names(node.outputs.iter());
        self.byte(b',');
        let mut sep = b'[';
        for (name, child) in &node.children {
            self.byte(sep);
            self.raw(b"(\"");
            self.raw(name.as_str().as_bytes());
            self.raw(b"\",");
            self.node(child);
            self.byte(b')');
            sep = b',';
        }
        self.close(sep);
        self.byte(b')');
    }

    /// A list of output names.
    pub(crate) fn names<'n>(&mut self, names: impl Iterator<Item = &'n OutputName>) {
        let mut sep = b'[';
        for name in names {
            self.byte(sep);
            self.byte(b'"');
            self.raw(name.as_str().as_bytes());
            self.byte(b'"');
            sep = b',';
        }
        self.close(sep);
    }

    /// Ends a list whose next separator would be `sep`.
    pub(crate) fn close(&mut self, sep: u8) {
        if sep == b'[' {
            self.byte(b'[');
        }
        self.byte(b']');
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.out.push(byte);
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(crate) fn path(&mut self, store_dir: &StoreDir, path: &StorePath) {
        self.raw(store_dir.as_str().as_bytes());
        self.byte(b'/');
        self.raw(path.hash().as_bytes());
        self.byte(b'-');
        self.raw(path.name().as_str().as_bytes());
    }

    /// The inside of a string, with escapes where they are due.
    pub(crate) fn escaped(&mut self, bytes: &[u8]) {
        if bytes.len() < SHORT {
            let takes_none = bytes.iter().fold(true, |none, &b| none & !takes_escape(b));
            if takes_none {
                return self.raw(bytes);
            }
        }
        // memchr knows three needles at most: the two rare ones are split off first.
        let mut done = 0;
        for at in memchr2_iter(b'\r', b'\t', bytes) {
            self.escaped_but_rare(&bytes[done..at]);
            self.raw(if bytes[at] == b'\r' { b"\\r" } else { b"\\t" });
            done = at + 1;
        }
        self.escaped_but_rare(&bytes[done..]);
    }

    /// The same without carriage returns and tabs.
    fn escaped_but_rare(&mut self, bytes: &[u8]) {
        let mut done = 0;
        for at in memchr3_iter(b'"', b'\\', b'\n', bytes) {
            self.raw(&bytes[done..at]);
            self.raw(match bytes[at] {
                b'"' => b"\\\"",
                b'\n' => b"\\n",
                _ => b"\\\\",
            });
            done = at + 1;
        }
        self.raw(&bytes[done..]);
    }
}

/// Whether `name` is that of an output.
fn names_output<V>(outputs: &BTreeMap<OutputName, V>, name: &[u8]) -> bool {
    outputs
        .keys()
        .any(|output| output.as_str().as_bytes() == name)
}

/// Whether a byte is written with a backslash.
fn takes_escape(byte: u8) -> bool {
    (byte == b'"') | (byte == b'\\') | (byte == b'\n') | (byte == b'\r') | (byte == b'\t')
}

/// Below this length a string is quicker looked through than searched.
const SHORT: usize = 32;
