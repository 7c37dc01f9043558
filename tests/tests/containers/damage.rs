//! A thousand damages to each container, walked by what crate `kernel` is made of: lists of all kinds, trees of earlier kernels, rings,
//! wait queues, counts, free lists, names.

use kstruct::view::View;
use kstruct::walk::free_list::{Disguise, FreeObjects, Objects, add_free_objects};
use kstruct::{Fault, FaultKind, Kallsyms, Memory};

use crate::views::*;
use crate::{DAMAGES, ENOUGH, HEAP, Heap, Random, damage, tree};

/// Entries of a list.
const COUNT: u64 = 50;

/// Where entry `number` lies: not in order, so that a wild step is not the next one.
fn at(number: u64) -> u64 {
    HEAP + 0x40 * (1 + number * 37 % 64)
}

/// Entries that are linked from the word at `HEAP`: each word at `link` in an entry has what `next` makes of the next one's
/// number, `None` behind the last.
fn linked(link: u64, next: impl Fn(Option<u64>) -> u64) -> Heap {
    let mut heap = Heap::default();
    heap.set(HEAP, next(Some(0)));
    heap.set(HEAP + 8, 0);
    for number in 0..COUNT {
        for offset in (0..48).step_by(8) {
            heap.set(at(number) + offset, 0);
        }
        heap.set(at(number), number);
        heap.set(
            at(number) + link,
            next((number + 1 < COUNT).then_some(number + 1)),
        );
    }
    heap
}

/// The same with links back, each behind its link: of entries, and of the head, whose link is at `head`.
fn linked_back(mut heap: Heap, link: u64, head: u64) -> Heap {
    let mut before = head;
    for number in 0..COUNT {
        heap.set(at(number) + link + 8, before);
        before = at(number) + link;
    }
    heap.set(head + 8, before);
    heap
}

fn numbers<'m>(walk: impl Iterator<Item = Result<item<'m>, Fault>>) -> Vec<Result<u64, Fault>> {
    walk.take(ENOUGH)
        .map(|entry| entry.map(item::number))
        .collect()
}

/// A sound list has all entries in order, and of a thousand damaged ones each ends, most of them with a fault.
fn damage_list(name: &str, heap: &Heap, walk: impl Fn(&Memory) -> Vec<Result<u64, Fault>>) {
    assert!(
        walk(&heap.open()).into_iter().eq((0..COUNT).map(Ok)),
        "{name}"
    );
    let (faults, _) = damage(name, heap, walk);
    assert!(faults > 0, "{name}");
}

/// The head of a container at `HEAP`.
fn head<'m, T: View<'m>>(memory: &'m Memory) -> Result<T, Fault> {
    T::at(memory, HEAP)
}

/// What a head that can't be read makes of a walk.
fn or_fault<T>(walk: Result<Vec<Result<T, Fault>>, Fault>) -> Vec<Result<T, Fault>> {
    walk.unwrap_or_else(|fault| vec![Err(fault)])
}

