//! The kernel's containers by the names of their members. The walks are the runtime's, over links instead of the structs around them: they
//! end whatever a dump says.

use std::collections::HashSet;

use anyhow::{Context as _, bail};
use kstruct::types::{Item, Member, Shape, Type};
use kstruct::view::View;
use kstruct::walk::{Entries, Node};
use kstruct::{Fault, FaultKind, Memory};

use crate::Context;
use crate::place::{Failed, Step, from_item, no_member};

/// The addresses of elements, with the index where a container has one; a fault where one can't be reached.
pub type Elements = Vec<Result<Element, Fault>>;

/// An element of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element {
    /// Where it is.
    pub address: u64,
    /// Its index, in a container that has them.
    pub index: Option<u64>,
}

/// What a list starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// A struct that is on the list.
    Element(u64),
    /// The list's head, which is in no element.
    Head(u64),
}

/// A member that links structs: how, and where it is in each.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    kind: LinkKind,
    offset: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LinkKind {
    List,
    Hlist,
    Nulls,
    Bl,
    Llist,
    Tree,
    Pointer,
}

/// The link that a member is: `tasks`, `sk.__sk_common.skc_node`, `next`.
///
/// # Errors
///
/// There is no such member, or it is nothing that a list is made of.
pub fn link(item: Item, path: &str) -> anyhow::Result<Link> {
    let steps = crate::place::steps(path)?;
    if steps.iter().any(|step| !matches!(step, Step::Member(_))) {
        bail!("{path}: a link is a member");
    }
    let mut within = item;
    let mut offset: u64 = 0;
    let mut ty = None;
    for step in &steps {
        let Step::Member(name) = step else { continue };
        if let Some(outer) = ty {
            within = Type::aggregate(outer)
                .with_context(|| format!("{path}: what has no members can't have {name}"))?;
        }
        let member = within
            .member(name)
            .with_context(|| no_member(within, name))?;
        offset = offset.saturating_add(member.offset);
        ty = Some(member.ty);
    }
    let ty = ty.with_context(|| format!("{path} names no member"))?;
    let kind = kind_of(ty)
        .with_context(|| format!("{path} is {}: no link of a list", ty.declaration("")))?;
    Ok(Link { kind, offset })
}

fn kind_of(ty: Type) -> Option<LinkKind> {
    match ty.stripped() {
        Shape::Pointer(_) => Some(LinkKind::Pointer),
        Shape::Item(item) => match item.name {
            "list_head" => Some(LinkKind::List),
            "hlist_node" => Some(LinkKind::Hlist),
            "hlist_nulls_node" => Some(LinkKind::Nulls),
            "hlist_bl_node" => Some(LinkKind::Bl),
            "llist_node" => Some(LinkKind::Llist),
            "rb_node" => Some(LinkKind::Tree),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a type is the head of a list.
pub fn is_head(ty: Type) -> bool {
    let heads = [
        "list_head",
        "hlist_head",
        "hlist_nulls_head",
        "hlist_bl_head",
        "llist_head",
    ];
    ty.aggregate()
        .is_some_and(|item| heads.contains(&item.name))
}

/// The structs of a list.
///
/// # Errors
///
/// The kernel has no lists of that kind, or the head can't be read.
pub fn list(context: &Context<'_>, link: Link, start: Start) -> anyhow::Result<Elements> {
    let k = context.k;
    let nodes = match link.kind {
        LinkKind::List => ring(k, start, link.offset),
        #[cfg(kernel_has = "hlist_head")]
        LinkKind::Hlist => line::<kernel::hlist_node<'_>>(k, start, link.offset, 0),
        #[cfg(kernel_has = "hlist_nulls_head")]
        LinkKind::Nulls => line::<kernel::hlist_nulls_node<'_>>(k, start, link.offset, 0),
        // Bit 0 of the head is its lock.
        #[cfg(kernel_has = "hlist_bl_head")]
        LinkKind::Bl => line::<kernel::hlist_bl_node<'_>>(k, start, link.offset, 1),
        #[cfg(kernel_has = "llist_head")]
        LinkKind::Llist => line::<kernel::llist_node<'_>>(k, start, link.offset, 0),
        LinkKind::Pointer => return Ok(chain(k, start, link.offset)),
        LinkKind::Tree => bail!("this member is a tree's: --rbtree"),
        #[cfg(not(all(
            kernel_has = "hlist_head",
            kernel_has = "hlist_nulls_head",
            kernel_has = "hlist_bl_head",
            kernel_has = "llist_head"
        )))]
        _ => bail!("this kernel's bindings have no walk of such a list"),
    };
    Ok(entries(k, nodes, link.offset))
}

