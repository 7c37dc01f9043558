//! The kernel's lists (include/linux/list.h, include/linux/list_nulls.h), told to the runtime.

#[cfg(any(
    kernel_has = "list_head",
    kernel_has = "hlist_head",
    kernel_has = "hlist_nulls_head",
    kernel_has = "hlist_bl_head",
    kernel_has = "llist_head"
))]
use kstruct::view::View;
#[cfg(any(
    kernel_has = "list_head",
    kernel_has = "hlist_head",
    kernel_has = "hlist_nulls_head",
    kernel_has = "hlist_bl_head",
    kernel_has = "llist_head"
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

    const IS_DOUBLE: bool = true;

    #[inline]
    fn node_before(self) -> u64 {
        self.prev().addr()
    }
}

#[cfg(kernel_has = "list_head")]
impl<'m> crate::list_head<'m> {
    /// The structs on the list that this is the head of. `member` is the accessor of the link:
    /// `init_task.tasks().entries(task_struct::tasks)`.
    #[inline]
    pub fn entries<T: View<'m>, F: Fn(T) -> Self>(self, member: F) -> Entries<'m, T, Self> {
        Entries::new(self.memory(), self.addr(), self.next().addr(), member)
    }

    /// The structs on the list, the last one first.
    pub fn entries_rev<T: View<'m>>(
        self,
        member: impl Fn(T) -> Self,
    ) -> Entries<'m, T, Backwards<'m>> {
        let last = self.prev().addr();
        Entries::new(self.memory(), self.addr(), last, move |entry| {
            Backwards(member(entry))
        })
    }
}

/// A link of a list that is walked from its end.
#[cfg(kernel_has = "list_head")]
#[derive(Clone, Copy)]
pub struct Backwards<'m>(crate::list_head<'m>);

#[cfg(kernel_has = "list_head")]
impl<'m> View<'m> for Backwards<'m> {
    const INFO: &'static kstruct::table::StructInfo = <crate::list_head<'m> as View<'m>>::INFO;

    #[inline]
    fn new(part: kstruct::Part<'m>) -> Self {
        Backwards(View::new(part))
    }

    #[inline]
    fn part(self) -> kstruct::Part<'m> {
        self.0.part()
    }
}

#[cfg(kernel_has = "list_head")]
impl<'m> Node<'m> for Backwards<'m> {
    #[inline]
    fn next_node(self) -> u64 {
        self.0.prev().addr()
    }

    #[inline]
    fn is_end(_: u64) -> bool {
        false
    }

    const IS_DOUBLE: bool = true;

    #[inline]
    fn node_before(self) -> u64 {
        self.0.next().addr()
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
    ) -> Entries<'m, T, crate::hlist_node<'m>> {
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
    ) -> Entries<'m, T, crate::hlist_nulls_node<'m>> {
        // Null ends no such list: what has lost its end is damaged. One is odd, and so an end.
        Entries::new(self.memory(), 1, self.first().addr(), member)
    }
}

/// include/linux/list_bl.h: an hlist whose head has a lock in its lowest bit.
#[cfg(kernel_has = "hlist_bl_head")]
impl<'m> Node<'m> for crate::hlist_bl_node<'m> {
    #[inline]
    fn next_node(self) -> u64 {
        self.next().addr()
    }

    #[inline]
    fn is_end(address: u64) -> bool {
        address == 0
    }
}

#[cfg(kernel_has = "hlist_bl_head")]
impl<'m> crate::hlist_bl_head<'m> {
    /// The structs on the list that this is the head of. `member` is the accessor of the link.
    #[inline]
    pub fn entries<T: View<'m>, F: Fn(T) -> crate::hlist_bl_node<'m>>(
        self,
        member: F,
    ) -> Entries<'m, T, crate::hlist_bl_node<'m>> {
        Entries::new(self.memory(), 0, self.first().addr() & !1, member)
    }
}

/// include/linux/llist.h: a stack, whose last entry has no next one.
#[cfg(kernel_has = "llist_head")]
impl<'m> Node<'m> for crate::llist_node<'m> {
    #[inline]
    fn next_node(self) -> u64 {
        self.next().addr()
    }

    #[inline]
    fn is_end(address: u64) -> bool {
        address == 0
    }
}

#[cfg(kernel_has = "llist_head")]
impl<'m> crate::llist_head<'m> {
    /// The structs on the list that this is the head of, what was added last first. `member` is the accessor of the link.
    #[inline]
    pub fn entries<T: View<'m>, F: Fn(T) -> crate::llist_node<'m>>(
        self,
        member: F,
    ) -> Entries<'m, T, crate::llist_node<'m>> {
        Entries::new(self.memory(), 0, self.first().addr(), member)
    }
}

/// include/linux/plist.h: a list sorted by priority.
#[cfg(all(
    kernel_has = "plist_head.node_list",
    kernel_has = "plist_node.node_list"
))]
impl<'m> crate::plist_head<'m> {
    /// The structs on the list, those of the lowest number (the highest priority) first. `member` is the accessor of the link.
    pub fn entries<T: View<'m>>(
        self,
        member: impl Fn(T) -> crate::plist_node<'m>,
    ) -> Entries<'m, T, crate::list_head<'m>> {
        self.node_list()
            .entries(move |entry| member(entry).node_list())
    }
}

/// include/linux/klist.h: the device model's lists, on which entries stay while someone stands at them.
#[cfg(all(kernel_has = "klist.k_list", kernel_has = "klist_node.n_klist"))]
impl<'m> crate::klist<'m> {
    /// The structs on the list, without those that were removed and wait for whoever still looks at them
    /// (`KNODE_DEAD`, bit 0 of `n_klist`). `member` is the accessor of the link.
    pub fn entries<T: View<'m>>(
        self,
        member: impl Fn(T) -> crate::klist_node<'m> + Copy,
    ) -> impl Iterator<Item = Result<T, kstruct::Fault>> {
        self.k_list()
            .entries(move |entry: T| member(entry).n_node())
            .filter(move |entry| match entry {
                Ok(entry) => member(*entry).n_klist().addr() & 1 == 0,
                Err(_) => true,
            })
    }
}
