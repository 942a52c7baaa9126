//! What an attribute may refer to.

use std::collections::HashMap;

use bstr::{BString, ByteSlice};
use nix_base::{OutputName, StoreDir, StorePath};

use super::OptionError;
use crate::error::Result;
use crate::outputs::Placeholder;

/// A store object that an attribute speaks of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OptionRef {
    /// An output of the derivation itself.
    Own(OutputName),
    /// An object in the store.
    Path(StorePath),
    /// An output of an input derivation, whose path isn't known yet.
    Input {
        /// The input derivation.
        drv: StorePath,
        /// Its output.
        output: OutputName,
    },
}

/// How the words in attributes are understood.
#[derive(Debug)]
pub struct References<'s> {
    store_dir: &'s StoreDir,
    placeholders: HashMap<String, (StorePath, OutputName)>,
}

impl<'s> References<'s> {
    /// Without input derivations.
    pub fn new(store_dir: &'s StoreDir) -> Self {
        Self {
            store_dir,
            placeholders: HashMap::new(),
        }
    }

    /// The placeholder of this output stands for it.
    ///
    /// # Errors
    /// As [`Placeholder::of_input`].
    pub fn add_input(&mut self, drv: &StorePath, output: &OutputName) -> Result<()> {
        let placeholder = Placeholder::of_input(drv, output)?.to_string();
        self.placeholders
            .insert(placeholder, (drv.clone(), output.clone()));
        Ok(())
    }

    /// A path at or below a store object, or a placeholder with the like.
    pub(super) fn object(&self, text: &[u8]) -> Option<OptionRef> {
        let text = text.to_str().ok()?;
        let below = text.strip_prefix('/')?;
        let first = &text[..=below.find('/').unwrap_or(below.len())];
        if let Some((drv, output)) = self.placeholders.get(first) {
            return Some(OptionRef::Input {
                drv: drv.clone(),
                output: output.clone(),
            });
        }
        let (path, _) = self.store_dir.parse_in_store(text).ok()?;
        Some(OptionRef::Path(path))
    }

    /// An object, or the name of an own output.
    pub(super) fn object_or_output(
        &self,
        text: &[u8],
        attribute: impl FnOnce() -> String,
    ) -> Result<OptionRef, OptionError> {
        let found = if text.starts_with(b"/") {
            self.object(text)
        } else {
            let name = text
                .to_str()
                .ok()
                .and_then(|name| OutputName::new(name).ok());
            name.map(OptionRef::Own)
        };
        found.ok_or_else(|| OptionError::Reference {
            attribute: attribute(),
            reference: BString::from(text),
        })
    }
}
