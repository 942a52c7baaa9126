//! What a builder may see of the store and of the host.

use std::path::{Path, PathBuf};

use nix_base::StorePathSet;
use nix_store_core::{IncludeOutputs, Store};

use super::{Job, machine};
use crate::config::SandboxPath;
use crate::failure::{BuildFailure, Result};
use crate::hook::{PreBuildHook, run_pre_build_hook};
use crate::sandbox::network::PrivateNetwork;
use crate::sandbox::plan::{Network, NetworkFiles};

impl Job<'_> {
    /// The closure of the inputs, all of which must be valid.
    pub(super) fn input_closure(&self) -> Result<StorePathSet> {
        let inputs = &self.request.drv.input_srcs;
        let valid = self.store.db().query_valid(inputs)?;
        if let Some(missing) = inputs.difference(&valid).next() {
            let missing = self.store.store_dir().print(missing);
            return Err(machine::missing_input(&missing, &self.drv_path));
        }
        Ok(self.store.closure(inputs, IncludeOutputs::No)?)
    }

    /// Paths of the host that the operator and the hooks let through, and those that the
    /// derivation asks for.
    pub(super) fn host_paths(&self, chroot: Option<&Path>) -> Result<Vec<SandboxPath>> {
        let mut paths = self.config.sandbox.paths.clone();
        for wanted in &self.options.impure_host_deps {
            paths.push(self.impure_path(&wanted.to_string())?);
        }
        if let Some(program) = &self.config.hooks.pre_build {
            let call = PreBuildHook {
                program,
                environment: &self.config.environment,
                drv_path: &self.drv_path,
                chroot_dir: chroot,
            };
            let more = run_pre_build_hook(&call, self.build.cancel(), &mut |line| self.say(line))
                .map_err(|error| BuildFailure::because("pre-build-hook", &error))?;
            paths.extend(more);
        }
        Ok(paths)
    }

    fn impure_path(&self, wanted: &str) -> Result<SandboxPath> {
        let path = PathBuf::from(wanted);
        let climbs = path
            .components()
            .any(|part| part == std::path::Component::ParentDir);
        let allowed = &self.config.sandbox.allowed_impure_host_deps;
        if climbs || !allowed.iter().any(|allowed| path.starts_with(allowed)) {
            // Nix compat: its words.
            return Err(BuildFailure::misc(format!(
                "derivation '{}' requested impure path '{wanted}', but it was not in \
                 allowed-impure-host-deps",
                self.drv_path
            )));
        }
        Ok(SandboxPath {
            target: path.clone(),
            source: path,
            optional: false,
        })
    }

    /// The closures of the host paths that are in the store.
    pub(super) fn closure_of(&self, paths: &[SandboxPath]) -> Result<StorePathSet> {
        let dir = self.store.store_dir();
        let in_store = paths.iter().filter_map(|path| {
            let source = path.source.to_str()?;
            dir.parse_in_store(source).ok()
        });
        let mut roots = StorePathSet::new();
        for path in in_store {
            let path = path.0;
            if self.store.is_valid(&path)? {
                roots.insert(path);
            }
        }
        Ok(self.store.closure(&roots, IncludeOutputs::No)?)
    }

    /// Where the paths are on the host and inside, outputs left out.
    pub(super) fn visible(&self, paths: &StorePathSet) -> Vec<(PathBuf, PathBuf)> {
        let dir = self.store.store_dir();
        let layout = &self.builder.layout;
        let outputs: StorePathSet = self.known.values().cloned().collect();
        paths
            .difference(&outputs)
            .map(|path| (layout.real_path(path), PathBuf::from(dir.print(path))))
            .collect()
    }

    /// What a builder with a network finds in `/etc`.
    pub(super) fn network_files(&self, network: Network) -> NetworkFiles {
        let resolv_conf = (network == Network::Private).then(|| {
            let host = std::fs::read("/etc/resolv.conf").unwrap_or_default();
            PrivateNetwork::resolv_conf(&String::from_utf8_lossy(&host)).into_bytes()
        });
        let files = ["resolv.conf", "services", "hosts"]
            .into_iter()
            .filter(|name| *name != "resolv.conf" || resolv_conf.is_none())
            .filter_map(|name| Some((name.to_owned(), resolved(&Path::new("/etc").join(name))?)))
            .collect();
        NetworkFiles {
            files,
            resolv_conf,
            ca_bundle: self.read_certificates(),
        }
    }

    /// The certificates that builders may trust.
    pub(super) fn read_certificates(&self) -> Option<Vec<u8>> {
        let file = self.config.fetch.ca_bundle.as_ref()?;
        std::fs::read(file)
            .inspect_err(|error| tracing::debug!("cannot read '{}': {error}", file.display()))
            .ok()
    }
}

/// A file of the host with all links resolved: resolvers are often found behind one.
#[expect(
    clippy::disallowed_methods,
    reason = "these are the host's own files, outside of every store"
)]
fn resolved(path: &Path) -> Option<PathBuf> {
    std::fs::canonicalize(path).ok()
}
