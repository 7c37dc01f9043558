//! The kernel's lists (include/linux/list.h, include/linux/list_nulls.h), told to the runtime.

#[cfg(any(
    kernel_has = "list_head",
    kernel_has = "hlist_head",
    kernel_has = "hlist_nulls_head"
))]
use kstruct::view::View;
#[cfg(any(
    kernel_has = "list_head",
    kernel_has = "hlist_head",
    kernel_has = "hlist_nulls_head"
))]
use kstruct::walk::{Entries, Node};

#[cfg(kernel_has = "list_head")]
impl<'m> Node<'m> for crate::list_head<'m> {
    #[inline]
    fn next_node(self) -> u64 {
        self.next().addr()
    }

    #[inline]
    fn is_end(_: u64) -> bool {
        false
    }
}

#[cfg(kernel_has = "list_head")]
impl<'m> crate::list_head<'m> {
    /// The structs on the list that this is the head of. `member` is the accessor of the link:
    /// `init_task.tasks().entries(task_struct::tasks)`.
    #[inline]
    pub fn entries<T: View<'m>, F: Fn(T) -> Self>(self, member: F) -> Entries<'m, T, Self, F> {
        Entries::new(self.memory(), self.addr(), self.next().addr(), member)
    }
}

#[cfg(kernel_has = "hlist_head")]
impl<'m> Node<'m> for crate::hlist_node<'m> {
    #[inline]
    fn next_node(self) -> u64 {
        self.next().addr()
    }

    #[inline]
    fn is_end(address: u64) -> bool {
        address == 0
    }
}

#[cfg(kernel_has = "hlist_head")]
impl<'m> crate::hlist_head<'m> {
    /// The structs on the list that this is the head of. `member` is the accessor of the link.
    #[inline]
    pub fn entries<T: View<'m>, F: Fn(T) -> crate::hlist_node<'m>>(
        self,
        member: F,
    ) -> Entries<'m, T, crate::hlist_node<'m>, F> {
        Entries::new(self.memory(), 0, self.first().addr(), member)
    }
}

#[cfg(kernel_has = "hlist_nulls_head")]
impl<'m> Node<'m> for crate::hlist_nulls_node<'m> {
    #[inline]
    fn next_node(self) -> u64 {
        self.next().addr()
    }

    /// The end is an odd number that says which list ended.
    #[inline]
    fn is_end(address: u64) -> bool {
        address & 1 != 0
    }
}

#[cfg(kernel_has = "hlist_nulls_head")]
impl<'m> crate::hlist_nulls_head<'m> {
    /// The structs on the list that this is the head of. `member` is the accessor of the link.
    #[inline]
    pub fn entries<T: View<'m>, F: Fn(T) -> crate::hlist_nulls_node<'m>>(
        self,
        member: F,
    ) -> Entries<'m, T, crate::hlist_nulls_node<'m>, F> {
        Entries::new(self.memory(), 0, self.first().addr(), member)
    }
}
