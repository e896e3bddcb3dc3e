//! The CA's directory: files that appear whole or not at all, keys readable by their owner only.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::CaError;
use crate::host::file;

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

pub(super) const ROOT_CERT: &str = "root.pem";
pub(super) const ROOT_KEY: &str = "root.key";
pub(super) const ISSUER_CERT: &str = "issuer.pem";
pub(super) const ISSUER_KEY: &str = "issuer.key";

#[derive(Debug)]
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(super) fn as_path(&self) -> &Path {
        &self.0
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes the directory where it is missing and keeps every other process that does the same
    /// out until the returned file is dropped.
    pub(super) fn lock(&self) -> Result<File, CaError> {
        let lock = self.path(".lock");
        let open = || {
            std::fs::create_dir_all(&self.0)?;
            let file = options(0o600).create(true).truncate(false).open(&lock)?;
            file.lock()?;
            Ok(file)
        };
        open().map_err(|source| CaError::io(&lock, source))
    }

    /// `None` where there is no such file.
    pub(super) fn read(&self, name: &str) -> Result<Option<String>, CaError> {
        let path = self.path(name);
        match file::read_to_string(&path, MAX_BYTES) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CaError::io(&path, source)),
        }
    }

    /// Keys that others than their owner may read or change, which were put here by somebody else.
    pub(super) fn open_keys(&self) -> Vec<PathBuf> {
        let is_open = |path: &PathBuf| {
            let metadata = std::fs::metadata(path);
            metadata.is_ok_and(|it| it.permissions().mode() & 0o077 != 0)
        };
        let keys = [ROOT_KEY, ISSUER_KEY].map(|name| self.path(name));
        keys.into_iter().filter(is_open).collect()
    }

    pub(super) fn write_certificates(&self, name: &str, pem: &str) -> Result<(), CaError> {
        self.write(name, pem, 0o644)
    }

    pub(super) fn write_key(&self, name: &str, pem: &str) -> Result<(), CaError> {
        self.write(name, pem, 0o600)
    }

    /// Only under [`lock`](Self::lock), so that the temporary name has one user.
    fn write(&self, name: &str, text: &str, mode: u32) -> Result<(), CaError> {
        let path = self.path(name);
        let temporary = self.path(&format!(".{name}.new"));
        let write = || {
            match std::fs::remove_file(&temporary) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = options(mode).create_new(true).open(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&temporary, &path)?;
            File::open(&self.0)?.sync_all()
        };
        write().map_err(|source| CaError::io(&path, source))
    }
}

fn options(mode: u32) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(mode);
    options
}
