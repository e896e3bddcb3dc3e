//! The certificate in force, with its key, on disk: what lets a proxy that restarts while the
//! controller is away still prove who it is. Readable by its owner only; meant for a directory
//! that lives and dies with the pod, best in memory.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::SystemTime,
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};

use super::model::TrustBundle;
use crate::{host::file, identity::Svid};

const FILE: &str = "identity.json";
/// The largest that is read, in bytes.
const MAX_BYTES: u64 = 4 << 20;

#[derive(Serialize, Deserialize)]
pub(super) struct KeptIdentity {
    /// DER, the certificate first.
    pub(super) chain: Vec<Vec<u8>>,
    /// DER.
    pub(super) key: Vec<u8>,
    /// PEM.
    pub(super) roots: String,
}

impl KeptIdentity {
    /// Writes it so that a reader sees the old or the new one, whole.
    pub(super) fn save(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        let temporary = dir.join(format!(".{FILE}.new"));
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&temporary, dir.join(FILE))
    }

    /// `None`, with a warning where that is a surprise, unless there is one that is still valid.
    pub(super) fn load(dir: &Path, now: SystemTime) -> Option<(Svid, TrustBundle)> {
        let path = dir.join(FILE);
        let text = match file::read(&path, MAX_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            text => text,
        };
        let parse = || {
            let kept: Self = serde_json::from_slice(&text?)?;
            let key = PrivateKeyDer::try_from(kept.key).map_err(io::Error::other)?;
            let chain = kept.chain.into_iter().map(CertificateDer::from).collect();
            let svid = Svid::new(chain, key).map_err(io::Error::other)?;
            Ok::<_, io::Error>((svid, TrustBundle { roots: kept.roots }))
        };
        match parse() {
            Ok((svid, _)) if svid.not_after <= now => None,
            Ok(kept) => Some(kept),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the kept identity is unusable");
                None
            }
        }
    }
}
