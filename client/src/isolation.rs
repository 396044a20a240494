//! What the daemon keeps of the disk when it shuts itself out of the data.

use std::io;
use std::path::Path;

use sandbox::ShutOut;
use vault::files::{make_folders, parent, sync_parent};
use workshop::RegistrationFile;

use crate::Config;

impl Config {
    /// The paths that a running daemon uses, once all that the configuration names has been opened; and the data, which it does
    /// not. Of keys, rosters and credentials nothing is read twice. `file` is the configuration's own.
    ///
    /// Makes the folders that the daemon writes in, and their names durable: later it cannot open those above them.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn shut_out(&self, file: Option<&Path>, program: &Path) -> io::Result<ShutOut> {
        let own = [Some(&self.state_dir), self.ledger.dir.as_ref()].into_iter().flatten();
        let mut write = Vec::new();
        for folder in own {
            make_folders(folder)?;
            sync_parent(folder)?;
            write.push(folder.clone());
        }
        // The anchor is made where it is not there; a certificate and its key are replaced by files beside them.
        let beside = [self.ledger.anchor.as_ref()]
            .into_iter()
            .chain(self.tls.iter().flat_map(|tls| [Some(&tls.certificate), Some(&tls.key_file)]));
        write.extend(beside.flatten().map(|file| parent(file).to_owned()));
        let (mut follow, mut read) = (Vec::new(), Vec::from_iter(file.map(Path::to_owned)));
        if let Some(encryption) = &self.encryption {
            follow.push(encryption.keyring_folder().to_owned());
            // A master key that is replaced is another file in the same place.
            read.extend(encryption.master_file().map(|file| parent(&file).to_owned()));
        }
        let program = self.trainer.program.as_deref().unwrap_or(program);
        let tls_key = self.tls.as_ref().map(|tls| &tls.key_file);
        let files = [Some(&self.identity_key_file), tls_key, self.proxy_auth_file.as_ref()];
        let mut secrets: Vec<_> = files.into_iter().flatten().cloned().collect();
        secrets.extend(self.encryption.as_ref().and_then(|sealed| sealed.master_file()));
        let registration = self.registration.as_ref().map(RegistrationFile::path);
        let fixed = file.into_iter().chain([program]).chain(registration).map(Path::to_owned).collect();
        Ok(ShutOut { data: vec![self.data.clone()], read, follow, write, fixed, secrets })
    }
}
