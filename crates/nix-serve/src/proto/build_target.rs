//! What is to be built: a derivation's outputs, or a path that is only to be there.

use std::collections::BTreeSet;

use nix_base::store_path::NameError;
use nix_base::{OutputName, StoreDir, StorePath, StorePathError};

/// An item of `BuildPaths`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum BuildTarget {
    /// An object that is to be valid: `path`.
    Path(StorePath),
    /// Outputs of a derivation: `drv`, `drv!*` or `drv!out1,out2`.
    Outputs {
        /// The derivation.
        drv: StorePath,
        /// Which of its outputs.
        outputs: WantedOutputs,
    },
}

/// Some outputs of a derivation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum WantedOutputs {
    /// Every one.
    All,
    /// These; at least one.
    Names(BTreeSet<OutputName>),
}

/// A text that is no [`BuildTarget`].
#[derive(Debug, thiserror::Error)]
pub enum BuildTargetError {
    /// It doesn't begin with a store path.
    #[error(transparent)]
    Path(#[from] StorePathError),
    /// A word behind the separator can't be the name of an output.
    #[error("'{name}' is not the name of an output")]
    Output {
        /// The word.
        name: String,
        /// Why not.
        #[source]
        source: NameError,
    },
    /// Outputs of something that isn't a derivation.
    #[error("'{0}' is not a derivation, so it has no outputs to choose from")]
    NotADerivation(String),
}

impl BuildTarget {
    /// Parses an item; `^` separates as well as `!`.
    ///
    /// # Errors
    /// The text isn't of one of the forms above.
    pub fn parse(text: &str, dir: &StoreDir) -> Result<Self, BuildTargetError> {
        match text.split_once(['!', '^']) {
            Some((path, outputs)) => Self::with_outputs(dir.parse(path)?, outputs, dir),
            None => Ok(Self::of_path(dir.parse(text)?)),
        }
    }

    /// The object, or all outputs if it is a derivation.
    #[must_use]
    pub fn of_path(path: StorePath) -> Self {
        match path.is_derivation() {
            // Nix compat: since 2.4.
            true => Self::Outputs {
                drv: path,
                outputs: WantedOutputs::All,
            },
            false => Self::Path(path),
        }
    }

    /// Outputs of `drv` from the words behind the separator: `*`, or names with commas.
    ///
    /// # Errors
    /// It isn't a derivation, or a word can't be the name of an output.
    pub fn with_outputs(
        drv: StorePath,
        outputs: &str,
        dir: &StoreDir,
    ) -> Result<Self, BuildTargetError> {
        if !drv.is_derivation() {
            return Err(BuildTargetError::NotADerivation(dir.print(&drv)));
        }
        let outputs = match outputs {
            "*" => WantedOutputs::All,
            names => WantedOutputs::Names(
                names
                    .split(',')
                    .map(|name| {
                        OutputName::new(name).map_err(|source| BuildTargetError::Output {
                            name: name.to_owned(),
                            source,
                        })
                    })
                    .collect::<Result<_, _>>()?,
            ),
        };
        Ok(Self::Outputs { drv, outputs })
    }

    /// The path of the derivation or object.
    #[must_use]
    pub const fn path(&self) -> &StorePath {
        match self {
            Self::Path(path) | Self::Outputs { drv: path, .. } => path,
        }
    }

    /// The item as servers of every release read it.
    #[must_use]
    pub fn print(&self, dir: &StoreDir) -> String {
        match self {
            Self::Path(path) => dir.print(path),
            Self::Outputs { drv, outputs } => match outputs {
                // Nix 2.3 doesn't know '*'.
                WantedOutputs::All => dir.print(drv),
                WantedOutputs::Names(names) => {
                    let names: Vec<&str> = names.iter().map(OutputName::as_str).collect();
                    format!("{}!{}", dir.print(drv), names.join(","))
                }
            },
        }
    }
}

impl WantedOutputs {
    /// Whether the output called `name` is wanted.
    #[must_use]
    pub fn contains(&self, name: &OutputName) -> bool {
        match self {
            Self::All => true,
            Self::Names(names) => names.contains(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRV: &str = "/nix/store/0127k303nfrwsqmlnx96lslb3y8q82yf-a.drv";
    const PATH: &str = "/nix/store/vr92cq7f0wz5z2w04pd8yg6aqgbh9xm4-a";

    fn parse(text: &str) -> Result<BuildTarget, BuildTargetError> {
        BuildTarget::parse(text, &StoreDir::default())
    }

    fn printed(text: &str) -> String {
        parse(text).unwrap().print(&StoreDir::default())
    }

    #[test]
    fn a_bare_derivation_means_all_its_outputs() {
        assert_eq!(parse(DRV).unwrap(), parse(&format!("{DRV}!*")).unwrap());
        assert_eq!(printed(&format!("{DRV}^*")), DRV);
        assert_eq!(printed(PATH), PATH);
    }

    #[test]
    fn outputs_are_a_set_behind_either_separator() {
        assert_eq!(
            printed(&format!("{DRV}^out,dev,out")),
            format!("{DRV}!dev,out")
        );
    }

    #[test]
    fn refuses_what_has_no_outputs_and_what_is_no_name() {
        for bad in [
            format!("{PATH}!out"),
            format!("{DRV}!"),
            format!("{DRV}!out,"),
            format!("{DRV}!a!b"),
            "a.drv".to_owned(),
            String::new(),
        ] {
            assert!(parse(&bad).is_err(), "{bad}");
        }
    }
}
