//! What went wrong while a builder was being confined.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::Layer;

/// A step of the confinement that failed.
#[derive(Debug, thiserror::Error)]
pub struct SandboxError {
    /// The layer that it belongs to.
    pub layer: Layer,
    /// What couldn't be done, to be read after "cannot", such as `mount` or `drop groups`.
    pub step: Cow<'static, str>,
    /// The path that it was about.
    pub path: Option<PathBuf>,
    /// Why.
    pub source: io::Error,
}

impl SandboxError {
    /// `step` of `layer` failed.
    pub fn new(
        layer: Layer,
        step: impl Into<Cow<'static, str>>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self {
            layer,
            step: step.into(),
            path: None,
            source: source.into(),
        }
    }

    /// The same, about this path.
    #[must_use]
    pub fn at(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// What is told to another process: the whole message, with the cause.
    #[must_use]
    pub fn to_failure(&self) -> SetupFailure {
        SetupFailure {
            layer: self.layer,
            message: format!("{self}: {}", self.source),
        }
    }
}

impl fmt::Display for SandboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sandbox layer '{}': cannot {}",
            self.layer.name(),
            self.step
        )?;
        match &self.path {
            Some(path) => write!(f, " '{}'", path.display()),
            None => Ok(()),
        }
    }
}

/// A [`SandboxError`] of another process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct SetupFailure {
    /// The layer that is missing.
    pub layer: Layer,
    /// The whole message.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_layer_step_path_and_cause() {
        let error = SandboxError::new(
            Layer::Mounts,
            "mount",
            io::Error::from(io::ErrorKind::PermissionDenied),
        )
        .at("/proc");
        assert_eq!(
            error.to_failure().message,
            "sandbox layer 'mounts': cannot mount '/proc': permission denied"
        );
    }
}