/// From the nodes to the structs that they are in, each once: those of a circle come again before it is known for one.
fn entries(k: &Memory, nodes: Vec<Result<u64, Fault>>, offset: u64) -> Elements {
    let mut seen = HashSet::new();
    nodes
        .into_iter()
        .filter(|node| node.is_err() || node.is_ok_and(|node| seen.insert(node)))
        .map(|node| {
            node.map(|node| Element {
                address: k.wrap(node.wrapping_sub(offset)),
                index: None,
            })
        })
        .collect()
}

/// The nodes of a list that comes back to its head.
fn ring(k: &Memory, start: Start, offset: u64) -> Vec<Result<u64, Fault>> {
    use kernel::list_head;

    let (first, is_element) = match start {
        Start::Element(address) => (k.wrap(address.wrapping_add(offset)), true),
        Start::Head(address) => (address, false),
    };
    let mut found = Vec::new();
    if is_element {
        found.push(Ok(first));
    }
    match list_head::at(k, first) {
        Ok(head) => {
            let nodes = head.entries::<list_head<'_>, _>(|node| node);
            found.extend(nodes.map(|node| node.map(|node| node.addr())));
        }
        Err(fault) => found.push(Err(fault)),
    }
    found
}

/// The nodes of a list that ends. `locks` are the bits of the head that are no part of the address.
#[cfg(any(
    kernel_has = "hlist_head",
    kernel_has = "hlist_nulls_head",
    kernel_has = "hlist_bl_head",
    kernel_has = "llist_head"
))]
fn line<'m, N: Node<'m>>(
    k: &'m Memory,
    start: Start,
    offset: u64,
    locks: u64,
) -> Vec<Result<u64, Fault>> {
    let first = match start {
        Start::Element(address) => Ok(k.wrap(address.wrapping_add(offset))),
        Start::Head(address) => k.word(address).map(|first| first & !locks),
    };
    match first {
        Ok(first) => Entries::<N, N>::new(k, 0, first, |node| node)
            .map(|node| node.map(|node| node.part().address))
            .collect(),
        Err(fault) => vec![Err(fault)],
    }
}

/// Structs that point to the next one.
fn chain(k: &Memory, start: Start, offset: u64) -> Elements {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut next = match start {
        Start::Element(address) => Ok(address),
        Start::Head(address) => k.word(address),
    };
    loop {
        let address = match next {
            Ok(0) => return found,
            Ok(address) => address,
            Err(fault) => {
                found.push(Err(fault));
                return found;
            }
        };
        if !seen.insert(address) {
            // One that comes back to where it began is a ring.
            if start != Start::Element(address) {
                found.push(Err(Fault {
                    address,
                    kind: FaultKind::Cycle,
                }));
            }
            return found;
        }
        next = k.word(k.wrap(address.wrapping_add(offset)));
        if next.is_ok() {
            found.push(Ok(Element {
                address,
                index: None,
            }));
        }
    }
}

