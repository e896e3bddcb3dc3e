//! The trust bundle where pods mount it: the ConfigMap `outrigger-roots`, one in the install
//! namespace as the record of the bundle, and a copy in every namespace with injected pods.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures_util::{Stream, StreamExt, stream};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace, Pod},
    jiff::Timestamp,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ObjectMeta, Patch, PatchParams},
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use tokio::sync::watch;

use super::{
    bundle::Published,
    objects::{LABELS, MANAGER, Seen, is_in_vain, is_not_found},
};

pub(super) const NAME: &str = "outrigger-roots";
const KEY: &str = "ca.crt";
/// On the record alone: when roots left the Secret, by fingerprint, as JSON.
const RETIRED: &str = "outrigger.dev/retired-roots";

/// After a write failed.
const RETRY: Duration = Duration::from_secs(5);

const INJECTED: &str = "outrigger.dev/injected=true";
const INJECT: &str = "outrigger.dev/inject";

/// What the record says; what nobody can read counts as nothing.
pub(super) fn published(record: &ConfigMap) -> Published {
    let data = record.data.as_ref().and_then(|data| data.get(KEY));
    let retired = record.annotations().get(RETIRED);
    Published {
        roots: data.cloned().unwrap_or_default(),
        retired: retired
            .and_then(|json| serde_json::from_str(json).ok())
            .unwrap_or_default(),
    }
}

/// Writes one of the ConfigMaps.
pub(super) async fn apply(
    api: &Api<ConfigMap>,
    roots: &str,
    retired: Option<&BTreeMap<String, Timestamp>>,
) -> kube::Result<()> {
    let annotation = retired
        .filter(|retired| !retired.is_empty())
        .map(|retired| {
            let json = serde_json::to_string(retired).expect("a map of text has a JSON form");
            BTreeMap::from([(RETIRED.to_owned(), json)])
        });
    let config_map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(NAME.into()),
            labels: Some(LABELS.map(|(key, value)| (key.into(), value.into())).into()),
            annotations: annotation,
            ..Default::default()
        },
        data: Some(BTreeMap::from([(KEY.to_owned(), roots.to_owned())])),
        ..Default::default()
    };
    let parameters = PatchParams::apply(MANAGER).force();
    api.patch(NAME, &parameters, &Patch::Apply(&config_map))
        .await?;
    Ok(())
}

/// What changed in the cluster, as far as copies are concerned.
#[derive(Debug)]
enum Change {
    Wanted(String),
    NamespaceGone(String),
    Has(String, Option<String>),
    /// A new list of the copies begins, and ends.
    ListBegins,
    ListEnds,
}

/// Which namespaces want a copy, and which have it: pure.
#[derive(Debug, Default)]
struct Copies {
    bundle: Option<Arc<str>>,
    wanted: BTreeSet<String>,
    /// `None` before the first list is complete.
    have: Option<HashMap<String, String>>,
    /// The list that is under way.
    listing: HashMap<String, String>,
}

impl Copies {
    fn take(&mut self, change: Change) {
        match change {
            Change::Wanted(namespace) => drop(self.wanted.insert(namespace)),
            Change::NamespaceGone(namespace) => {
                self.wanted.remove(&namespace);
                self.has(namespace, None);
            }
            Change::Has(namespace, roots) => self.has(namespace, roots),
            Change::ListBegins => self.listing.clear(),
            Change::ListEnds => self.have = Some(std::mem::take(&mut self.listing)),
        }
    }

    fn has(&mut self, namespace: String, roots: Option<String>) {
        for copies in self.have.iter_mut().chain([&mut self.listing]) {
            match roots.clone() {
                Some(roots) => copies.insert(namespace.clone(), roots),
                None => copies.remove(&namespace),
            };
        }
    }

    /// The namespaces whose copy is missing or another; none before there is a bundle and a list.
    fn due(&self) -> Vec<String> {
        let (Some(bundle), Some(have)) = (&self.bundle, &self.have) else {
            return Vec::new();
        };
        let differs = |namespace: &&String| have.get(*namespace).map(|has| &**has) != Some(bundle);
        self.wanted.iter().filter(differs).cloned().collect()
    }
}

/// The leader's part: copies the record to where it is wanted, and mends copies that somebody
/// changed. Never returns.
pub(super) async fn copy(
    client: Client,
    install_namespace: &str,
    mut record: watch::Receiver<Seen<ConfigMap>>,
) {
    let mut changes = pin!(changes(&client).ready_chunks(1_024));
    let mut copies = Copies::default();
    loop {
        if let Seen::Present(record) = &*record.borrow_and_update() {
            copies.bundle = Some(published(record).roots.into());
        }
        // That one is the record itself.
        copies.wanted.remove(install_namespace);
        let complete = write_due(&client, &mut copies).await;
        tokio::select! {
            Some(batch) = changes.next() => batch.into_iter().for_each(|change| copies.take(change)),
            Ok(()) = record.changed() => {}
            () = tokio::time::sleep(RETRY), if !complete => {}
        }
    }
}

