//! One file for each command.

pub(super) mod add;
pub(super) mod audit;
pub(super) mod authorize;
pub(super) mod build;
pub(super) mod check_validity;
pub(super) mod completions;
pub(super) mod copy;
pub(super) mod doctor;
pub(super) mod drv;
pub(super) mod dump;
pub(super) mod dump_db;
mod ends;
pub(super) mod export;
pub(super) mod import;
pub(super) mod init;
pub(super) mod load_db;
pub(super) mod log;
pub(super) mod man;
mod order;
pub(super) mod path_info;
pub(super) mod print;
pub(super) mod query;
pub(super) mod restore;
pub(super) mod self_check;
pub(super) mod serve;
pub(super) mod supervise_build;
pub(super) mod verify;
