//! `quota`: what keys have used up, and a new accounting period for their builds.

use std::process::ExitCode;

use nix_store_core::trust::{TrustDb, Usage};

use crate::cli::context::{Context, Purpose};
use crate::cli::output::Output;
use crate::cli::quota_args::QuotaArgs;
use crate::policy::{KeyName, PolicyFile, Quotas};

/// Prints what the wanted keys have used up, or sets their build time to nothing.
pub(crate) fn run(args: &QuotaArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let purpose = match args.reset_build_time {
        true => Purpose::Write,
        false => Purpose::Read,
    };
    let store = context.open_store("quota", purpose)?;
    let state = &store.layout().state;
    // Asking is no reason to begin with books.
    if !TrustDb::is_there(state) {
        return match args.keys.first() {
            Some(name) => Err(nothing_booked(name)),
            None => Ok(ExitCode::SUCCESS),
        };
    }
    let trust = TrustDb::open(state)?;
    let accounts = wanted(&trust, &args.keys)?;
    if args.reset_build_time {
        for (_, account) in &accounts {
            trust.reset_build_seconds(account)?;
        }
    }
    let location = PolicyFile::location(state);
    let policy = PolicyFile::read(&location)?;
    let mut output = Output::of_process()?;
    for (key, account) in &accounts {
        trust.release_gone(account, store.db())?;
        let usage = trust.usage(account)?;
        let quotas = match (&policy, key.parse()) {
            (Some(policy), Ok(name)) => policy.quotas(&name),
            _ => Quotas::default(),
        };
        match args.json {
            true => output.line(&json(key, usage, quotas))?,
            false => output.line(&summary(key, usage, quotas))?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Names of keys and of what is booked for them: those that were named, or all.
fn wanted(trust: &TrustDb, named: &[KeyName]) -> anyhow::Result<Vec<(String, String)>> {
    let known: Vec<(String, String)> = trust
        .keys()?
        .into_iter()
        .filter_map(|account| Some((account.strip_prefix("key:")?.to_owned(), account)))
        .collect();
    if named.is_empty() {
        return Ok(known);
    }
    let find = |name: &KeyName| {
        let found = known.iter().find(|(key, _)| key == name.as_str());
        match found {
            Some(found) => Ok(found.clone()),
            None => Err(nothing_booked(name)),
        }
    };
    named.iter().map(find).collect()
}

fn nothing_booked(name: &KeyName) -> anyhow::Error {
    anyhow::anyhow!("nothing is booked for a key '{name}'")
}

fn json(key: &str, usage: Usage, quotas: Quotas) -> String {
    serde_json::json!({
        "key": key,
        "storedBytes": usage.stored_bytes,
        "storedBytesLimit": quotas.stored_bytes,
        "buildSeconds": usage.build_seconds,
        "buildSecondsLimit": quotas.build_seconds,
    })
    .to_string()
}

fn summary(key: &str, usage: Usage, quotas: Quotas) -> String {
    let of = |limit: Option<u64>| limit.map_or(String::new(), |limit| format!(" of {limit}"));
    format!(
        "{key}: {}{} bytes stored, {}{} seconds of builds",
        usage.stored_bytes,
        of(quotas.stored_bytes),
        usage.build_seconds,
        of(quotas.build_seconds),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_named_where_there_are_some() {
        let usage = Usage {
            stored_bytes: 5,
            build_seconds: 7,
        };
        assert_eq!(
            summary("alice", usage, Quotas::default()),
            "alice: 5 bytes stored, 7 seconds of builds"
        );
        let quotas = Quotas {
            stored_bytes: Some(10),
            ..Quotas::default()
        };
        assert_eq!(
            summary("alice", usage, quotas),
            "alice: 5 of 10 bytes stored, 7 seconds of builds"
        );
        assert_eq!(
            json("alice", usage, quotas),
            r#"{"buildSeconds":7,"buildSecondsLimit":null,"key":"alice","storedBytes":5,"storedBytesLimit":10}"#
        );
    }
}