#[test]
fn lists() {
    let circular =
        |offset: u64| move |next: Option<u64>| next.map_or(HEAP, |next| at(next) + offset);
    let open = |next: Option<u64>| next.map_or(0, |next| at(next) + 8);
    let list = linked_back(linked(8, circular(8)), 8, HEAP);
    damage_list("list", &list, |memory| {
        or_fault(head::<list_head<'_>>(memory).map(|list| numbers(list.entries(item::list))))
    });
    damage_list("hlist", &linked(8, open), |memory| {
        or_fault(head::<hlist_head<'_>>(memory).map(|list| numbers(list.entries(item::hlist))))
    });
    let nulls = |next: Option<u64>| next.map_or(2 * 17 + 1, |next| at(next) + 8);
    damage_list("hlist_nulls", &linked(8, nulls), |memory| {
        or_fault(
            head::<hlist_nulls_head<'_>>(memory).map(|list| numbers(list.entries(item::nulls))),
        )
    });
    // Its lock is held.
    let mut locked = linked(8, open);
    locked.set(HEAP, (at(0) + 8) | 1);
    damage_list("hlist_bl", &locked, |memory| {
        or_fault(head::<hlist_bl_head<'_>>(memory).map(|list| numbers(list.entries(item::bl))))
    });
    damage_list("llist", &linked(8, open), |memory| {
        or_fault(head::<llist_head<'_>>(memory).map(|list| numbers(list.entries(item::llist))))
    });
    let list = linked_back(linked(32, circular(32)), 32, HEAP);
    damage_list("plist", &list, |memory| {
        or_fault(head::<plist_head<'_>>(memory).map(|list| numbers(list.entries(item::plist))))
    });
    let mut devices = linked_back(linked(16, circular(16)), 16, HEAP);
    damage_list("klist", &devices, |memory| {
        or_fault(head::<klist<'_>>(memory).map(|list| numbers(list.entries(item::klist))))
    });
    // Entries that were removed and are looked at still are not there.
    for number in [3, 4, 49] {
        devices.set(at(number) + 8, HEAP | 1);
    }
    let memory = devices.open();
    let list: klist<'_> = head(&memory).expect("the head is in the dump");
    let found = numbers(list.entries(item::klist));
    assert!(
        found
            .into_iter()
            .eq((0..COUNT).filter(|n| ![3, 4, 49].contains(n)).map(Ok))
    );
}

/// Puts entries into a bucket behind those that are there.
fn add_to_bucket(heap: &mut Heap, bucket: u64, number: u64) {
    let end = bucket | 1;
    let link = match heap.get(bucket) & !3 {
        0 => bucket,
        mut at => {
            while heap.get(at) != end {
                at = heap.get(at);
            }
            at
        }
    };
    heap.set(at(number), number);
    heap.set(at(number) + 8, end);
    heap.set(link, at(number) + 8);
}

fn walk_table(memory: &Memory) -> Vec<Result<u64, Fault>> {
    or_fault(head::<rhashtable<'_>>(memory).map(|table| numbers(table.entries(item::hash))))
}

#[test]
fn hash_tables() {
    let (table, next) = (HEAP + 0x2000, HEAP + 0x4000);
    let mut heap = Heap::default();
    heap.set(HEAP, table);
    heap.set(table, 16);
    heap.set(table + 8, 0);
    for bucket in 0..16 {
        heap.set(table + 16 + bucket * 8, 0);
    }
    assert_eq!(walk_table(&heap.open()), []);
    for number in 0..COUNT - 10 {
        add_to_bucket(&mut heap, table + 16 + number % 13 * 8, number);
    }
    // A lock is held, that of an empty bucket too.
    for bucket in [3, 14] {
        let first = heap.get(table + 16 + bucket * 8);
        heap.set(table + 16 + bucket * 8, first | 1);
    }
    let by_bucket = |count: u64| {
        let mut all: Vec<u64> = (0..count).collect();
        all.sort_by_key(|number| number % 13);
        all
    };
    let found = walk_table(&heap.open());
    assert!(
        found
            .into_iter()
            .eq(by_bucket(COUNT - 10).into_iter().map(Ok))
    );
    let (faults, _) = damage("rhashtable", &heap, walk_table);
    assert!(faults > DAMAGES / 8, "{faults}");

    // Being resized: the rest is in the next table, and the entry that is on its way in both.
    heap.set(table + 8, next);
    heap.set(next, 2);
    heap.set(next + 8, 0);
    heap.set(next + 16, 0);
    heap.set(next + 24, 0);
    for number in COUNT - 10..COUNT {
        add_to_bucket(&mut heap, next + 16 + number % 2 * 8, number);
    }
    let (last, first) = (at(39) + 8, heap.get(next + 16));
    heap.set(next + 16, last);
    heap.set(last, first);
    let found = walk_table(&heap.open());
    let mut sorted: Vec<u64> = found.iter().flatten().copied().collect();
    sorted.sort_unstable();
    assert!(found.iter().all(Result::is_ok) && sorted.into_iter().eq(0..COUNT));
    damage("rhashtable that is resized", &heap, walk_table);
}

#[test]
fn nested_hash_tables() {
    // 2^19 buckets: 2^1 pages of 2^9 pages of 2^9 buckets.
    let table = HEAP + 0x2000;
    let mut heap = Heap::default();
    heap.set(HEAP, table);
    heap.set(table, 1 << 19 | 1 << 32);
    heap.set(table + 8, 0);
    let mut pages = HEAP + 0x10_0000;
    let mut page_behind = |heap: &mut Heap, at: u64| match heap.get(at) {
        0 => {
            pages += 0x1000;
            heap.set(at, pages);
            // The walk reads all of it.
            for offset in (0..0x1000).step_by(8) {
                heap.set(pages + offset, 0);
            }
            pages
        }
        page => page,
    };
    let bucket_of =
        |number: u64| ((number / 10) % 2) | ((number / 20) << 1) | ((number % 10) << 10);
    for number in 0..COUNT {
        // As `__rht_bucket_nested` finds it.
        let hash = bucket_of(number);
        let top = page_behind(&mut heap, table + 16);
        let middle = page_behind(&mut heap, top + (hash & 1) * 8);
        let leaf = page_behind(&mut heap, middle + (hash >> 1 & 511) * 8);
        add_to_bucket(&mut heap, leaf + (hash >> 10) * 8, number);
    }
    let found = walk_table(&heap.open());
    let mut expected: Vec<u64> = (0..COUNT).collect();
    expected.sort_by_key(|number| (number / 10 % 2, number / 20, number % 10));
    assert!(found.into_iter().eq(expected.into_iter().map(Ok)));
    // Two pointers to one page.
    let top = heap.get(table + 16);
    let shared = heap.get(top);
    let mut damaged = heap.clone();
    damaged.set(top + 8, shared);
    let found = walk_table(&damaged.open());
    let fault = Fault {
        address: shared,
        kind: FaultKind::Inconsistent,
    };
    assert!(found.contains(&Err(fault)) && found.len() < COUNT as usize);
    damage("nested rhashtable", &heap, walk_table);
}

#[test]
fn trees_with_a_cached_first_entry() {
    let (mut heap, root) = tree(100);
    let head_at = HEAP + 0x4_0000;
    // The leftmost is entry 0.
    heap.set(head_at, root);
    heap.set(head_at + 8, crate::node(0));
    let walk = |memory: &Memory| {
        or_fault(rb_root_cached::at(memory, head_at).map(|tree| {
            let mut found = vec![tree.leftmost(item::rb).map(|first| first.map(item::number))];
            let in_order = tree.entries(item::rb);
            let post_order = tree.rb_root().entries_postorder(item::rb);
            found.extend(
                in_order
                    .chain(post_order)
                    .take(ENOUGH)
                    .map(|entry| entry.map(|entry| Some(entry.number()))),
            );
            found
        }))
    };
    let found = walk(&heap.open());
    assert_eq!(found[0], Ok(Some(0)));
    assert_eq!(found.len(), 201);
    let (faults, _) = damage("rb_root_cached", &heap, walk);
    assert!(faults > DAMAGES / 4, "{faults}");
}

/// A tree of layers of 16 slots that says only at its root how many there are; the entries are pointers. The address of its top.
fn layers(heap: &mut Heap, levels: u32, entries: &[u64]) -> u64 {
    let mut next = HEAP + 0x1000;
    let mut new = |heap: &mut Heap| {
        next += 0x100;
        for offset in (0..136).step_by(8) {
            heap.set(next + offset, 0);
        }
        next
    };
    let top = new(heap);
    for index in entries {
        let mut layer = top;
        for level in (1..levels).rev() {
            let slot = layer + 8 + (index >> (4 * level) & 15) * 8;
            layer = match heap.get(slot) {
                0 => {
                    let below = new(heap);
                    heap.set(slot, below);
                    below
                }
                below => below,
            };
        }
        heap.set(layer + 8 + (index & 15) * 8, HEAP + 0x8_0000 + index * 8);
    }
    top
}

#[test]
fn trees_of_earlier_kernels() {
    let indices: Vec<u64> = (0..60).map(|index| index * 61).collect();
    // Radix trees before 4.7: bit 0 at the root says that there is a node.
    let mut heap = Heap::default();
    let top = layers(&mut heap, 3, &indices);
    heap.set(HEAP, 3);
    heap.set(HEAP + 8, top | 1);
    let walk = |memory: &Memory| {
        or_fault(
            head::<radix_tree_root<'_>>(memory).map(|root| root.entries().take(ENOUGH).collect()),
        )
    };
    let found = walk(&heap.open());
    assert!(
        found
            .iter()
            .map(|slot| slot.map(|slot| slot.index))
            .eq(indices.iter().copied().map(Ok))
    );
    let (faults, _) = damage("radix tree", &heap, walk);
    assert!(faults > 0);

    // The IDR before 4.11.
    heap.set(HEAP, top);
    heap.set(HEAP + 8, 3);
    let walk = |memory: &Memory| {
        or_fault(head::<idr<'_>>(memory).map(|root| {
            let entries = root.entries::<item<'_>>().take(ENOUGH);
            entries
                .map(|entry| entry.map(|(number, pointer)| (number, pointer.addr())))
                .collect()
        }))
    };
    let found = walk(&heap.open());
    let expected = indices
        .iter()
        .map(|index| Ok((*index, HEAP + 0x8_0000 + index * 8)));
    assert!(found.into_iter().eq(expected));
    let (faults, _) = damage("IDR of layers", &heap, walk);
    assert!(faults > 0);
}

#[test]
fn rings() {
    // Indices that have run over: 48 of 64 elements of 8 bytes are in use, and go round the array's end.
    let (first, next) = (u32::MAX - 19, 28_u32);
    let mut heap = Heap::default();
    let data = HEAP + 0x1000;
    for slot in 0..64 {
        heap.set(data + slot * 8, slot);
    }
    heap.set(HEAP, u64::from(next) | u64::from(first) << 32);
    heap.set(HEAP + 8, 63 | 8 << 32);
    heap.set(HEAP + 16, data);
    let walk = |memory: &Memory| {
        or_fault(head::<__kfifo<'_>>(memory).and_then(|fifo| {
            let ring = fifo.ring()?;
            assert!(ring.len() <= ring.capacity());
            Ok(ring.entries::<u64>().take(ENOUGH).collect())
        }))
    };
    let expected = (44..64).chain(0..28).map(Ok);
    assert!(walk(&heap.open()).into_iter().eq(expected));
    let (faults, _) = damage("__kfifo", &heap, walk);
    assert!(faults > 0);

    let bytes = |ring: Result<kstruct::walk::Ring<'_>, Fault>| {
        or_fault(ring.and_then(|ring| {
            let bytes = ring.pieces()?.concat();
            assert_eq!(bytes.len() as u64, ring.len());
            Ok(bytes.into_iter().map(Ok).collect())
        }))
    };
    // Before 2.6.36: 512 bytes, of which the last 16 and the first 8 are in use.
    let mut old = heap.clone();
    old.set(HEAP, data);
    old.set(HEAP + 8, 512 | (1024 + 8) << 32);
    old.set(HEAP + 16, 1024 - 16);
    let walk = |memory: &Memory| bytes(head::<kfifo<'_>>(memory).and_then(kfifo::ring));
    let expected: Vec<_> = [62, 63, 0_u64]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .map(Ok)
        .collect();
    assert_eq!(walk(&old.open()), expected);
    damage("kfifo", &old, walk);
    // The same as `struct circ_buf`: head 8, tail 496.
    let mut circular = heap;
    circular.set(HEAP, data);
    circular.set(HEAP + 8, 8 | 496 << 32);
    let walk =
        |memory: &Memory| bytes(head::<circ_buf<'_>>(memory).and_then(|ring| ring.ring(512)));
    assert_eq!(walk(&circular.open()), expected);
    let (faults, _) = damage("circ_buf", &circular, walk);
    assert!(faults > 0);
    // More than there is room for is a fault, and so is a type of another size.
    circular.set(HEAP, 65 << 32);
    circular.set(HEAP + 8, 63 | 8 << 32);
    circular.set(HEAP + 16, data);
    let memory = circular.open();
    let fault = |address| Fault {
        address,
        kind: FaultKind::Inconsistent,
    };
    let fifo: __kfifo<'_> = head(&memory).expect("it is in the dump");
    assert_eq!(fifo.ring().err(), Some(fault(data)));
    circular.set(HEAP, 0);
    let memory = circular.open();
    let ring = head::<__kfifo<'_>>(&memory)
        .and_then(__kfifo::ring)
        .expect("it is empty");
    assert!(ring.is_empty());
    assert!(ring.entries::<u32>().eq([Err(fault(data))]));
}

#[test]
fn wait_queues() {
    // A head of 24 bytes with the list at 8; entries whose task is at 8, and their link at 24.
    let mut heap = linked(24, |next| next.map_or(HEAP + 8, |next| at(next) + 24));
    heap.set(HEAP + 8, heap.get(HEAP));
    heap.set(HEAP, 0);
    let mut heap = linked_back(heap, 24, HEAP + 8);
    for number in 0..COUNT {
        heap.set(at(number) + 8, at(number));
    }
    let expected = || (0..COUNT).map(|number| Ok(at(number)));
    let walk = |memory: &Memory| {
        or_fault(head::<wait_queue_head<'_>>(memory).map(|queue| {
            let waiters = queue.waiters().take(ENOUGH);
            waiters
                .map(|entry| entry.map(|entry| entry.private().addr()))
                .collect()
        }))
    };
    assert!(walk(&heap.open()).into_iter().eq(expected()));
    let (faults, _) = damage("wait queue", &heap, walk);
    assert!(faults > 0);
    let walk = |memory: &Memory| {
        or_fault(head::<__wait_queue_head<'_>>(memory).map(|queue| {
            let waiters = queue.waiters().take(ENOUGH);
            waiters
                .map(|entry| entry.map(|entry| entry.private().addr()))
                .collect()
        }))
    };
    assert!(walk(&heap.open()).into_iter().eq(expected()));
    damage("wait queue before 4.13", &heap, walk);

    let mut heap = linked(8, |next| next.map_or(HEAP + 8, |next| at(next) + 8));
    heap.set(HEAP + 8, heap.get(HEAP));
    let heap = linked_back(heap, 8, HEAP + 8);
    let walk = |memory: &Memory| {
        or_fault(head::<swait_queue_head<'_>>(memory).map(|queue| {
            let waiters = queue.waiters().take(ENOUGH);
            waiters
                .map(|entry| entry.map(|entry| entry.task().addr()))
                .collect()
        }))
    };
    assert!(walk(&heap.open()).into_iter().eq((0..COUNT).map(Ok)));
    damage("simple wait queue", &heap, walk);
}

