//! The silo's transport certificate and its key: read, replaced together, and read again after a crash between.
//!
//! A new pair is written as `*.next` beside the old one, key first, and then takes its place, key first. Whatever a
//! crash leaves, one of three pairings fits, and [`Transport::open`] finds it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use identity::Authority;
use pki::{ClientTls, Leaf, TransportKey};
use plan::Problems;
use vault::Vault;
use vault::files::{self, OWNER_ONLY, TEXT_BYTES_MAX};
use zeroize::Zeroizing;

daemon::tls_table! {
    /// The table `[tls]`, as enrolment writes it.
    pub struct Tls {}
}

/// What a connection is made with.
pub(crate) struct Transport {
    pub(crate) tls: ClientTls,
    pub(crate) authority: Authority,
    pub(crate) leaf: Leaf,
    pub(crate) files: Files,
}

impl Transport {
    pub(crate) fn open(
        tls: &Tls,
        authority_key: &str,
        vault: Option<Arc<Vault>>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let authority = daemon::read_tls_authority(&tls.authority, authority_key, problems)?;
        let files = Files { certificate: tls.certificate.clone(), key: tls.key_file.clone(), vault };
        match files.load(&authority.ca_certificate) {
            Ok((tls, leaf, ..)) => Some(Self { tls, authority, leaf, files }),
            Err((field, why)) => {
                problems.add(field, why);
                None
            }
        }
    }
}

/// Where the pair lies.
#[derive(Clone)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) vault: Option<Arc<Vault>>,
}

type Pair = (ClientTls, Leaf, String, TransportKey);
type Fault = (&'static str, String);

impl Files {
    /// The newest pair that fits; one that a crash left half in place is put there.
    fn load(&self, ca: &str) -> Result<Pair, Fault> {
        let (key_next, certificate_next) = (next(&self.key), next(&self.certificate));
        for key in [&key_next, &self.key] {
            if let Ok(pair) = self.pair(ca, &certificate_next, key) {
                self.settle().map_err(|why| ("tls.certificate", why))?;
                return Ok(pair);
            }
        }
        self.pair(ca, &self.certificate, &self.key)
    }

    fn pair(&self, ca: &str, certificate: &Path, key: &Path) -> Result<Pair, Fault> {
        let fault =
            |field, path: &Path, why: &dyn std::fmt::Display| (field, format!("`{}`: {why}", path.display()));
        let of_certificate = |why: &dyn std::fmt::Display| fault("tls.certificate", certificate, why);
        let chain = files::read_text(certificate, TEXT_BYTES_MAX).map_err(|why| of_certificate(&why))?;
        let leaf = pki::inspect(&chain).map_err(|why| of_certificate(&why))?;
        let pem = self.read_key(key)?;
        let key = TransportKey::from_pem(&pem).map_err(|why| fault("tls.key_file", key, &why))?;
        let tls = ClientTls::new(ca, Some((&chain, &key))).map_err(|why| of_certificate(&why))?;
        Ok((tls, leaf, chain, key))
    }

    fn read_key(&self, path: &Path) -> Result<Zeroizing<String>, Fault> {
        let fault = |why: String| ("tls.key_file", why);
        let Some(vault) = &self.vault else {
            let mut problems = Problems::default();
            let text = daemon::read_secret_text(path, "tls.key_file", None, &mut problems);
            // The next key is written private too, so that a problem is one of the file in place.
            return match (text, problems.0.is_empty()) {
                (Some(text), true) => Ok(text),
                _ => Err(fault(problems.0.into_iter().map(|p| p.text).collect::<Vec<_>>().join("; "))),
            };
        };
        // Sealed under the name of its final place, so that it can be put there.
        vault::read_sealed_text(path, vault, &self.name())
            .map_err(|why| fault(format!("`{}`: {why}", path.display())))
    }

    /// Puts a new pair in the place of the old one.
    pub(crate) fn replace(&self, chain: &str, key: &TransportKey) -> Result<(), String> {
        // Of an older attempt, and never to be taken for the new one's.
        match std::fs::remove_file(next(&self.certificate)) {
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => return Err(why.to_string()),
            _ => {}
        }
        let (path, pem) = (next(&self.key), key.to_pem());
        match &self.vault {
            Some(vault) => vault::replace_secret(&path, vault, &self.name(), pem.as_bytes())
                .map_err(|why| why.to_string())?,
            None => files::replace(&path, pem.as_bytes(), OWNER_ONLY).map_err(|why| why.to_string())?,
        }
        store::write_replacing(&next(&self.certificate), chain.as_bytes()).map_err(|why| why.to_string())?;
        self.settle()
    }

    /// Moves what is next into its place, key first.
    fn settle(&self) -> Result<(), String> {
        for path in [&self.key, &self.certificate] {
            match std::fs::rename(next(path), path) {
                Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
                    return Err(format!("`{}` cannot be replaced: {why}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn name(&self) -> String {
        self.key.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The name under which the successor of a file is written.
fn next(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".next");
    name.into()
}

#[cfg(test)]
mod tests {
    use identity::Subject;
    use pki::CertificateAuthority;
    use secagg::ClientId;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn pair(authority: &CertificateAuthority) -> (String, TransportKey) {
        let key = TransportKey::generate().unwrap();
        let request = key.request_der().unwrap();
        let issued = authority.issue(&request, &Subject::Silo(ClientId(1)), &[], NOW, 86_400).unwrap();
        (issued.chain_pem, key)
    }

    #[test]
    fn wherever_a_renewal_is_cut_off_a_pair_that_fits_is_found() {
        let authority = CertificateAuthority::create("f", NOW).unwrap();
        let ((old_chain, old_key), (new_chain, new_key)) = (pair(&authority), pair(&authority));
        // What has happened of: next key, next certificate, key in place, certificate in place.
        for steps in 0..=4 {
            let folder = tempfile::tempdir().unwrap();
            let files = Files {
                certificate: folder.path().join("silo.crt"),
                key: folder.path().join("transport.key"),
                vault: None,
            };
            files.replace(&old_chain, &old_key).unwrap();
            if steps >= 1 {
                files::replace(&next(&files.key), new_key.to_pem().as_bytes(), OWNER_ONLY).unwrap();
            }
            if steps >= 2 {
                std::fs::write(next(&files.certificate), &new_chain).unwrap();
            }
            if steps >= 3 {
                std::fs::rename(next(&files.key), &files.key).unwrap();
            }
            if steps >= 4 {
                std::fs::rename(next(&files.certificate), &files.certificate).unwrap();
            }
            let (_, _, chain, _) = files.load(authority.certificate_pem()).unwrap();
            assert_eq!(chain, if steps >= 2 { &*new_chain } else { &*old_chain }, "after {steps} steps");
            let (_, _, again, _) = files.load(authority.certificate_pem()).unwrap();
            assert_eq!(again, chain, "after {steps} steps, at the second start");
        }
    }
}
