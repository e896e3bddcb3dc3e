//! How many connections each address has: any pod can reach the controller's ports, and none may
//! keep the others out by holding all the places.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Addresses with a connection.
#[derive(Debug)]
pub struct Peers {
    most: usize,
    connections: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection's entry, given back when it is dropped.
#[derive(Debug)]
pub struct Entry {
    peers: Arc<Peers>,
    ip: IpAddr,
}

impl Peers {
    /// `most` connections for each address.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            connections: Mutex::default(),
        })
    }

    /// `None` where the address has all that it may have.
    pub fn enter(self: &Arc<Self>, ip: IpAddr) -> Option<Entry> {
        let ip = ip.to_canonical();
        let mut peers = self.lock();
        let connections = peers.entry(ip).or_default();
        if *connections >= self.most {
            return None;
        }
        *connections += 1;
        let peers = self.clone();
        Some(Entry { peers, ip })
    }

    /// No holder of the lock panics between two states.
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut peers = self.peers.lock();
        if let Some(connections) = peers.get_mut(&self.ip) {
            *connections -= 1;
            if *connections == 0 {
                peers.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_gives_it_back() {
        let peers = Peers::new(3);
        let ip: IpAddr = "198.18.1.1".parse().unwrap();
        let mapped: IpAddr = "::ffff:198.18.1.1".parse().unwrap();
        let mut held: Vec<_> = (0..9).map_while(|_| peers.enter(ip)).collect();
        assert_eq!(held.len(), 3);
        assert!(peers.enter(ip).is_none());
        assert!(peers.enter(mapped).is_none(), "the same address");
        assert!(peers.enter("198.18.1.2".parse().unwrap()).is_some());
        held.pop();
        assert!(peers.enter(ip).is_some());
        drop(held);
        assert!(peers.lock().is_empty(), "who is gone costs nothing");
    }
}
