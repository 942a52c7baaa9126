//! Integration tests: peers.
