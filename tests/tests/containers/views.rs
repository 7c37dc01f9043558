//! Structs of the kernel as generated code would have them, of 64-bit machines, and an entry that can be in any container.

use kstruct::table::StructInfo;
use kstruct::view::{Array, Part, Ptr, Raw, View, Void};

/// Structs by name and size; their members by offset and kind.
macro_rules! views {
    ($($name:ident $size:literal { $($member:ident $offset:literal $kind:ident $($of:ident)?;)* })*) => {$(
        #[derive(Clone, Copy)]
        pub struct $name<'m>(Raw<'m, $size>);

        impl<'m> View<'m> for $name<'m> {
            const INFO: &'static StructInfo = &StructInfo {
                name: stringify!($name),
                size: $size,
                members: "",
                structs: &[],
                enums: &[],
            };
            fn new(part: Part<'m>) -> Self {
                $name(Raw::new(part))
            }
            fn part(self) -> Part<'m> {
                self.0.part()
            }
        }

        #[allow(dead_code, reason = "kernels have members that nobody asks for")]
        impl<'m> $name<'m> {
            $(views! { @ $member $offset $kind $($of)? })*
        }
    )*};
    (@ $member:ident $offset:literal ptr $of:ident) => {
        pub fn $member(self) -> Ptr<'m, $of<'m>> {
            self.0.ptr($offset)
        }
    };
    (@ $member:ident $offset:literal void) => {
        pub fn $member(self) -> Ptr<'m, Void> {
            self.0.ptr($offset)
        }
    };
    (@ $member:ident $offset:literal per_cpu) => {
        pub fn $member(self) -> Ptr<'m, i32> {
            self.0.ptr($offset)
        }
    };
    (@ $member:ident $offset:literal sub $of:ident) => {
        pub fn $member(self) -> $of<'m> {
            self.0.sub($offset)
        }
    };
    // A tail of pointers.
    (@ $member:ident $offset:literal pointers) => {
        pub fn $member(self) -> Ptr<'m, Ptr<'m, Void>> {
            Ptr::new(self.memory(), self.addr() + $offset)
        }
    };
    (@ $member:ident $offset:literal slots) => {
        pub fn $member(self) -> Array<'m, u64> {
            self.0.array($offset, 16)
        }
    };
    (@ $member:ident $offset:literal $number:ident) => {
        pub fn $member(self) -> $number {
            self.0.$number($offset)
        }
    };
}

views! {
    list_head 16 { next 0 ptr list_head; prev 8 ptr list_head; }
    hlist_head 8 { first 0 ptr hlist_node; }
    hlist_node 16 { next 0 ptr hlist_node; }
    hlist_nulls_head 8 { first 0 ptr hlist_nulls_node; }
    hlist_nulls_node 16 { next 0 ptr hlist_nulls_node; }
    hlist_bl_head 8 { first 0 ptr hlist_bl_node; }
    hlist_bl_node 16 { next 0 ptr hlist_bl_node; }
    llist_head 8 { first 0 ptr llist_node; }
    llist_node 8 { next 0 ptr llist_node; }
    plist_head 16 { node_list 0 sub list_head; }
    plist_node 40 { prio 0 i32; prio_list 8 sub list_head; node_list 24 sub list_head; }
    klist 16 { k_list 0 sub list_head; }
    klist_node 32 { n_klist 0 void; n_node 8 sub list_head; }
    rb_node 24 { __rb_parent_color 0 u64; rb_right 8 ptr rb_node; rb_left 16 ptr rb_node; }
    rb_root 8 { rb_node 0 ptr rb_node; }
    rb_root_cached 16 { rb_root 0 sub rb_root; rb_leftmost 8 ptr rb_node; }
    radix_tree_root 16 { height 0 u32; rnode 8 ptr radix_tree_node; }
    radix_tree_node 136 { slots 8 slots; }
    idr 16 { top 0 ptr idr_layer; layers 8 i32; }
    idr_layer 136 { ary 8 slots; }
    __kfifo 24 { in_ 0 u32; out 4 u32; mask 8 u32; esize 12 u32; data 16 void; }
    kfifo 24 { buffer 0 void; size 8 u32; in_ 12 u32; out 16 u32; }
    circ_buf 16 { buf 0 void; head 8 i32; tail 12 i32; }
    wait_queue_head 24 { head 8 sub list_head; }
    wait_queue_entry 40 { private 8 void; func 16 void; entry 24 sub list_head; }
    __wait_queue_head 24 { task_list 8 sub list_head; }
    __wait_queue 40 { private 8 void; func 16 void; task_list 24 sub list_head; }
    swait_queue_head 24 { task_list 8 sub list_head; }
    swait_queue 24 { task 0 void; task_list 8 sub list_head; }
    atomic_t 4 { counter 0 i32; }
    refcount_struct 4 { refs 0 sub atomic_t; }
    rhashtable 16 { tbl 0 ptr bucket_table; }
    bucket_table 24 { size 0 u32; nest 4 u32; future_tbl 8 ptr bucket_table; buckets 16 pointers; }
    rhash_head 8 { next 0 ptr rhash_head; }
    percpu_counter 24 { count 8 i64; counters 16 per_cpu; }

    // Its number, and behind it the node of whatever it is in.
    item 48 {
        number 0 u64;
        list 8 sub list_head;
        hlist 8 sub hlist_node;
        nulls 8 sub hlist_nulls_node;
        bl 8 sub hlist_bl_node;
        llist 8 sub llist_node;
        plist 8 sub plist_node;
        klist 8 sub klist_node;
        rb 8 sub rb_node;
        hash 8 sub rhash_head;
    }
}
