//! Which hosts are this machine: plain text goes to no other.

use std::net::IpAddr;

/// Whether the host of a URL, with the brackets of an IPv6 address or without, is this machine.
///
/// A name that must be looked up is taken for another machine's: what it resolves to can change.
pub fn is_loopback(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || literal.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_own_addresses_and_one_name() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "127.0.0.1.example.org", "localhost.", "0.0.0.0", "[::]", "10.0.0.1", "example.org"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
