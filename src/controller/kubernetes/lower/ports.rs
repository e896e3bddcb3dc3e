//! Sets of ports as annotations write them: `3306,9000-9010`.

/// Port ranges, ends included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSet(Box<[(u16, u16)]>);

impl PortSet {
    /// What is not a port or a range is passed over: the webhook warned of it.
    pub fn parse(text: &str) -> Self {
        let range = |item: &str| {
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            let number = |text: &str| text.trim().parse().ok().filter(|port| *port != 0);
            let range = (number(first)?, number(last)?);
            (range.0 <= range.1).then_some(range)
        };
        Self(text.split(',').filter_map(range).collect())
    }

    pub fn contains(&self, port: u16) -> bool {
        let mut ranges = self.0.iter();
        ranges.any(|(first, last)| (*first..=*last).contains(&port))
    }

    /// The ports that are named one by one.
    pub fn singles(&self) -> impl Iterator<Item = u16> {
        let ranges = self.0.iter();
        ranges.filter_map(|(first, last)| (first == last).then_some(*first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ports_and_ranges() {
        let ports = PortSet::parse(" 3306, 9000-9010,x,5-4,0,70000");
        for port in [3306, 9000, 9005, 9010] {
            assert!(ports.contains(port), "{port}");
        }
        for port in [0, 4, 5, 3305, 8999, 9011] {
            assert!(!ports.contains(port), "{port}");
        }
        assert_eq!(ports.singles().collect::<Vec<_>>(), [3306]);
        assert_eq!(PortSet::parse(""), PortSet::default());
    }
}
