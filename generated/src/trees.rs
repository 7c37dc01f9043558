//! The kernel's trees (include/linux/rbtree.h, xarray.h, radix-tree.h, idr.h, maple_tree.h), told to the runtime.

#[cfg(kernel_has = "rb_node")]
mod rbtree {
    use kstruct::Fault;
    use kstruct::view::View;
    use kstruct::walk::rbtree::{Order, TreeEntries, TreeNode};

    use crate::{rb_node, rb_root};

    impl<'m> TreeNode<'m> for rb_node<'m> {
        #[inline]
        fn left(self) -> u64 {
            self.rb_left().addr()
        }

        #[inline]
        fn right(self) -> u64 {
            self.rb_right().addr()
        }

        /// The colour is in the lowest bit.
        #[cfg(kernel_has = "rb_node.__rb_parent_color")]
        #[inline]
        fn parent(self) -> u64 {
            self.__rb_parent_color() & !3
        }

        #[cfg(kernel_has = "rb_node.rb_parent_color")]
        #[inline]
        fn parent(self) -> u64 {
            self.rb_parent_color() & !3
        }

        #[cfg(kernel_has = "rb_node.rb_parent")]
        #[inline]
        fn parent(self) -> u64 {
            self.rb_parent().addr()
        }
    }

    impl<'m> rb_root<'m> {
        /// The structs in the tree, as it is sorted. `member` is the accessor of the node:
        /// `root.entries(vmap_area::rb_node)`.
        pub fn entries<T: View<'m>>(
            self,
            member: impl Fn(T) -> rb_node<'m>,
        ) -> TreeEntries<'m, T, rb_node<'m>> {
            TreeEntries::new(self.memory(), self.rb_node().addr(), Order::In, member)
        }

        /// The structs in the tree, children before their parent.
        pub fn entries_postorder<T: View<'m>>(
            self,
            member: impl Fn(T) -> rb_node<'m>,
        ) -> TreeEntries<'m, T, rb_node<'m>> {
            TreeEntries::new(self.memory(), self.rb_node().addr(), Order::Post, member)
        }

        /// The first struct of the tree.
        pub fn first<T: View<'m>>(
            self,
            member: impl Fn(T) -> rb_node<'m>,
        ) -> Result<Option<T>, Fault> {
            self.entries(member).next().transpose()
        }
    }

    #[cfg(kernel_has = "rb_root_cached")]
    impl<'m> crate::rb_root_cached<'m> {
        /// The structs in the tree, as it is sorted.
        pub fn entries<T: View<'m>>(
            self,
            member: impl Fn(T) -> rb_node<'m>,
        ) -> TreeEntries<'m, T, rb_node<'m>> {
            self.rb_root().entries(member)
        }

        /// The first struct of the tree by the pointer that the kernel keeps, and not by the walk.
        pub fn leftmost<T: View<'m>>(
            self,
            member: impl Fn(T) -> rb_node<'m>,
        ) -> Result<Option<T>, Fault> {
            match self.rb_leftmost().deref_or_null()? {
                Some(node) => node.container_of(member).map(Some),
                None => Ok(None),
            }
        }
    }
}

/// XArray, which is the radix tree too from 4.20 on.
#[cfg(all(kernel_has = "xa_node.slots", kernel_has = "xarray.xa_head"))]
mod radix {
    use kstruct::view::View;
    use kstruct::walk::radix::{Layout, RadixEntries, Tags};

    use crate::{xa_node, xarray};

    impl<'m> xarray<'m> {
        /// What the array has, by index.
        pub fn entries(self) -> RadixEntries<'m> {
            let node = xa_node::phantom(self.memory());
            let layout = Layout {
                size: xa_node::SIZE,
                slots: node.slots().addr() as usize,
                count: node.slots().len(),
                shift: Some(xa_node::INFO.offset_of("shift")),
                parent: Some(xa_node::INFO.offset_of("parent")),
                tags: Tags::XArray,
            };
            RadixEntries::new(self.memory(), self.xa_head().addr(), None, layout)
        }
    }
}

/// Radix trees before 4.20.
#[cfg(all(
    kernel_has = "radix_tree_node.slots",
    kernel_has = "radix_tree_root.rnode"
))]
mod radix {
    use kstruct::view::View;
    use kstruct::walk::radix::{Layout, RadixEntries, Tags};

    use crate::{radix_tree_node, radix_tree_root};

    impl<'m> radix_tree_root<'m> {
        /// What the tree has, by index.
        pub fn entries(self) -> RadixEntries<'m> {
            let node = radix_tree_node::phantom(self.memory());
            let layout = Layout {
                size: radix_tree_node::SIZE,
                slots: node.slots().addr() as usize,
                count: node.slots().len(),
                #[cfg(kernel_has = "radix_tree_node.shift")]
                shift: Some(radix_tree_node::INFO.offset_of("shift")),
                #[cfg(not(kernel_has = "radix_tree_node.shift"))]
                shift: None,
                #[cfg(kernel_has = "radix_tree_node.parent")]
                parent: Some(radix_tree_node::INFO.offset_of("parent")),
                #[cfg(not(kernel_has = "radix_tree_node.parent"))]
                parent: None,
                #[cfg(kernel_has = "radix_tree_node.shift")]
                tags: Tags::Internal,
                #[cfg(not(kernel_has = "radix_tree_node.shift"))]
                tags: Tags::Height,
            };
            #[cfg(kernel_has = "radix_tree_root.height")]
            let height = Some(self.height());
            #[cfg(not(kernel_has = "radix_tree_root.height"))]
            let height = None;
            RadixEntries::new(self.memory(), self.rnode().addr(), height, layout)
        }
    }
}

