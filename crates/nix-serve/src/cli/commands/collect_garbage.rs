//! `nix-collect-garbage`: removes old generations of profiles, and collects.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context as _;
use nix_store_core::gc::{GcAction, GcOptions, RootOptions};

use super::gc;
use crate::cli::context::{Context, Purpose};
use crate::cli::gc_args::{GcArgs, GcMode};
use crate::cli::options::UsageError;
use crate::cli::output::Output;
use crate::cli::profiles::{Profile, below, locked};
use crate::cli::store_args::{CollectGarbageArgs, OldGenerations};

/// Removes old generations, then collects.
pub(crate) fn run(args: &CollectGarbageArgs, context: &Context) -> anyhow::Result<ExitCode> {
    if args.generations != OldGenerations::Keep {
        if !args.dry_run {
            require_collectable(context)?;
        }
        for profile in profiles(context)? {
            // Nix compat: its words.
            tracing::info!("removing old generations of profile {}", profile.display());
            remove_generations(&profile, args)?;
        }
    }
    if args.dry_run {
        return count_dead(context);
    }
    let mut gc_args = GcArgs::new(GcMode::Delete);
    gc_args.max_freed = args.max_freed;
    gc::run(&gc_args, context)
}

/// Fails where a collection would: who can't collect keeps the generations.
fn require_collectable(context: &Context) -> anyhow::Result<()> {
    let store = context.open_store("nix-collect-garbage", Purpose::Write)?;
    let options = RootOptions {
        remove_stale: false,
        ..RootOptions::default()
    };
    store.find_roots(&options)?.require_complete()?;
    Ok(())
}

/// The profiles of the store and those of this user.
fn profiles(context: &Context) -> anyhow::Result<Vec<PathBuf>> {
    let state = context.layout("nix-collect-garbage")?.state;
    let mut profiles = below(&state.join("profiles"))?;
    if !rustix::process::geteuid().is_root()
        && let Some(home) = &context.environment().state_home
    {
        profiles.extend(below(&home.join("nix/profiles"))?);
    }
    Ok(profiles)
}

fn remove_generations(link: &Path, args: &CollectGarbageArgs) -> anyhow::Result<()> {
    let since = match &args.generations {
        OldGenerations::OlderThan(age) => Some(days_ago(age)?),
        _ => None,
    };
    locked(link, || {
        let profile = Profile::open(link)?;
        let old = match since {
            Some(since) => profile.older_than(since),
            None => profile.old(),
        };
        for generation in old {
            let number = generation.number;
            // Nix compat: its words.
            if args.dry_run {
                tracing::info!("would remove profile version {number}");
            } else {
                tracing::info!("removing profile version {number}");
                profile.remove(generation)?;
            }
        }
        Ok(())
    })
}

/// The time so many days ago, in seconds since 1970.
fn days_ago(text: &str) -> anyhow::Result<i64> {
    let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
    let seconds = days
        .filter(|&days: &i64| days > 0)
        .and_then(|days| days.checked_mul(24 * 60 * 60));
    // Nix compat: its words.
    let seconds = seconds.ok_or_else(|| UsageError {
        problem: format!(
            "invalid number of days specifier '{text}', expected something like '14d'"
        ),
        program: "nix-collect-garbage",
    })?;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .context("the clock is set to a time before 1970")?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    Ok(now.saturating_sub(seconds))
}

/// Says how many paths are dead now, which isn't yet what removed generations keep.
fn count_dead(context: &Context) -> anyhow::Result<ExitCode> {
    let store = context.open_store("nix-collect-garbage", Purpose::Read)?;
    let settings = context.upkeep_settings()?;
    let mut options = GcOptions::new(GcAction::ReturnDead);
    options.keep_outputs = settings.keep_outputs;
    options.keep_derivations = settings.keep_derivations;
    let report = store.collect_garbage(&options, &mut ())?;
    let count = report.paths.len() + report.leftovers.len();
    Output::of_process()?.line(&format!("{count} store paths would be deleted"))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::cli::env::Environment;
    use crate::cli::low_args::GlobalArgs;

    /// Whether the old generation of a profile is still there after a collection in a store that
    /// `spoil` has spoilt.
    fn keeps_generations(spoil: impl FnOnce(&Path)) -> bool {
        let directory = tempfile::tempdir().unwrap();
        let profiles = directory.path().join("nix/var/nix/profiles");
        fs::create_dir_all(&profiles).unwrap();
        let old = profiles.join("system-1-link");
        for (target, link) in [
            ("/nix/store/x", "system-1-link"),
            ("/nix/store/x", "system-2-link"),
            ("system-2-link", "system"),
        ] {
            symlink(target, profiles.join(link)).unwrap();
        }
        spoil(&directory.path().join("nix"));
        let global = GlobalArgs {
            store: Some(format!("local?root={}", directory.path().display())),
            ..GlobalArgs::default()
        };
        let context = Context::new(global, Environment::default());
        let args = CollectGarbageArgs {
            generations: OldGenerations::All,
            dry_run: false,
            max_freed: None,
        };
        let is_done = run(&args, &context).is_ok();
        let is_there = fs::symlink_metadata(&old).is_ok();
        assert_ne!(is_done, is_there);
        is_there
    }

    #[test]
    fn generations_stay_where_nothing_can_be_collected() {
        assert!(!keeps_generations(|_| {}));
        assert!(
            keeps_generations(|nix| fs::write(nix.join("store"), "").unwrap()),
            "the store can't be opened"
        );
        assert!(
            keeps_generations(|nix| {
                let deep = PathBuf::from_iter(std::iter::repeat_n("d", 200));
                fs::create_dir_all(nix.join("var/nix/gcroots").join(deep)).unwrap();
            }),
            "not all roots can be read"
        );
    }

    #[test]
    fn ages_are_days() {
        let ago = days_ago("1d").unwrap() - days_ago("3d").unwrap();
        assert!((2 * 86400..=2 * 86400 + 5).contains(&ago), "{ago}");
        for bad in ["", "5", "xd", "0d", "-5d", "99999999999999999d"] {
            let error = days_ago(bad).unwrap_err();
            assert!(error.is::<UsageError>(), "{bad}: {error}");
        }
    }
}
