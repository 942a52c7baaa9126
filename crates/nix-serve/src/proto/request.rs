//! The arguments of the commands, without the command word.
//!
//! Those of `AddToStoreNar` are in [`super::path_info`], those of `BuildDerivation` are a
//! path, a derivation in the wire form of `nix-drv`, and [`super::options`];
//! `DumpStorePath` has a path, `ImportPaths` an export stream.

use std::io::{self, Read, Write};

use nix_base::wire::MAX_PATHS;
use nix_base::{BuildOptions, StoreDir, StorePathSet, WireRead, WireWrite};

use super::limit::MAX_BUILD_TARGET;
use super::options::{read_build_options, write_build_options};
use super::{Result, ServeVersion};

/// Arguments of `QueryValidPaths`; the reply is the set of those valid.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueryValidPaths {
    /// Pin all of the paths until the connection ends.
    pub lock: bool,
    /// Try to substitute those that are not valid.
    pub substitute: bool,
    /// The paths concerned.
    pub paths: StorePathSet,
}

impl QueryValidPaths {
    /// Reads the arguments.
    ///
    /// # Errors
    /// The stream ends or fails, or a field does not parse.
    pub fn read(dir: &StoreDir, reader: &mut (impl Read + ?Sized)) -> Result<Self> {
        Ok(Self {
            lock: reader.read_bool("lock")?,
            substitute: reader.read_bool("substitute")?,
            paths: reader.read_path_set("the paths queried", dir)?,
        })
    }

    /// Writes the arguments.
    ///
    /// # Errors
    /// The stream fails.
    pub fn write(&self, dir: &StoreDir, writer: &mut (impl Write + ?Sized)) -> io::Result<()> {
        writer.write_bool(self.lock)?;
        writer.write_bool(self.substitute)?;
        writer.write_path_set(dir, &self.paths)
    }
}

/// Arguments of `QueryClosure`; the reply is a set of paths.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueryClosure {
    /// Follow derivations to their valid outputs.
    pub include_outputs: bool,
    /// Where to begin.
    pub paths: StorePathSet,
}

impl QueryClosure {
    /// Reads the arguments.
    ///
    /// # Errors
    /// The stream ends or fails, or a field does not parse.
    pub fn read(dir: &StoreDir, reader: &mut (impl Read + ?Sized)) -> Result<Self> {
        Ok(Self {
            include_outputs: reader.read_bool("include outputs")?,
            paths: reader.read_path_set("the paths queried", dir)?,
        })
    }

    /// Writes the arguments.
    ///
    /// # Errors
    /// The stream fails.
    pub fn write(&self, dir: &StoreDir, writer: &mut (impl Write + ?Sized)) -> io::Result<()> {
        writer.write_bool(self.include_outputs)?;
        writer.write_path_set(dir, &self.paths)
    }
}

/// Arguments of `ExportPaths`; the reply is an export stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExportPaths {
    /// Meant something before Nix 2.0.
    pub sign: bool,
    /// The paths to send, no more and no less.
    pub paths: StorePathSet,
}

impl ExportPaths {
    /// Reads the arguments.
    ///
    /// # Errors
    /// The stream ends or fails, or a field does not parse.
    pub fn read(dir: &StoreDir, reader: &mut (impl Read + ?Sized)) -> Result<Self> {
        Ok(Self {
            sign: reader.read_bool("sign")?,
            paths: reader.read_path_set("the paths to export", dir)?,
        })
    }

    /// Writes the arguments.
    ///
    /// # Errors
    /// The stream fails.
    pub fn write(&self, dir: &StoreDir, writer: &mut (impl Write + ?Sized)) -> io::Result<()> {
        writer.write_bool(self.sign)?;
        writer.write_path_set(dir, &self.paths)
    }
}

/// Arguments of `BuildPaths`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuildPaths {
    /// Each a path, or a derivation with outputs: `drv!out1,out2` or `drv!*`.
    pub targets: Vec<String>,
    /// Limits and wishes.
    pub options: BuildOptions,
}

impl BuildPaths {
    /// Reads the arguments.
    ///
    /// # Errors
    /// The stream ends or fails, or a field does not parse.
    pub fn read(version: ServeVersion, reader: &mut (impl Read + ?Sized)) -> Result<Self> {
        let field = "the paths to build";
        let count = reader.read_count(field, MAX_PATHS)?;
        let mut targets = Vec::new();
        for _ in 0..count {
            targets.push(reader.read_string(field, MAX_BUILD_TARGET)?);
        }
        let options = read_build_options(version, reader)?;
        Ok(Self { targets, options })
    }

    /// Writes the arguments.
    ///
    /// # Errors
    /// The stream fails.
    pub fn write(
        &self,
        version: ServeVersion,
        writer: &mut (impl Write + ?Sized),
    ) -> io::Result<()> {
        writer.write_u64(self.targets.len() as u64)?;
        self.targets
            .iter()
            .try_for_each(|target| writer.write_str(target))?;
        write_build_options(&self.options, version, writer)
    }
}