/// The structs of a red-black tree, as it is sorted. `root` is that of an `rb_root` or `rb_root_cached`.
///
/// # Errors
///
/// The member is no node of a tree, or the root can't be read.
pub fn tree(context: &Context<'_>, link: Link, root: u64) -> anyhow::Result<Elements> {
    if link.kind != LinkKind::Tree {
        bail!("the member is no rb_node");
    }
    let k = context.k;
    #[cfg(all(kernel_has = "rb_node", kernel_has = "rb_root"))]
    {
        use kernel::{rb_node, rb_root};

        let root = rb_root::at(k, root).context("the root can't be read")?;
        let nodes = root.entries::<rb_node<'_>>(|node| node);
        let nodes = nodes.map(|node| node.map(|node| node.addr())).collect();
        Ok(entries(k, nodes, link.offset))
    }
    #[cfg(not(all(kernel_has = "rb_node", kernel_has = "rb_root")))]
    {
        let _ = (k, root);
        bail!("this kernel has no red-black trees")
    }
}

/// What the pointers of an XArray, or of a radix tree, lead to.
///
/// # Errors
///
/// The kernel has none, or the root can't be read.
pub fn xarray(context: &Context<'_>, root: u64) -> anyhow::Result<Elements> {
    #[cfg(all(kernel_has = "xa_node.slots", kernel_has = "xarray.xa_head"))]
    let slots = kernel::xarray::at(context.k, root)
        .context("the XArray can't be read")?
        .entries();
    #[cfg(all(
        kernel_has = "radix_tree_node.slots",
        kernel_has = "radix_tree_root.rnode"
    ))]
    let slots = kernel::radix_tree_root::at(context.k, root)
        .context("the radix tree can't be read")?
        .entries();
    #[cfg(any(
        all(kernel_has = "xa_node.slots", kernel_has = "xarray.xa_head"),
        all(
            kernel_has = "radix_tree_node.slots",
            kernel_has = "radix_tree_root.rnode"
        )
    ))]
    {
        Ok(slots
            .filter_map(|slot| match slot {
                Ok(slot) => slot.entry.pointer().map(|address| {
                    Ok(Element {
                        address,
                        index: Some(slot.index),
                    })
                }),
                Err(fault) => Some(Err(fault)),
            })
            .collect())
    }
    #[cfg(not(any(
        all(kernel_has = "xa_node.slots", kernel_has = "xarray.xa_head"),
        all(
            kernel_has = "radix_tree_node.slots",
            kernel_has = "radix_tree_root.rnode"
        )
    )))]
    {
        let _ = (context, root);
        bail!("this kernel has neither XArrays nor radix trees")
    }
}

/// What an IDR has by number.
///
/// # Errors
///
/// The kernel has none, or it can't be read.
pub fn idr(context: &Context<'_>, root: u64) -> anyhow::Result<Elements> {
    #[cfg(kernel_has = "idr")]
    {
        let idr = kernel::idr::at(context.k, root).context("the IDR can't be read")?;
        // What the pointers lead to is not looked at.
        Ok(idr
            .entries::<kernel::list_head<'_>>()
            .map(|entry| {
                entry.map(|(index, pointer)| Element {
                    address: pointer.addr(),
                    index: Some(index),
                })
            })
            .collect())
    }
    #[cfg(not(kernel_has = "idr"))]
    {
        let _ = (context, root);
        bail!("this kernel has no IDR")
    }
}

/// What the ranges of a maple tree lead to; the index is the first one.
///
/// # Errors
///
/// The kernel has none, or it can't be read.
pub fn maple(context: &Context<'_>, root: u64) -> anyhow::Result<Elements> {
    #[cfg(kernel_has = "maple_range_64")]
    {
        let tree = kernel::maple_tree::at(context.k, root).context("the tree can't be read")?;
        Ok(tree
            .entries()
            // Odd ones are values, and what is below a page marks the tree's own.
            .filter(|range| {
                range
                    .as_ref()
                    .map_or(true, |range| range.entry & 3 == 0 && range.entry >= 4096)
            })
            .map(|range| {
                range.map(|range| Element {
                    address: range.entry,
                    index: Some(range.first),
                })
            })
            .collect())
    }
    #[cfg(not(kernel_has = "maple_range_64"))]
    {
        let _ = (context, root);
        bail!("this kernel has no maple trees")
    }
}

