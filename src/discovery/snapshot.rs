//! The last known resources on disk: what a proxy starts from while the controller is away.
//! Holds no secret. Losing it costs a wait for the controller, so every fault of it is a warning.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    resource::{Kind, Named, Resource, ResourceName},
    table::Table,
};
use crate::host;

const FILE: &str = "discovery.json";

/// The largest snapshot that is read, in bytes: the endpoints of four services that each are as
/// large as a message of the controller's may be.
const MAX_BYTES: u64 = 64 << 20;

/// Changes are gathered for this long before they are written.
const DEBOUNCE: Duration = Duration::from_secs(1);

#[derive(Serialize, Deserialize)]
struct Saved {
    #[serde(rename = "type")]
    type_url: String,
    name: String,
    value: Box<RawValue>,
}

/// Reads the snapshot; what is missing or cannot be read is left out with a warning.
pub(super) fn load(dir: &Path) -> Vec<Named> {
    let path = dir.join(FILE);
    let text = match host::file::read(&path, MAX_BYTES) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the snapshot cannot be read: starting without");
            return Vec::new();
        }
    };
    match serde_json::from_slice::<Vec<Saved>>(&text) {
        Ok(saved) => saved.into_iter().filter_map(restore).collect(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the snapshot is damaged: starting without");
            Vec::new()
        }
    }
}

fn restore(saved: Saved) -> Option<Named> {
    let kind = Kind::from_type_url(&saved.type_url)?;
    let name = ResourceName::new(kind, saved.name);
    match Resource::from_json(&name, saved.value.get().as_bytes()) {
        Ok(resource) => Some((name, resource)),
        Err(error) => {
            tracing::warn!(%error, "left out of the snapshot");
            None
        }
    }
}

/// Writes the snapshot so that a reader sees the old or the new one, whole.
pub(super) fn save(dir: &Path, resources: &[Named]) -> io::Result<()> {
    let saved = resources
        .iter()
        .map(|(name, resource)| {
            let json = String::from_utf8(resource.to_json()).map_err(io::Error::other)?;
            Ok(Saved {
                type_url: name.kind.type_url().into(),
                name: name.name.to_string(),
                value: RawValue::from_string(json)?,
            })
        })
        .collect::<io::Result<Vec<_>>>()?;
    fs::create_dir_all(dir)?;
    let temporary = dir.join(format!(".{FILE}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(&saved)?)?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(FILE))
}

/// Writes the snapshot whenever it is out of date.
pub(super) async fn keep(dir: PathBuf, table: Arc<Table>) -> ! {
    loop {
        table.stale_snapshot.notified().await;
        tokio::time::sleep(DEBOUNCE).await;
        let resources = table.present();
        let target = dir.clone();
        if let Err(error) = host::blocking(move || save(&target, &resources)).await {
            tracing::warn!(path = %dir.display(), %error, "the snapshot cannot be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::model::{Destination, Service};

    fn resources() -> Vec<Named> {
        let service: Service = serde_json::from_str(r#"{"key":"shop/cart:80"}"#).unwrap();
        let key = service.key.clone();
        vec![
            Resource::destination("198.18.0.1:80".parse().unwrap(), Destination::Service(key)),
            Resource::service(service),
        ]
    }

    #[test]
    fn loads_what_it_saved_and_the_last_save_counts() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()), []);
        save(dir.path(), &[]).unwrap();
        save(dir.path(), &resources()).unwrap();
        assert_eq!(load(dir.path()), resources());
    }

    #[test]
    fn a_damaged_snapshot_or_resource_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), b"[{").unwrap();
        assert_eq!(load(dir.path()), []);

        save(dir.path(), &resources()).unwrap();
        let path = dir.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"key\"", "\"kay\"")).unwrap();
        assert_eq!(load(dir.path()), resources()[..1]);
    }
}
