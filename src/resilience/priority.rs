//! How important a request is, and how much of a limit that lets it use.

/// Ordered from the most to the least important.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    Critical,
    #[default]
    Default,
    Batch,
}

impl Priority {
    /// Reads the value of the header that the policy names; anything unknown is the default.
    pub fn from_header(value: &[u8]) -> Self {
        match value.trim_ascii() {
            v if v.eq_ignore_ascii_case(b"critical") => Self::Critical,
            v if v.eq_ignore_ascii_case(b"batch") => Self::Batch,
            _ => Self::Default,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Default => "default",
            Self::Batch => "batch",
        }
    }

    /// The part of `limit` that this priority may fill: 100, 90 or 50 %, and at least one.
    pub fn part_of(self, limit: u32) -> u32 {
        let percent = match self {
            Self::Critical => 100,
            Self::Default => 90,
            Self::Batch => 50,
        };
        let part = u64::from(limit) * percent / 100;
        (part as u32).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_limit() {
        let parts = |limit| {
            [Priority::Critical, Priority::Default, Priority::Batch].map(|p| p.part_of(limit))
        };
        assert_eq!(parts(256), [256, 230, 128]);
        assert_eq!(parts(1), [1, 1, 1]);
        assert_eq!(parts(u32::MAX)[0], u32::MAX);
    }

    #[test]
    fn unknown_names_are_the_default() {
        assert_eq!(Priority::from_header(b" Critical "), Priority::Critical);
        assert_eq!(Priority::from_header(b"batch"), Priority::Batch);
        assert_eq!(Priority::from_header(b"urgent\xff"), Priority::Default);
    }
}
