//! Where a daemon listens: in plain text, for this machine alone.

use std::net::ToSocketAddrs;

use plan::Problems;

/// What is said of an address outside loopback without TLS.
pub const PLAINTEXT: &str = "is not a loopback address, and plaintext = true is for this machine alone: use the table \
                             [tls], which `folkmoot-coordinator init` and `folkmoot-client enroll` write";

/// The same of metrics.
const METRICS: &str = "is not a loopback address, and metrics are served in plain text: use 127.0.0.1, and have a collector or a proxy on \
                       this machine carry them on";

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

/// As [`check_listen`], for metrics, which have no TLS.
pub fn check_metrics_listen(listen: &str, problems: &mut Problems) {
    let mut found = Problems::default();
    check_listen("metrics_listen", listen, true, &mut found);
    for problem in found.0 {
        let text = match problem.text == PLAINTEXT {
            true => METRICS.to_owned(),
            false => problem.text,
        };
        problems.add("metrics_listen", text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut metrics = Problems::default();
        check_metrics_listen("0.0.0.0:9440", &mut metrics);
        assert!(metrics.to_string().contains("a proxy on this machine"), "{metrics}");
    }
}
