//! How packets travel, and what they do where they arrive.

use std::{io, net::SocketAddr, task::Waker, time::Duration};

use tokio::time::Instant;

use super::{Inner, KEEPALIVE, Packet, What, link};

impl Inner {
    pub(super) fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    /// Sends to `to` of a connection. Nothing overtakes what was sent before it.
    pub(super) fn send(&mut self, connection: u64, to: usize, what: What) {
        let Some(c) = self.connections.get(&connection) else {
            return;
        };
        let (from_ip, to_ip) = (c.sides[1 - to].addr.ip(), c.sides[to].addr.ip());
        let delay = if from_ip == to_ip {
            Duration::ZERO
        } else {
            let usual = Duration::from_millis(self.luck.u64(0..3));
            let more = self.slow.get(&link(from_ip, to_ip));
            usual + more.copied().unwrap_or_default()
        };
        let from = &mut self
            .connections
            .get_mut(&connection)
            .expect("just seen")
            .sides[1 - to];
        let due = (Instant::now() + delay).max(from.last.unwrap_or_else(Instant::now));
        from.last = Some(due);
        let packet = Packet {
            connection,
            to,
            what,
        };
        let id = self.next_id();
        self.queue.insert((due, id), packet);
    }

    /// Says what was delivered: its connection, its direction and its kind.
    pub(super) fn deliver(&mut self, id: u64, packet: Packet) -> Option<[u64; 3]> {
        let Packet {
            connection,
            to,
            what,
        } = packet;
        let kind = what.kind();
        let c = self.connections.get_mut(&connection)?;
        let between = link(c.sides[0].addr.ip(), c.sides[1].addr.ip());
        if self.cut.contains(&between) {
            let packet = Packet {
                connection,
                to,
                what,
            };
            self.held.insert(id, packet);
            return None;
        }
        let here = c.sides[to].addr.ip();
        let is_up = self.up.contains_key(&here);
        let side = &mut c.sides[to];
        match what {
            What::Syn(addr) if is_up => self.arrive(connection, addr),
            _ if !is_up => {}
            // Whoever had it is gone, and the kernel says so.
            What::Data(_) if side.closed => self.send(connection, 1 - to, What::Reset),
            _ if side.closed => {}
            What::Syn(_) => {}
            What::Accepted => {
                side.dialled = Some(Ok(()));
                side.wake();
            }
            What::Refused => {
                side.dialled = Some(Err(io::ErrorKind::ConnectionRefused.into()));
                side.wake();
            }
            What::Data(bytes) => {
                side.arrived.push_back(bytes);
                side.wake();
            }
            What::Fin => {
                side.fin = true;
                side.wake();
            }
            What::Reset => self.break_side(connection, to),
        }
        Some([connection, to as u64, kind])
    }

    /// A connection's first packet has come to where it wants to be accepted.
    pub(super) fn arrive(&mut self, connection: u64, addr: SocketAddr) {
        let Some(listener) = self.listeners.get_mut(&addr) else {
            return self.send(connection, 0, What::Refused);
        };
        let c = self
            .connections
            .get_mut(&connection)
            .expect("its packet came");
        if c.sides[0].closed {
            return;
        }
        c.sides[1].process = listener.process;
        c.sides[1].closed = false;
        listener.queue.push_back((connection, c.sides[0].addr));
        listener.waker.take().into_iter().for_each(Waker::wake);
        self.send(connection, 0, What::Accepted);
    }

    pub(super) fn break_side(&mut self, connection: u64, side: usize) {
        let Some(c) = self.connections.get_mut(&connection) else {
            return;
        };
        let side = &mut c.sides[side];
        side.broken = true;
        side.arrived.clear();
        if side.dialled.is_none() {
            side.dialled = Some(Err(io::ErrorKind::ConnectionReset.into()));
        }
        side.wake();
    }

    /// One side is done with a connection.
    pub(super) fn close(&mut self, connection: u64, side: usize, abruptly: bool) {
        let Some(c) = self.connections.get_mut(&connection) else {
            return;
        };
        let own = &mut c.sides[side];
        if own.closed {
            return;
        }
        own.closed = true;
        let (broken, ip) = (own.broken, own.addr.ip());
        let unread = !own.arrived.is_empty();
        own.arrived.clear();
        let other = &c.sides[1 - side];
        if other.closed {
            self.connections.remove(&connection);
            return;
        }
        if !self.up.contains_key(&ip) {
            let packet = Packet {
                connection,
                to: 1 - side,
                what: What::Reset,
            };
            let id = self.next_id();
            self.queue.insert((Instant::now() + KEEPALIVE, id), packet);
        } else if !broken {
            let what = if abruptly || unread {
                What::Reset
            } else {
                What::Fin
            };
            self.send(connection, 1 - side, what);
        }
    }

    pub(super) fn unlisten(&mut self, addr: SocketAddr, process: u64) {
        if self
            .listeners
            .get(&addr)
            .is_none_or(|l| l.process != process)
        {
            return;
        }
        let listener = self.listeners.remove(&addr).expect("just seen");
        for (connection, _) in listener.queue {
            self.close(connection, 1, true);
        }
    }
}
