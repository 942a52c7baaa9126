//! What a line grants, in words.

use nix_store_core::StoreLayout;

use crate::cli::low_args::ServeArgs;
use crate::policy::{Capability, PolicyFile, Quotas, Role, View};

/// One sentence a line.
pub(super) fn sentences(serve: &ServeArgs, role: &Role, layout: &StoreLayout) -> Vec<String> {
    let mut lines = Vec::new();
    let name = serve.key.as_ref().map(|key| format!(" '{key}'"));
    lines.push(format!(
        "Whoever holds this key gets no shell, no forwarding and no other command. On the store \
         '{}' the key{} may:",
        layout.store_dir,
        name.unwrap_or_default()
    ));
    let allowed = Capability::ALL.into_iter().filter(|one| role.allows(*one));
    lines.extend(allowed.map(|one| format!("  {one}: {}", one.explanation())));
    if role.is_full() {
        lines.push(
            "What it sends is taken on its word: whoever uses this store must trust it as the \
             store's owner."
                .to_owned(),
        );
    }
    lines.push(view(role));
    if role.allows(Capability::ImportSigned) && !role.allows(Capability::ImportAny) {
        let keys: Vec<_> = role.trusted_keys.iter().map(|key| key.name()).collect();
        lines.push(match keys.is_empty() {
            true => "No signature counts: no public key is trusted.".to_owned(),
            false => format!("Signatures count by: {}.", keys.join(", ")),
        });
    }
    lines.extend(quotas(&role.quotas));
    if !serve.is_plain() {
        lines.push(format!(
            "Limits are set in '{}'; 'nix-serve audit' shows what the key does.",
            PolicyFile::location(&layout.state).display()
        ));
    }
    lines
        .push("The line belongs to the user that owns the store: others can't open it.".to_owned());
    lines
}

fn view(role: &Role) -> String {
    match (role.view, role.exposed.len()) {
        (View::Everything, _) => "It sees all paths of the store.".to_owned(),
        (View::Own, roots) => {
            let own = match (role.writes(), role.shared_view) {
                (false, _) => "nothing",
                (true, false) => "what it brought or built itself",
                (true, true) => "what it and the keys that share with it brought or built",
            };
            match roots {
                0 => format!("It sees {own}."),
                _ => format!("It sees {own}, and the closure of what is exposed ({roots})."),
            }
        }
    }
}

fn quotas(quotas: &Quotas) -> Option<String> {
    let limits = [
        quotas.stored_bytes.map(|bytes| format!("{bytes} bytes")),
        quotas
            .slots
            .map(|slots| format!("{slots} builds at a time")),
        quotas
            .build_seconds
            .map(|time| format!("{time} seconds of building")),
    ];
    let limits: Vec<_> = limits.into_iter().flatten().collect();
    (!limits.is_empty()).then(|| format!("Its limits: {}.", limits.join(", ")))
}
