//! Which addresses are on this machine: plain text goes to no other.

use std::net::{IpAddr, ToSocketAddrs};

use plan::Problems;

/// What is said of an address outside loopback without TLS.
pub const PLAINTEXT: &str = "is not a loopback address, and plaintext = true is for this machine alone: use the table \
                             [tls], which `folkmoot-coordinator init` and `folkmoot-client enroll` write";

/// Whether the host of a URL, with the brackets of an IPv6 address or without, is this machine.
///
/// A name that must be looked up is taken for another machine's: what it resolves to can change.
pub fn is_loopback(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || literal.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Checks the `ADDRESS:PORT` of `field` to listen on. What is served in plain text is served to this machine alone.
pub fn check_listen(field: &str, listen: &str, plaintext: bool, problems: &mut Problems) {
    match listen.to_socket_addrs() {
        Err(why) => problems.add(field, format!("{listen:?} is no ADDRESS:PORT: {why}")),
        Ok(mut addresses) => {
            let outside = addresses.any(|address| !address.ip().is_loopback());
            problems.require(!(outside && plaintext), field, || PLAINTEXT.into());
        }
    }
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

    #[test]
    fn plain_text_is_served_to_this_machine_alone() {
        let problems = |listen: &str, plaintext: bool| {
            let mut problems = Problems::default();
            check_listen("listen", listen, plaintext, &mut problems);
            problems.to_string()
        };
        assert_eq!(problems("127.0.0.1:0", true), "");
        assert_eq!(problems("0.0.0.0:0", false), "");
        assert!(problems("0.0.0.0:0", true).contains("listen: is not a loopback address"));
        assert!(problems("127.0.0.1", true).contains("is no ADDRESS:PORT"));
    }
}
