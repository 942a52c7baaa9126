//! Ends all processes of a build's users, from outside of their namespaces.

use super::UsersError;

pub(super) fn kill_processes(_uid: u32, _count: u32) -> Result<(), UsersError> {
    Ok(())
}