/// A table of heads: where it is, how many bytes there are from one head to the next, where the head is in each, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buckets {
    /// The first.
    pub address: u64,
    /// Bytes from one to the next.
    pub stride: u64,
    /// Where the head is in each.
    pub head: u64,
    /// How many.
    pub count: u64,
}

impl Buckets {
    /// The table at an address: of heads, or of structs that have one (`inet_ehash_bucket`), or of pointers' size if nothing is known.
    ///
    /// # Errors
    ///
    /// The elements have no head.
    pub fn of(
        context: &Context<'_>,
        element: Option<Type>,
        address: u64,
        count: u64,
    ) -> anyhow::Result<Self> {
        // A dump that says otherwise is damaged.
        const MOST: u64 = 1 << 28;
        if count > MOST {
            bail!("no table has {count} buckets");
        }
        let (stride, head) = match element {
            None => (context.types.pointer_size(), 0),
            Some(element) => {
                let head = head_in(element, 4).with_context(|| {
                    format!("{} has no head of a list", element.declaration(""))
                })?;
                (element.size().unwrap_or(0), head)
            }
        };
        if stride == 0 {
            bail!("the elements of the table have no size");
        }
        Ok(Buckets {
            address,
            stride,
            head,
            count,
        })
    }

    /// What is on the lists of all buckets; the index is that of the bucket.
    pub fn elements(self, context: &Context<'_>, link: Link) -> anyhow::Result<Elements> {
        let mut found = Vec::new();
        let mut unreadable = 0;
        for index in 0..self.count {
            let head = self
                .address
                .wrapping_add(index.wrapping_mul(self.stride))
                .wrapping_add(self.head);
            let here = list(context, link, Start::Head(context.k.wrap(head)))?;
            // A table that isn't there has all of its buckets nowhere.
            unreadable = match here[..] {
                [Err(_)] => unreadable + 1,
                _ => 0,
            };
            found.extend(here.into_iter().map(|element| {
                element.map(|element| Element {
                    index: Some(index),
                    ..element
                })
            }));
            if unreadable > 1000 {
                break;
            }
        }
        Ok(found)
    }
}

/// Where the first head of a list lies in a type.
fn head_in(ty: Type, depth: u32) -> Option<u64> {
    if is_head(ty) {
        return Some(0);
    }
    let depth = depth.checked_sub(1)?;
    ty.aggregate()?
        .flattened()
        .into_iter()
        .filter(|member: &Member| member.bits.is_none())
        .find_map(|member| member.offset.checked_add(head_in(member.ty, depth)?))
}

/// The struct that a member at `address` is embedded in: by the member's name, or by its offset.
///
/// # Errors
///
/// There is no such member.
pub fn container_of(
    context: &Context<'_>,
    item: Item,
    member: &str,
    address: u64,
) -> anyhow::Result<u64> {
    let offset = match member.parse().ok().or_else(|| {
        let digits = member.strip_prefix("0x")?;
        crate::context::hexadecimal(digits)
    }) {
        Some(offset) => offset,
        None => {
            let steps = crate::place::steps(member)?;
            match from_item(context, item, 0, &steps) {
                Ok(place) if place.bits.is_none() => place.address,
                Ok(_) => bail!("{member} is a bit-field"),
                Err(Failed::Wrong(why)) => bail!("{why}"),
                Err(Failed::Fault(_)) => bail!("{member} lies behind a pointer"),
            }
        }
    };
    // An array without a length may lie at the end.
    if offset > item.size
        || (offset == item.size && member.starts_with(|c: char| c.is_ascii_digit()))
    {
        bail!(
            "{member} lies beyond {}, which has {} bytes",
            item.c_name(),
            item.size
        );
    }
    Ok(context.k.wrap(address.wrapping_sub(offset)))
}
