//! What a reference count means.

/// A reference count (include/linux/refcount.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refcount {
    /// Nobody holds it: it is being freed, or was.
    Free,
    /// This many hold it.
    Held(u32),
    /// The kernel found that it overflowed, or fell below 0, and keeps the object for ever: `REFCOUNT_SATURATED` or near it, -1 in
    /// kernels before 5.5. It is a bug, or an attack.
    Saturated,
}

impl Refcount {
    /// By the value.
    pub fn of(value: i32) -> Self {
        match value {
            0 => Refcount::Free,
            1.. => Refcount::Held(value.unsigned_abs()),
            _ => Refcount::Saturated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Refcount;

    #[test]
    fn negative_counts_are_saturated() {
        assert_eq!(Refcount::of(0), Refcount::Free);
        assert_eq!(Refcount::of(7), Refcount::Held(7));
        // REFCOUNT_SATURATED, and what it was before 5.5.
        for value in [i32::MIN / 2, -1, i32::MIN] {
            assert_eq!(Refcount::of(value), Refcount::Saturated);
        }
    }
}