#[test]
fn counters() {
    // Four CPUs, whose areas are 0x1000 apart.
    let mut heap = Heap::default();
    let (offsets, held) = (HEAP + 0x100, HEAP + 0x1000);
    heap.set(HEAP, 0);
    heap.set(HEAP + 8, 1000);
    heap.set(HEAP + 16, held);
    for cpu in 0..4 {
        heap.set(offsets + cpu * 8, cpu * 0x1000);
        // -5, -4, -3, -2
        heap.set(held + cpu * 0x1000, u64::from((cpu as u32).wrapping_sub(5)));
    }
    let walk = |memory: &Memory| {
        vec![head::<percpu_counter<'_>>(memory).and_then(|counter| counter.sum(&[0, 1, 2, 3]))]
    };
    let open = |heap: &Heap| heap.open_with_cpus(offsets, 4);
    assert_eq!(walk(&open(&heap)), [Ok(1000 - 14)]);
    let mut random = Random::new(5);
    let mut faults = 0;
    for _ in 0..DAMAGES {
        let damaged = heap.damaged(&mut random);
        let found = walk(&open(&damaged));
        assert_eq!(found.len(), 1);
        faults += u64::from(found[0].is_err());
    }
    assert!(faults > DAMAGES / 4, "{faults}");
    let memory = open(&heap);
    let counter: percpu_counter<'_> = head(&memory).expect("it is in the dump");
    let beyond = counter.sum(&[4]).err().map(|fault| fault.kind);
    assert_eq!(beyond, Some(FaultKind::OutOfRange));
}

#[test]
fn bitmaps() {
    let mut heap = Heap::default();
    let mut random = Random::new(11);
    for word in 0..16 {
        heap.set(HEAP + word * 8, random.next() & random.next());
    }
    let walk = |memory: &Memory| {
        let words = kstruct::Ptr::<u64>::new(memory, HEAP).array(16);
        or_fault(words.map(|words| {
            let bits = kstruct::walk::set_bits(words.iter(), 64);
            bits.map(Ok).collect::<Vec<Result<u64, Fault>>>()
        }))
    };
    for _ in 0..DAMAGES {
        let damaged = heap.damaged(&mut random);
        let found: Vec<u64> = walk(&damaged.open())
            .into_iter()
            .map(|bit| bit.expect("it is in the dump"))
            .collect();
        // Any word is a bitmap: what is found is what is set.
        let set: u32 = damaged.0.values().map(|word| word.count_ones()).sum();
        assert_eq!(found.len(), set as usize);
        assert!(
            found
                .iter()
                .all(|bit| damaged.get(HEAP + bit / 64 * 8) >> (bit % 64) & 1 == 1)
        );
    }
}

#[test]
fn free_objects_of_slabs() {
    let random_number = 0x1234_5678_9abc_def0;
    for disguise in [
        Disguise::None,
        Disguise::Place(random_number),
        Disguise::Swapped(random_number),
    ] {
        // 32 objects of 64 bytes, whose links are in their middle; 20 are free.
        let objects = Objects {
            first: HEAP + 0x1040,
            size: 64,
            count: 32,
            link: 32,
            disguise,
        };
        let object = |number: u64| objects.first + number * 13 % 32 * 64;
        let mut heap = Heap::default();
        heap.set(HEAP, object(0));
        for number in 0..20 {
            let place = object(number) + 32;
            let next = if number == 19 { 0 } else { object(number + 1) };
            let word = match disguise {
                Disguise::None => next,
                Disguise::Place(random) => next ^ random ^ place,
                Disguise::Swapped(random) => next ^ random ^ place.swap_bytes(),
            };
            heap.set(place, word);
        }
        let walk = |memory: &Memory| {
            let mut free = FreeObjects::default();
            free.reset(objects.count);
            let found = memory
                .word(HEAP)
                .and_then(|first| add_free_objects(memory, &objects, first, &mut free));
            let numbers = (0..objects.count).filter(|number| {
                let others = free.others(number / 64 * 64, objects.count);
                others >> (number % 64) & 1 == 0
            });
            or_fault(found.map(|()| {
                numbers
                    .map(|number| Ok(objects.first + number * 64))
                    .collect()
            }))
        };
        assert_eq!(walk(&heap.open()).len(), 20);
        let (faults, silent) = damage(&format!("free list, {disguise:?}"), &heap, walk);
        assert!(faults > DAMAGES / 4, "{faults}");
        // A disguised link that is damaged is hardly ever another object.
        assert!(
            disguise == Disguise::None || silent < DAMAGES / 10,
            "{silent}"
        );
    }
}

#[test]
fn names_of_symbols() {
    // 1,000 names, each a letter, a common part that is a token, and a number; tokens 1 to 9 are longer, the rest are bytes.
    const NAMES: u64 = 1000;
    let place = |offset: u64| HEAP + offset;
    let name = |number: u64| format!("Tsymbol_{number:04}");
    let mut tokens = Vec::new();
    let mut index = Vec::new();
    for byte in 0..=255_u8 {
        index.extend((tokens.len() as u16).to_le_bytes());
        match byte {
            1 => tokens.extend_from_slice(b"symbol_"),
            _ if byte.is_ascii_graphic() => tokens.push(byte),
            _ => {}
        }
        tokens.push(0);
    }
    let mut names = Vec::new();
    let mut markers = Vec::new();
    for number in 0..NAMES {
        if number % 256 == 0 {
            markers.extend((names.len() as u32).to_le_bytes());
        }
        let digits = format!("{number:04}");
        names.extend([2 + digits.len() as u8, b'T', 1]);
        names.extend(digits.as_bytes());
    }
    let offsets: Vec<u8> = (0..NAMES as u32)
        .flat_map(|number| (number * 16).to_le_bytes())
        .collect();
    names.resize(names.len().next_multiple_of(8), 0);
    let names_at = place(0x100);
    let markers_at = names_at + names.len() as u64;
    let tokens_at = markers_at + markers.len().next_multiple_of(8) as u64;
    let index_at = place(0x8000);
    let offsets_at = place(0x9000);
    let mut heap = Heap::default();
    heap.set(place(0), NAMES);
    heap.set(place(8), 0xffff_ffff_8100_0000);
    for (at, bytes) in [
        (names_at, &names),
        (markers_at, &markers),
        (tokens_at, &tokens),
        (index_at, &index),
        (offsets_at, &offsets),
    ] {
        for (word, chunk) in (0..).zip(bytes.chunks(8)) {
            let mut padded = [0; 8];
            padded[..chunk.len()].copy_from_slice(chunk);
            heap.set(at + word * 8, u64::from_le_bytes(padded));
        }
    }
    let note: String = [
        ("names", names_at),
        ("num_syms", place(0)),
        ("token_table", tokens_at),
        ("token_index", index_at),
        ("offsets", offsets_at),
        ("relative_base", place(8)),
    ]
    .iter()
    .map(|(name, at)| format!("SYMBOL(kallsyms_{name})={at:x}\n"))
    .collect();
    let read = |heap: &Heap| {
        let memory = heap.open_with_note(&note);
        Kallsyms::read(&memory).map(|list| list.expect("the note names the tables"))
    };
    let sound = read(&heap).expect("it is sound");
    assert_eq!(sound.faults(), []);
    let expected = |number: u64| {
        (
            0xffff_ffff_8100_0000 + number * 16,
            name(number)[1..].to_owned(),
        )
    };
    assert!(
        sound
            .iter()
            .map(|symbol| (symbol.address, symbol.name.to_owned()))
            .eq((0..NAMES).map(expected))
    );

    // A length that is damaged costs its block.
    let mut damaged = heap.clone();
    let at = (names_at + 300 * 7) & !7;
    damaged.set(at, u64::MAX);
    let list = read(&damaged).expect("the rest is sound");
    assert_eq!(list.faults().len(), 1);
    assert_eq!(list.iter().len() as u64, NAMES - 256);
    assert_eq!(list.named("symbol_0255").count(), 1);
    assert_eq!(list.named("symbol_0256").count(), 0);
    assert_eq!(list.named("symbol_0512").count(), 1);

    let mut random = Random::new(3);
    let (mut refused, mut faults, mut silent) = (0, 0, 0);
    for _ in 0..DAMAGES {
        let damaged = heap.damaged(&mut random);
        let Ok(list) = read(&damaged) else {
            refused += 1;
            continue;
        };
        // What is damaged is one word: it can't make more symbols, and costs few.
        assert!(list.iter().len() as u64 <= NAMES || damaged.get(place(0)) != NAMES);
        if list.faults().is_empty() {
            silent += u64::from(!list.iter().eq(sound.iter()));
        } else {
            faults += 1;
        }
    }
    println!("names: {refused} refused, {faults} with faults, {silent} silently other names");
    assert!(
        faults > DAMAGES / 8 && refused < DAMAGES / 20,
        "{faults} {refused}"
    );
}
