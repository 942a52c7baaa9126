//! What the command line says of builds.

use std::path::PathBuf;

/// Arguments of building.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BuildArgs {
    /// What to build, as typed: `PATH`, `PATH^OUTPUTS` or `PATH!OUTPUTS`.
    pub(crate) targets: Vec<PathBuf>,
    /// The store to build in, if not here.
    pub(crate) on: Option<String>,
    /// Build what is there again, and compare.
    pub(crate) check: bool,
    /// Build what is damaged or missing again.
    pub(crate) repair: bool,
    /// Say what would be built, and build nothing.
    pub(crate) dry_run: bool,
    /// The links to make.
    pub(crate) links: Links,
    /// What to print in the end.
    pub(crate) print: Print,
    /// What is not known here is left out.
    pub(crate) ignore_unknown: bool,
    /// Show what builders write.
    pub(crate) show_log: bool,
    /// Say that results without a root may be collected.
    pub(crate) warn_of_no_root: bool,
}

/// Links to results, which keep them from being collected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Links {
    /// None.
    None,
    /// `NAME`, `NAME-OUTPUT`, `NAME-1` and so on, as `nix build` has them.
    Named(PathBuf),
    /// As `nix-store --add-root` has them: the second one is `NAME-2`.
    Roots(PathBuf),
}

/// What is printed on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Print {
    /// Nothing.
    Nothing,
    /// A line for each output.
    Paths,
    /// A line for each link, or for each output without one.
    Links,
    /// Everything, as JSON.
    Json,
}

impl Links {
    /// The link of an output; targets are counted from 0.
    pub(crate) fn name(&self, target: usize, output: Option<&str>) -> Option<PathBuf> {
        let (base, number) = match self {
            Self::None => return None,
            Self::Named(base) => (base, target),
            // Nix compat: it counts from 1, and says so from 2 on.
            Self::Roots(base) => (base, if target == 0 { 0 } else { target + 1 }),
        };
        let mut name = base.clone().into_os_string();
        if number > 0 {
            name.push(format!("-{number}"));
        }
        if let Some(output) = output.filter(|output| *output != "out") {
            name.push(format!("-{output}"));
        }
        Some(name.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_numbered_as_each_program_does() {
        let name = |links: &Links, target, output| {
            links
                .name(target, Some(output))
                .unwrap()
                .display()
                .to_string()
        };
        let own = Links::Named("result".into());
        assert_eq!(name(&own, 0, "out"), "result");
        assert_eq!(name(&own, 0, "dev"), "result-dev");
        assert_eq!(name(&own, 1, "out"), "result-1");
        let roots = Links::Roots("r".into());
        assert_eq!(name(&roots, 1, "out"), "r-2");
        assert_eq!(name(&roots, 2, "dev"), "r-3-dev");
        assert_eq!(Links::None.name(0, None), None);
    }
}
