use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use arbitrary::{Result, Unstructured};

use crate::{
    controller::{
        Store,
        stream::{MAX_IN_FLIGHT, Stream},
    },
    discovery::{
        model::Service,
        proto::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
        resource::{Kind, Resource, ResourceName, version},
        session::{Change, Session, Update},
    },
};

const NAMES: [&str; 5] = [
    "shop/a:80",
    "shop/b:80",
    "shop/c:80",
    "shop/d:80",
    "web/a:80",
];
const PROTOCOLS: [&str; 3] = ["http", "http2", "tcp"];

/// A proxy and its controller, with messages that wait, connections that break, and requests that
/// no proxy of ours would send. Nothing comes that was not asked for, a proxy that does not answer
/// is sent a bounded number of responses, and once all is delivered the proxy knows of what it
/// wants exactly what there is.
pub fn control_stream(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let mut mesh = Mesh::new();
    for _ in 0..200 {
        if u.is_empty() || mesh.step(&mut u).is_err() {
            break;
        }
        assert!(mesh.under_way.len() <= MAX_IN_FLIGHT);
    }
    mesh.settle();
    let wanted = |values: &BTreeMap<&'static str, Resource>| {
        let mut values = values.clone();
        values.retain(|name, _| mesh.wanted.contains(name));
        values
    };
    assert_eq!(wanted(&mesh.known), wanted(&mesh.truth));
}

struct Mesh {
    store: Arc<Store>,
    server: Stream,
    client: Session,
    /// Responses on their way.
    under_way: VecDeque<DeltaDiscoveryResponse>,
    truth: BTreeMap<&'static str, Resource>,
    wanted: BTreeSet<&'static str>,
    known: BTreeMap<&'static str, Resource>,
}

fn open(store: &Arc<Store>) -> Stream {
    let peer = "spiffe://mesh.local/ns/shop/sa/cart".parse();
    Stream::new(store, peer.expect("a name"))
}

fn name(text: &str) -> ResourceName {
    ResourceName::new(Kind::Service, text)
}

impl Mesh {
    fn new() -> Self {
        let store = Store::new();
        Self {
            server: open(&store),
            store,
            client: Session::new("cart-0"),
            under_way: VecDeque::new(),
            truth: BTreeMap::new(),
            wanted: BTreeSet::new(),
            known: BTreeMap::new(),
        }
    }

    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let which = *u.choose(&NAMES)?;
        match u.int_in_range(0..=8)? {
            0 => {
                let protocol = u.choose(&PROTOCOLS)?;
                let json = format!(r#"{{"key":"{which}","protocol":"{protocol}"}}"#);
                let service: Service = serde_json::from_str(&json).expect("a service");
                let (name, value) = Resource::service(service);
                self.store.apply([(name, Some(value.clone()))]);
                self.truth.insert(which, value);
            }
            1 => {
                self.store.apply([(name(which), None)]);
                self.truth.remove(which);
            }
            2 if !self.wanted.contains(which) => self.want(which),
            2 | 3 => {
                self.wanted.remove(which);
                self.known.remove(which);
                self.client.change(name(which), Change::Unsubscribe);
            }
            4 => self.ask(),
            5 => self.under_way.extend(self.server.next_response()),
            6 => self.receive(),
            7 => self.reconnect(),
            _ => self.mistake(u)?,
        }
        Ok(())
    }

    fn want(&mut self, which: &'static str) {
        self.wanted.insert(which);
        let at_hand = self.known.get(which);
        let at_hand = at_hand.map(|value| version(&value.to_json()));
        self.client.change(name(which), Change::Subscribe(at_hand));
    }

    fn ask(&mut self) {
        while let Some(request) = self.client.next_request() {
            let nack = self.server.request(request, Instant::now());
            assert!(nack.is_ok_and(|nack| nack.is_none()));
        }
    }

    fn receive(&mut self) {
        let Some(response) = self.under_way.pop_front() else {
            return;
        };
        let received = self.client.received(response);
        assert!(received.refused.is_empty(), "{:?}", received.refused);
        for update in received.updates {
            let (name, value) = match update {
                Update::Present { name, resource, .. } => (name, Some(resource)),
                Update::Absent(name) => (name, None),
            };
            let which = NAMES.iter().find(|which| **which == &*name.name);
            let which = which.expect("nothing comes that was never asked for");
            match value.filter(|_| self.wanted.contains(which)) {
                Some(value) => self.known.insert(which, value),
                None => self.known.remove(which),
            };
        }
        let answered = self.server.request(received.reply, Instant::now());
        assert!(answered.is_ok_and(|nack| nack.is_none()));
    }

    /// What was under way is lost; what is known is said.
    fn reconnect(&mut self) {
        self.server = open(&self.store);
        self.client = Session::new("cart-0");
        self.under_way.clear();
        for which in self.wanted.clone() {
            self.want(which);
        }
    }

    /// To a stream of its own: it is answered or broken off.
    fn mistake(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let mut stream = open(&self.store);
        let kind = *u.choose(&Kind::ALL)?;
        for _ in 0..u.int_in_range(1..=3)? {
            let request = DeltaDiscoveryRequest {
                type_url: kind.type_url().into(),
                resource_names_subscribe: vec![u.arbitrary()?, (*u.choose(&NAMES)?).into()],
                resource_names_unsubscribe: vec![u.arbitrary()?],
                response_nonce: u.choose(&["", "1", "2", "99"]).copied()?.into(),
                ..Default::default()
            };
            if stream.request(request, Instant::now()).is_err() {
                break;
            }
            while let Some(response) = stream.next_response() {
                assert!(response.resources.len() + response.removed_resources.len() <= 500);
            }
        }
        Ok(())
    }

    fn settle(&mut self) {
        loop {
            self.ask();
            self.under_way.extend(self.server.next_response());
            if self.under_way.is_empty() {
                return;
            }
            self.receive();
        }
    }
}
