//! What logs and witnesses are called, so that both sides of a cosignature say the same.

/// The name of a federation's log at its coordinator. A space or a plus sign cannot stand in a note's name.
pub fn log_name(federation: &str) -> String {
    let allowed = |c: char| if c == '+' || c.is_whitespace() || c.is_control() { '-' } else { c };
    format!("folkmoot/{}", federation.chars().map(allowed).collect::<String>())
}

/// What a log calls a silo: `silo-7`.
pub fn silo(id: u32) -> String {
    format!("silo-{id}")
}

/// The name of a silo: of its own log, and as a witness of the federation's.
pub fn silo_name(federation: &str, id: u32) -> String {
    format!("{}/{}", log_name(federation), silo(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_a_note_can_carry_whatever_the_federation_is_called() {
        assert_eq!(log_name("hospitals"), "folkmoot/hospitals");
        let name = silo_name("by hand + more", 7);
        assert_eq!(name, "folkmoot/by-hand---more/silo-7");
        let key = ed25519_dalek::SigningKey::from_bytes(&[1; 32]).verifying_key();
        assert!(tlog::VerifierKey::new(&name, key).is_ok());
    }
}
