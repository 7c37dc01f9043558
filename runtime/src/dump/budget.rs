//! How much memory may be used for what can't be borrowed from the file.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::fault::FaultKind;

/// Bytes that may be used, of which none come back before everything is forgotten. Threads share it.
pub(super) struct Budget {
    /// `u64::MAX`: as many as there are.
    limit: u64,
    left: AtomicU64,
    refused: AtomicU64,
}

impl Budget {
    /// So many bytes, of which some are used.
    pub fn new(limit: Option<u64>, used: u64) -> Self {
        let limit = limit.unwrap_or(u64::MAX);
        Budget {
            limit,
            left: AtomicU64::new(limit.saturating_sub(used)),
            refused: AtomicU64::new(0),
        }
    }

    pub fn limit(&self) -> Option<u64> {
        (self.limit != u64::MAX).then_some(self.limit)
    }

    /// How often there was too little left.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Takes some bytes; those that are not left are not taken.
    pub fn take(&self, bytes: u64) -> Result<(), FaultKind> {
        if self.limit == u64::MAX {
            return Ok(());
        }
        // The number guards nothing but itself.
        let less = |left: u64| left.checked_sub(bytes);
        match self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
        {
            Ok(_) => Ok(()),
            Err(_) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Err(FaultKind::MemoryLimit)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;
    use crate::fault::FaultKind;

    #[test]
    fn no_more_is_given_than_there_is() {
        let budget = Budget::new(Some(13), 3);
        assert_eq!(budget.take(8), Ok(()));
        assert_eq!(budget.take(3), Err(FaultKind::MemoryLimit));
        assert_eq!(budget.take(2), Ok(()));
        assert_eq!(budget.take(1), Err(FaultKind::MemoryLimit));
        assert_eq!((budget.refused(), budget.limit()), (2, Some(13)));
        let endless = Budget::new(None, 3);
        assert_eq!(endless.take(u64::MAX), Ok(()));
        assert_eq!(endless.take(u64::MAX), Ok(()));
        assert_eq!((endless.refused(), endless.limit()), (0, None));
    }
}
