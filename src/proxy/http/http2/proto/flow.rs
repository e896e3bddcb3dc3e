//! Windows (RFC 9113, sections 5.2 and 6.9).

/// The largest that a window may be, in bytes.
pub const MAX_WINDOW: u32 = (1 << 31) - 1;
/// What a window is before anybody says otherwise, in bytes.
pub const DEFAULT_WINDOW: u32 = 65_535;

/// What a peer sent is more than the window, or what it added makes the window too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow;

/// What the peer may send.
#[derive(Clone, Copy, Debug)]
pub struct Inflow {
    size: u32,
    left: u32,
    /// Taken by our readers, and not given back yet.
    read: u32,
}

impl Inflow {
    pub fn new(size: u32) -> Self {
        Self {
            size,
            left: size,
            read: 0,
        }
    }

    /// # Errors
    /// When the peer sends more than it may.
    pub fn came(&mut self, bytes: u32) -> Result<(), Overflow> {
        self.left = self.left.checked_sub(bytes).ok_or(Overflow)?;
        Ok(())
    }

    /// What to give back to the peer now. Each time costs a frame, so that it waits for half of the
    /// window; but never for more than is left of it: where others keep what came and read nothing,
    /// half of it may never be read.
    pub fn was_read(&mut self, bytes: u32) -> Option<u32> {
        self.read += bytes;
        if self.read == 0 || self.read < (self.size / 2).min(self.left) {
            return None;
        }
        self.left += self.read;
        Some(std::mem::take(&mut self.read))
    }
}

/// What we may send. Below zero when the peer has made its windows smaller.
#[derive(Clone, Copy, Debug)]
pub struct Outflow(i64);

impl Outflow {
    pub fn new(size: u32) -> Self {
        Self(size.into())
    }

    /// How many bytes may go.
    pub fn room(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// `bytes` of the room are used.
    pub fn went(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.room(), "{bytes} of {self:?}");
        self.0 -= bytes as i64;
    }

    /// # Errors
    /// When the window gets larger than any may be.
    pub fn grow(&mut self, bytes: i64) -> Result<(), Overflow> {
        self.0 += bytes;
        (self.0 <= MAX_WINDOW.into()).then_some(()).ok_or(Overflow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_window_is_given_back_at_a_time() {
        let mut inflow = Inflow::new(100);
        assert_eq!(inflow.came(50), Ok(()));
        assert_eq!(inflow.was_read(49), None);
        assert_eq!(inflow.was_read(1), Some(50));
        assert_eq!(inflow.came(100), Ok(()));
        assert_eq!(inflow.came(1), Err(Overflow));
    }

    /// Who reads would wait for ever for who does not.
    #[test]
    fn a_window_that_others_keep_opens_for_who_reads() {
        let mut inflow = Inflow::new(100);
        assert_eq!(inflow.came(90), Ok(()));
        assert_eq!(inflow.came(10), Ok(()));
        for _ in 0..1000 {
            assert_eq!(inflow.was_read(10), Some(10));
            assert_eq!(inflow.came(10), Ok(()));
        }
    }

    #[test]
    fn a_window_that_shrank_has_no_room_until_it_grows() {
        let mut outflow = Outflow::new(10);
        outflow.went(8);
        assert_eq!(outflow.grow(-5), Ok(()));
        assert_eq!(outflow.room(), 0);
        assert_eq!(outflow.grow(4), Ok(()));
        assert_eq!(outflow.room(), 1);
        assert_eq!(outflow.grow(MAX_WINDOW.into()), Err(Overflow));
    }
}
