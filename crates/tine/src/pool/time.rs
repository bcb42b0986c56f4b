//! Times in UTC.

use std::fmt;

/// A time in seconds since 1970, shown as `2026-11-22 12:07:09`, in UTC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Utc(pub(super) u64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = zfs_pool::props::civil(self.0 / 86400);
        let (hour, minute, second) = (self.0 / 3600 % 24, self.0 / 60 % 60, self.0 % 60);
        write!(f, "{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_utc() {
        assert_eq!(Utc(1_795_349_247).to_string(), "2026-11-22 12:07:27");
        assert!(!Utc(u64::MAX).to_string().is_empty());
    }
}
