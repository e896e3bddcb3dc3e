//! The endpoints and their ids: indices that stay while an endpoint does.

use std::{collections::HashMap, net::SocketAddr, time::Instant};

use super::load::Load;
use crate::{discovery::model::Endpoint, identity::SpiffeId};

/// An endpoint of one balancer. The index is reused after a removal, the id is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId {
    slot: u32,
    generation: u32,
}

impl EndpointId {
    /// Small and dense: for state kept beside the balancer, to be reset for each added id.
    pub fn index(self) -> usize {
        self.slot as usize
    }
}

/// What an update changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub added: Vec<EndpointId>,
    pub removed: Vec<EndpointId>,
}

#[derive(Debug)]
pub(super) struct Member {
    pub endpoint: Endpoint,
    pub load: Load,
    /// Whether anything was ever sent to it.
    pub tried: bool,
    pub slow_start_since: Option<Instant>,
    /// To the mean of the endpoints that take traffic.
    pub relative_weight: f64,
    /// Known to be in another zone than ours.
    pub other_zone: bool,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    member: Option<Member>,
}

/// Another identity at the same address is another workload.
type Key = (SocketAddr, Option<SpiffeId>);

#[derive(Debug, Default)]
pub(super) struct Members {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_key: HashMap<Key, u32>,
}

impl Members {
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    pub fn get(&self, id: EndpointId) -> Option<&Member> {
        let slot = self.slots.get(id.index())?;
        slot.member
            .as_ref()
            .filter(|_| slot.generation == id.generation)
    }

    pub fn get_mut(&mut self, id: EndpointId) -> Option<&mut Member> {
        let slot = self.slots.get_mut(id.index())?;
        slot.member
            .as_mut()
            .filter(|_| slot.generation == id.generation)
    }

    pub fn iter(&self) -> impl Iterator<Item = (EndpointId, &Member)> {
        (0..)
            .zip(&self.slots)
            .filter_map(|(slot, Slot { generation, member })| {
                let id = EndpointId {
                    slot,
                    generation: *generation,
                };
                member.as_ref().map(|member| (id, member))
            })
    }

    /// The first of several endpoints with the same address and identity counts.
    pub fn update(&mut self, endpoints: &[Endpoint], now: Instant, slow_start: bool) -> Changes {
        let mut changes = Changes::default();
        let mut before = std::mem::take(&mut self.by_key);
        let mut new = Vec::new();
        for endpoint in endpoints {
            let key = (endpoint.addr, endpoint.identity.clone());
            if let Some(slot) = before.remove(&key) {
                let member = self.slots[slot as usize].member.as_mut();
                member.expect("a key has a member").endpoint = endpoint.clone();
                self.by_key.insert(key, slot);
            } else if !self.by_key.contains_key(&key) {
                new.push((key, endpoint));
            }
        }
        // Before the additions, so that the slots stay dense.
        changes
            .removed
            .extend(before.into_values().map(|slot| self.remove(slot)));
        changes.removed.sort_unstable();
        for (key, endpoint) in new {
            if !self.by_key.contains_key(&key) {
                let id = self.add(endpoint.clone(), slow_start.then_some(now));
                self.by_key.insert(key, id.slot);
                changes.added.push(id);
            }
        }
        changes
    }

    fn add(&mut self, endpoint: Endpoint, slow_start_since: Option<Instant>) -> EndpointId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).expect("memory ends before")
        });
        let place = &mut self.slots[slot as usize];
        place.member = Some(Member {
            endpoint,
            load: Load::default(),
            tried: false,
            slow_start_since,
            relative_weight: 1.0,
            other_zone: false,
        });
        EndpointId {
            slot,
            generation: place.generation,
        }
    }

    fn remove(&mut self, slot: u32) -> EndpointId {
        let place = &mut self.slots[slot as usize];
        let id = EndpointId {
            slot,
            generation: place.generation,
        };
        *place = Slot {
            generation: id.generation.wrapping_add(1),
            member: None,
        };
        self.free.push(slot);
        id
    }

    /// What the costs need to know about all endpoints together.
    pub fn set_relative_weights(&mut self, own_zone: Option<&str>) {
        let members = || self.slots.iter().filter_map(|slot| slot.member.as_ref());
        let weights = || {
            members()
                .map(|m| f64::from(m.endpoint.weight))
                .filter(|w| *w > 0.0)
        };
        let mean = weights().sum::<f64>() / weights().count().max(1) as f64;
        for member in self
            .slots
            .iter_mut()
            .filter_map(|slot| slot.member.as_mut())
        {
            // Without a weight it takes no traffic, so any number does that is not zero.
            let weight = f64::from(member.endpoint.weight);
            member.relative_weight = if weight > 0.0 { weight / mean } else { 1.0 };
            member.other_zone = own_zone.is_some() && member.endpoint.zone.as_deref() != own_zone;
        }
    }
}

#[cfg(test)]
pub(super) fn test_id(slot: u32) -> EndpointId {
    EndpointId {
        slot,
        generation: 0,
    }
}
