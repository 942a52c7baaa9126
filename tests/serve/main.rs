//! Integration tests of the serve protocol: its values against the vectors of other
//! projects, every version in scripted sessions, and our client against real servers.

mod objects;
mod real_servers;
mod script;
mod transcripts;
mod vectors;