/// Whether every write succeeded.
async fn write_due(client: &Client, copies: &mut Copies) -> bool {
    let mut complete = true;
    for namespace in copies.due() {
        let bundle = copies.bundle.clone().expect("nothing is due without it");
        let api = Api::namespaced(client.clone(), &namespace);
        match apply(&api, &bundle, None).await {
            Ok(()) => copies.has(namespace, Some(bundle.to_string())),
            Err(error) if is_not_found(&error) || is_in_vain(&error) => {
                copies.take(Change::NamespaceGone(namespace));
            }
            Err(error) => {
                tracing::warn!(namespace, %error, "the ConfigMap {NAME} is not written");
                complete = false;
            }
        }
    }
    complete
}

fn changes(client: &Client) -> impl Stream<Item = Change> + use<> {
    let pods = Api::<PartialObjectMeta<Pod>>::all(client.clone());
    let pods =
        watched(pods, watcher::Config::default().labels(INJECTED)).map(|event| match event {
            Event::Apply(pod) | Event::InitApply(pod) => pod.namespace().map(Change::Wanted),
            _ => None,
        });
    let namespaces = Api::<PartialObjectMeta<Namespace>>::all(client.clone());
    let namespaces = watched(namespaces, watcher::Config::default()).map(|event| match event {
        Event::Apply(namespace) | Event::InitApply(namespace) => {
            let inject = namespace.annotations().get(INJECT);
            let wanted = inject.is_some_and(|inject| inject == "enabled");
            wanted.then(|| Change::Wanted(namespace.name_any()))
        }
        Event::Delete(namespace) => Some(Change::NamespaceGone(namespace.name_any())),
        Event::Init | Event::InitDone => None,
    });
    let copies = Api::<ConfigMap>::all(client.clone());
    let by_name = format!("metadata.name={NAME}");
    let copies = watched(copies, watcher::Config::default().fields(&by_name)).map(|event| {
        let (copy, roots) = match event {
            Event::Apply(copy) | Event::InitApply(copy) => {
                let roots = published(&copy).roots;
                (copy, Some(roots))
            }
            Event::Delete(copy) => (copy, None),
            Event::Init => return Some(Change::ListBegins),
            Event::InitDone => return Some(Change::ListEnds),
        };
        copy.namespace()
            .map(|namespace| Change::Has(namespace, roots))
    });
    stream::select_all([pods.boxed(), namespaces.boxed(), copies.boxed()])
        .filter_map(std::future::ready)
}

fn watched<K>(api: Api<K>, config: watcher::Config) -> impl Stream<Item = Event<K>> + Send
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    watcher::watcher(api, config)
        .default_backoff()
        .filter_map(|event| {
            std::future::ready(match event {
                Ok(event) => Some(event),
                Err(error) => {
                    tracing::warn!(%error, "a watch for the trust bundle's copies is begun anew");
                    None
                }
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copies(bundle: &str) -> Copies {
        Copies {
            bundle: Some(bundle.into()),
            have: Some(HashMap::new()),
            ..Default::default()
        }
    }

    #[test]
    fn a_wanted_copy_is_due_until_it_says_the_same() {
        let mut copies = copies("A");
        copies.take(Change::Has("other".into(), Some("old".into())));
        assert_eq!(copies.due(), [""; 0], "only where it is wanted");
        copies.take(Change::Wanted("shop".into()));
        assert_eq!(copies.due(), ["shop"]);
        copies.take(Change::Has("shop".into(), Some("A".into())));
        assert_eq!(copies.due(), [""; 0]);
        copies.bundle = Some("AB".into());
        assert_eq!(copies.due(), ["shop"]);
        copies.take(Change::Has("shop".into(), Some("AB".into())));
        copies.take(Change::Has("shop".into(), None));
        assert_eq!(copies.due(), ["shop"], "somebody removed it");
        copies.take(Change::NamespaceGone("shop".into()));
        assert_eq!(copies.due(), [""; 0]);
    }

    #[test]
    fn nothing_is_due_before_there_is_a_bundle_and_a_complete_list() {
        let mut copies = Copies::default();
        copies.take(Change::Wanted("shop".into()));
        copies.take(Change::Wanted("bank".into()));
        copies.take(Change::ListBegins);
        copies.take(Change::Has("shop".into(), Some("A".into())));
        copies.bundle = Some("A".into());
        assert_eq!(copies.due(), [""; 0]);
        copies.take(Change::ListEnds);
        assert_eq!(copies.due(), ["bank"]);

        // A list that is begun again: what was known counts until it is complete.
        copies.take(Change::ListBegins);
        assert_eq!(copies.due(), ["bank"]);
        copies.take(Change::ListEnds);
        assert_eq!(copies.due(), ["bank", "shop"]);
    }

    #[test]
    fn the_record_is_read_as_far_as_it_can_be() {
        let record = ConfigMap {
            metadata: ObjectMeta {
                annotations: Some(BTreeMap::from([(RETIRED.into(), "{".into())])),
                ..Default::default()
            },
            data: Some(BTreeMap::from([(KEY.into(), "A".into())])),
            ..Default::default()
        };
        let read = published(&record);
        assert_eq!((&*read.roots, read.retired.len()), ("A", 0));
        assert_eq!(published(&ConfigMap::default()), Published::default());
    }
}
