//! Integration tests of the serve protocol: its values against the vectors of other
//! projects, and our client against real servers.

mod real_servers;
mod vectors;
