//! `authorize`: lets an ssh key do certain things here, and nothing else.

mod explain;
mod install;
mod ssh_key;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::serve::role;
use crate::cli::context::Context;
use crate::cli::low_args::{AuthorizeArgs, Install, ServeArgs};
use crate::cli::output::Output;
use crate::cli::report::print_line;
use install::{Outcome, own_file};
use ssh_key::SshKey;

/// Prints the line, or adds it to a file, and says what it grants.
pub(crate) fn run(args: &AuthorizeArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let key = read_key(&args.key_file)?;
    let mut serve = args.serve.clone();
    if serve.key.is_none() && !is_full(&serve) {
        serve.key = Some(name_of(&key)?);
    }
    let store = store_word(context)?;
    // What is in force is what a server under a policy sees.
    let sealed = context.sealed();
    let context = if serve.is_plain() { context } else { &sealed };
    let layout = context.layout("authorize")?;
    let role =
        role(&serve, context, &layout).context("a connection with this key would be refused")?;
    let line = line(args, &serve, context, store, &key)?;
    for sentence in explain::sentences(&serve, &role, &layout) {
        print_line(&sentence);
    }
    let file = match &args.install {
        Install::No => {
            Output::of_process()?.line(&line)?;
            return Ok(ExitCode::SUCCESS);
        }
        Install::Own => own_file()?,
        Install::File(file) => file.clone(),
    };
    let outcome = install::add_line(&file, &key, &line)
        .with_context(|| format!("cannot add the key to '{}'", file.display()))?;
    print_line(&match outcome {
        Outcome::Added => format!("added to '{}'", file.display()),
        Outcome::WasThere => format!("the line is in '{}' already", file.display()),
    });
    Ok(ExitCode::SUCCESS)
}

fn is_full(serve: &ServeArgs) -> bool {
    serve.write && serve.is_plain()
}

fn read_key(file: &Path) -> anyhow::Result<SshKey> {
    let cannot = || format!("cannot use the key in '{}'", file.display());
    let text = fs::read_to_string(file).with_context(cannot)?;
    SshKey::parse(&text).with_context(cannot)
}

/// The name for a key that was given none: what is written behind it.
fn name_of(key: &SshKey) -> anyhow::Result<crate::policy::KeyName> {
    match key.comment.parse() {
        Ok(name) => Ok(name),
        Err(_) if key.comment.is_empty() => bail!("the key has no comment: name it with --as"),
        Err(error) => Err(error).context("the key's comment can't be its name: use --as"),
    }
}

/// The line for `authorized_keys`.
fn line(
    args: &AuthorizeArgs,
    serve: &ServeArgs,
    context: &Context,
    store: Option<String>,
    key: &SshKey,
) -> anyhow::Result<String> {
    let words = command(args, serve, context, store)?;
    let command = shlex::try_join(words.iter().map(String::as_str))
        .context("an argument can't be quoted for a shell")?;
    if command.contains('\n') {
        bail!("an argument has a line feed in it");
    }
    // In this file a quote is escaped; a backslash is itself.
    let quoted = command.replace('"', "\\\"");
    Ok(format!("restrict,command=\"{quoted}\" {}", key.line()))
}

fn command(
    args: &AuthorizeArgs,
    serve: &ServeArgs,
    context: &Context,
    store: Option<String>,
) -> anyhow::Result<Vec<String>> {
    let program = match &args.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().context("cannot find this program's file")?,
    };
    if !program.is_absolute() {
        bail!("'{}' is not an absolute path", program.display());
    }
    let mut words = vec![text(program)?, "serve".to_owned()];
    let mut flag = |is_set: bool, name: &str| is_set.then(|| words.push(name.to_owned()));
    flag(serve.write, "--write");
    flag(serve.untrusted, "--untrusted");
    if let Some(key) = &serve.key {
        words.extend(["--as".to_owned(), key.to_string()]);
    }
    if let Some(allow) = &serve.allow {
        let list: Vec<_> = allow.iter().map(|one| one.word()).collect();
        words.extend(["--allow".to_owned(), list.join(",")]);
    }
    words.extend(
        store
            .into_iter()
            .flat_map(|store| ["--store".to_owned(), store]),
    );
    for (name, value) in &context.global().settings {
        words.extend(["--option".to_owned(), name.clone(), value.clone()]);
    }
    for root in &serve.expose {
        // Links are followed when the client connects, so that they may change.
        let root = std::path::absolute(root).context("cannot resolve a path to expose")?;
        words.extend(["--expose".to_owned(), text(root)?]);
    }
    Ok(words)
}

/// The address of the store that is meant here, for a server that runs in another directory
/// and knows nothing of this environment.
fn store_word(context: &Context) -> anyhow::Result<Option<String>> {
    match &context.global().store {
        None => {
            let there = context.sealed().layout("authorize")?;
            if context.layout("authorize")? != there {
                bail!(
                    "this environment names another store than the system's, and the server will \
                     know nothing of it: name the store with --store"
                );
            }
            Ok(None)
        }
        Some(store) if store.starts_with(['.', '/']) => {
            let store = std::path::absolute(store).context("cannot resolve the store")?;
            Ok(Some(text(store)?))
        }
        Some(store) if store.contains("=.") => {
            bail!("the server runs in another directory: name the store by absolute paths")
        }
        Some(store) => Ok(Some(store.clone())),
    }
}

fn text(path: PathBuf) -> anyhow::Result<String> {
    let text = path.into_os_string().into_string();
    text.map_err(|path| anyhow::anyhow!("'{}' is not UTF-8", Path::new(&path).display()))
}

#[cfg(test)]
mod tests;
