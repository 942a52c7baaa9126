//! How much a key may use up.

use nix_store_core::Result;
use nix_store_core::trust::Usage;

use super::Guard;
use crate::server::refusal::{Refusal, Rule};
use crate::server::{KeySlots, ServeError};

impl Guard<'_> {
    /// Refuses if `more` bytes are more than the key may still store.
    pub(super) fn check_stored_bytes(&self, more: u64) -> std::result::Result<(), ServeError> {
        let (Some(limit), Some(account)) = (self.role.quotas.stored_bytes, self.account()) else {
            return Ok(());
        };
        let fits = |used: Usage| used.stored_bytes.saturating_add(more) <= limit;
        if fits(self.trust()?.usage(&account)?) {
            return Ok(());
        }
        // What was collected meanwhile doesn't count.
        self.trust()?.release_gone(&account, self.store.db())?;
        let used = self.trust()?.usage(&account)?;
        if fits(used) {
            return Ok(());
        }
        let used = used.stored_bytes;
        let what = format!("{more} bytes more than the {used} that this key has stored");
        Err(exceeded(what, "stored-bytes", limit).into())
    }

    /// Seconds that builds of the key may still take; `None` if there is no limit.
    ///
    /// # Errors
    /// There are none left, or no bytes for their outputs.
    pub(in crate::server) fn build_seconds_left(
        &self,
    ) -> std::result::Result<Option<u64>, ServeError> {
        self.check_stored_bytes(1)?;
        let (Some(limit), Some(account)) = (self.role.quotas.build_seconds, self.account()) else {
            return Ok(None);
        };
        let used = self.trust()?.usage(&account)?.build_seconds;
        match limit.saturating_sub(used) {
            0 => {
                let what = format!("builds of this key took {used} seconds");
                Err(exceeded(what, "build-time", limit).into())
            }
            left => Ok(Some(left)),
        }
    }

    /// The slots that builds of the key share.
    pub(in crate::server) fn slots(&self) -> Option<KeySlots> {
        let count = self.role.quotas.slots?;
        Some(KeySlots {
            key: self.account()?,
            count: u32::try_from(count).unwrap_or(u32::MAX),
        })
    }

    /// Books the time that builds took.
    pub(in crate::server) fn book_seconds(&self, build_seconds: u64) -> Result<()> {
        match self.account() {
            Some(account) if build_seconds > 0 => {
                let more = Usage {
                    build_seconds,
                    ..Usage::default()
                };
                self.trust()?.add_usage(&account, more)
            }
            _ => Ok(()),
        }
    }
}

fn exceeded(what: String, quota: &str, limit: u64) -> Refusal {
    Refusal::new(Rule::Quota, what).unless(format!("a '{quota}' above {limit} in the policy"))
}
