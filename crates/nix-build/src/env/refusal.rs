//! Attributes that can't be used, as a failure of the build.

use nix_base::{BuildStatus, StoreDir, StorePath};
use nix_drv::Error;
use nix_drv::options::OptionError;

use crate::failure::BuildFailure;

/// The failure of a build whose attributes can't be read, in real Nix's words where it has
/// some.
#[must_use]
pub fn options_failure(store_dir: &StoreDir, drv_path: &StorePath, error: &Error) -> BuildFailure {
    let text = match error {
        Error::Json(wrong) => {
            let cause = std::error::Error::source(wrong);
            let cause = cause.map_or_else(|| wrong.to_string(), ToString::to_string);
            format!("cannot process __json attribute of '{drv_path}': {cause}")
        }
        Error::Option(OptionError::Type { attribute, .. })
            if attribute.starts_with("exportReferencesGraph") =>
        {
            "'exportReferencesGraph' value is not an array or a string".to_owned()
        }
        Error::Option(OptionError::Type {
            attribute,
            expected,
        }) => format!("attribute '{attribute}' of derivation '{drv_path}' must be {expected}"),
        Error::Option(OptionError::Reference {
            attribute,
            reference,
        }) if attribute.starts_with("exportReferencesGraph") => {
            format!("path '{reference}' is not in the Nix store")
        }
        Error::Option(OptionError::Reference { reference, .. }) => {
            // Nix compat: there it is found after the build, among the checks of outputs.
            let text = format!("derivation contains an illegal reference specifier '{reference}'");
            return BuildFailure::new(BuildStatus::OutputRejected, text);
        }
        Error::Option(OptionError::OddTokens(_) | OptionError::FileName(_)) => error.to_string(),
        _ => {
            let what = format!("cannot use derivation '{}'", store_dir.print(drv_path));
            return BuildFailure::because(&what, error);
        }
    };
    BuildFailure::misc(text)
}
