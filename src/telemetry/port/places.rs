//! Who has the places of a port, and who gives way when they are all taken: any neighbour can
//! connect, and none may keep a probe out.

use std::net::IpAddr;

/// The connections that are open, the oldest first.
#[derive(Debug)]
pub struct Places<T> {
    held: Vec<(IpAddr, T)>,
    most: usize,
}

impl<T> Places<T> {
    /// `most` places, at least one.
    pub fn new(most: usize) -> Self {
        Self {
            held: Vec::with_capacity(most),
            most: most.max(1),
        }
    }

    /// Gives back the places of connections that are `over`.
    pub fn leave(&mut self, over: impl Fn(&T) -> bool) {
        self.held.retain(|(_, connection)| !over(connection));
    }

    /// Takes a place. Where there is none left, the oldest connection of the address that has the
    /// most, the new one counted, loses its own and is returned.
    pub fn enter(&mut self, from: IpAddr, connection: T) -> Option<(IpAddr, T)> {
        let loser = (self.held.len() >= self.most).then(|| self.loser(from));
        let loser = loser.map(|at| self.held.remove(at));
        self.held.push((from, connection));
        loser
    }

    fn loser(&self, from: IpAddr) -> usize {
        let of = |ip: IpAddr| {
            let held = self.held.iter().filter(|(holder, _)| *holder == ip).count();
            held + usize::from(ip == from)
        };
        let counted = self.held.iter().map(|(ip, _)| of(*ip)).enumerate();
        // Of those with as many, the first: it is the oldest.
        let most = counted.rev().max_by_key(|(_, count)| *count);
        most.map_or(0, |(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u8) -> IpAddr {
        IpAddr::from([198, 18, 0, n])
    }

    /// Enters in this order, and tells who lost a place.
    fn losers(most: usize, from: &[u8]) -> Vec<(u8, usize)> {
        let mut places = Places::new(most);
        let entered = from.iter().enumerate();
        let lost = entered.filter_map(|(at, n)| places.enter(address(*n), (*n, at)));
        lost.map(|(_, lost)| lost).collect()
    }

    #[test]
    fn the_one_with_the_most_gives_way_and_its_oldest_first() {
        assert_eq!(losers(4, &[1, 1, 1, 1]), []);
        assert_eq!(losers(4, &[1, 1, 1, 1, 2, 3]), [(1, 0), (1, 1)]);
        assert_eq!(losers(4, &[2, 1, 1, 1, 1, 1]), [(1, 1), (1, 2)]);
    }

    #[test]
    fn who_has_one_more_with_the_new_one_gives_way_itself() {
        assert_eq!(losers(4, &[1, 1, 2, 2, 2]), [(2, 2)]);
        assert_eq!(losers(4, &[1, 1, 2, 2, 1]), [(1, 0)]);
    }

    #[test]
    fn of_those_with_as_many_the_oldest_gives_way() {
        assert_eq!(losers(4, &[1, 2, 3, 4, 5]), [(1, 0)]);
        assert_eq!(losers(4, &[2, 1, 2, 1, 5]), [(2, 0)]);
    }

    #[test]
    fn places_are_given_back() {
        let mut places = Places::new(2);
        assert!(places.enter(address(1), 'a').is_none());
        assert!(places.enter(address(1), 'b').is_none());
        places.leave(|connection| *connection == 'a');
        assert!(places.enter(address(2), 'c').is_none());
        assert_eq!(places.enter(address(3), 'd'), Some((address(1), 'b')));
    }
}