#[cfg(kernel_has = "idr")]
mod idr {
    use kstruct::view::View;
    use kstruct::{Fault, Ptr};

    use crate::idr;

    impl<'m> idr<'m> {
        /// The structs by their numbers. `T` is what the pointers point to: `ns.idr().entries::<pid>()`.
        pub fn entries<T: View<'m>>(
            self,
        ) -> impl Iterator<Item = Result<(u64, Ptr<'m, T>), Fault>> {
            let memory = self.memory();
            let (slots, base) = self.slots();
            slots.filter_map(move |slot| match slot {
                Ok(slot) => {
                    let pointer = Ptr::new(memory, slot.entry.pointer()?);
                    Some(Ok((slot.index.wrapping_add(base), pointer)))
                }
                Err(fault) => Some(Err(fault)),
            })
        }

        /// 4.11 and later: a radix tree, and the number that its index 0 stands for.
        #[cfg(kernel_has = "idr.idr_rt")]
        fn slots(self) -> (kstruct::walk::radix::RadixEntries<'m>, u64) {
            #[cfg(kernel_has = "idr.idr_base")]
            let base = u64::from(self.idr_base());
            #[cfg(not(kernel_has = "idr.idr_base"))]
            let base = 0;
            (self.idr_rt().entries(), base)
        }

        /// Before: layers, of which the top's number of levels is known.
        #[cfg(not(kernel_has = "idr.idr_rt"))]
        fn slots(self) -> (kstruct::walk::radix::RadixEntries<'m>, u64) {
            use kstruct::walk::radix::{Layout, RadixEntries, Tags};

            use crate::idr_layer;

            let layer = idr_layer::phantom(self.memory());
            let layout = Layout {
                size: idr_layer::SIZE,
                slots: layer.ary().addr() as usize,
                count: layer.ary().len(),
                shift: None,
                parent: None,
                tags: Tags::Layers,
            };
            let layers = u32::try_from(self.layers()).unwrap_or(0);
            let top = self.top().addr();
            (
                RadixEntries::new(self.memory(), top, Some(layers), layout),
                0,
            )
        }
    }
}

/// 4.20 and later: an array of bitmaps, of which small ones are values.
#[cfg(all(kernel_has = "ida.xa", kernel_has = "ida_bitmap"))]
mod ida {
    use kstruct::view::View;
    use kstruct::walk::radix::Entry;
    use kstruct::walk::set_bits;
    use kstruct::{Fault, Ptr};

    use crate::{ida, ida_bitmap};

    impl<'m> ida<'m> {
        /// The numbers that are taken, in order.
        pub fn ids(self) -> impl Iterator<Item = Result<u64, Fault>> {
            let memory = self.memory();
            let width = u32::from(memory.kernel().pointer_size) * 8;
            // IDA_BITMAP_BITS: how many numbers an index of the array stands for.
            let each = ida_bitmap::SIZE as u64 * 8;
            self.xa().entries().flat_map(move |slot| {
                let words = slot.and_then(|slot| {
                    let words: Vec<u64> = match slot.entry {
                        Entry::Value(bits) => vec![bits],
                        Entry::Pointer(address) => Ptr::<ida_bitmap<'m>>::new(memory, address)
                            .deref()?
                            .bitmap()
                            .iter()
                            .collect(),
                        Entry::Reserved => Vec::new(),
                    };
                    Ok((slot.index, words))
                });
                let (fault, (index, words)) = match words {
                    Ok(found) => (None, found),
                    Err(fault) => (Some(Err(fault)), (0, Vec::new())),
                };
                fault.into_iter().chain(
                    set_bits(words, width).map(move |bit| Ok(index.wrapping_mul(each) + bit)),
                )
            })
        }
    }
}

#[cfg(kernel_has = "maple_range_64")]
mod maple {
    use kstruct::view::View;
    use kstruct::walk::maple::{Layout, MapleEntries, Part};

    use crate::{maple_arange_64, maple_node, maple_range_64, maple_tree};

    impl<'m> maple_tree<'m> {
        /// The ranges of indices that have an entry, in order.
        pub fn entries(self) -> MapleEntries<'m> {
            let memory = self.memory();
            let node = maple_node::phantom(memory);
            let range = maple_range_64::phantom(memory);
            let arange = maple_arange_64::phantom(memory);
            let layout = Layout {
                size: maple_node::SIZE,
                parent: maple_node::INFO.offset_of("parent"),
                dense: Part {
                    slots: node.slot().addr() as usize,
                    slot_count: node.slot().len(),
                    ..Part::default()
                },
                range: Part {
                    pivots: range.pivot().addr() as usize,
                    pivot_count: range.pivot().len(),
                    slots: range.slot().addr() as usize,
                    slot_count: range.slot().len(),
                },
                arange: Part {
                    pivots: arange.pivot().addr() as usize,
                    pivot_count: arange.pivot().len(),
                    slots: arange.slot().addr() as usize,
                    slot_count: arange.slot().len(),
                },
            };
            MapleEntries::new(memory, self.ma_root().addr(), layout)
        }
    }
}
