//! Integration tests of the store below the server: kills, full disks, many processes.

mod kills;
