//! Damages a copy of a real dump in a thousand ways for each of some containers that need more of a kernel than a synthetic dump has,
//! and walks them each time. Prints as JSON how many damages gave a fault, and how many other entries without one. It fails if
//! a walk panics or gives more than it can.
//!
//! With the name of a damage and the address of a `struct sock`, it damages that socket, and no more; with the name of one of those in
//! `tables`, what all sockets share. It prints which words of the file it changed, so that they can be put right.
//!
//! The file is written to: `lab_containers` makes the copy.
#![forbid(unsafe_code)]

mod filters;
mod links;
mod qdiscs;
mod routes;
mod sockets;
mod tables;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use kernel::{
    Elf64_Sym, fdtable, inet_bind_bucket, inet_bind2_bucket, inet_connection_sock, inet_hashinfo,
    kmem_cache, module, request_sock, sk_buff, sk_buff_head, sock, sock_common, socket, sym,
    task_struct, tcp_skb_cb, timer_list, vmap_area,
};
use kstruct::{Fault, FaultKind, Memory, PerCpuSymbol as _, Ptr, View, offset_of};
use linux::slab::Slabs;
use serde_json::json;
use tests::elf::Elf;

type Result<T> = std::result::Result<T, Fault>;

/// Ways in which each container is damaged.
const DAMAGES: u64 = 1000;
/// Looking at all pages takes longer: so many of them damage slabs.
const SLAB_DAMAGES: u64 = 1000;

fn main() {
    let core = std::env::args_os().nth(1).expect("a copy of the dump");
    let dump = &Dump::open(core.as_ref());
    let mut rest = std::env::args().skip(2);
    if let (Some(damage), address) = (rest.next(), rest.next()) {
        let Some(address) = address else {
            return dump.plant_in_tables(&damage);
        };
        let address = u64::from_str_radix(address.trim_start_matches("0x"), 16);
        dump.plant(&damage, address.expect("an address in hexadecimal"));
        return;
    }
    let report = json!({
        "module_symbols": dump.damage(DAMAGES, symbol_words, symbols),
        "vmap_areas": dump.damage(DAMAGES, area_words, areas),
        "slabs": dump.damage(SLAB_DAMAGES, slab_words, objects),
    });
    println!("{report}");
}

/// The largest module.
fn largest(k: &Memory) -> Result<module<'_>> {
    let mut best: Option<(u32, module<'_>)> = None;
    for module in linux::symbols::modules(k)? {
        let module = module?;
        let count = module.kallsyms().deref()?.num_symtab();
        if best.is_none_or(|(most, _)| most < count) {
            best = Some((count, module));
        }
    }
    Ok(best.expect("there are modules").1)
}

/// The words of its tables and of what leads to them.
fn symbol_words(k: &Memory) -> Result<Vec<u64>> {
    let module = largest(k)?;
    let list = module.kallsyms().deref()?;
    let count = u64::from(list.num_symtab());
    let mut words = of(list).collect::<Vec<_>>();
    words.extend(
        (0..count * Elf64_Sym::SIZE as u64 / 8).map(|word| list.symtab().addr() + word * 8),
    );
    words.extend((0..count / 8).map(|word| list.typetab().addr() + word * 8));
    words.extend((0..count).map(|word| (list.strtab().addr() & !7) + word * 8));
    // What is damaged most often decides most.
    for _ in 0..count / 4 {
        words.extend(of(list));
    }
    Ok(words)
}

fn symbols(k: &Memory) -> Result<Vec<Result<(u64, String)>>> {
    let mut found = Vec::new();
    // The others are walked as well: one that is damaged may lead elsewhere.
    for module in linux::symbols::modules(k)? {
        for symbol in linux::symbols::of_module(module?)? {
            found.push(symbol.map(|symbol| (symbol.address, symbol.name)));
        }
    }
    Ok(found)
}

fn area_words(k: &Memory) -> Result<Vec<u64>> {
    let mut words = Vec::new();
    for area in linux::vmalloc::areas(k)? {
        words.extend(of(area?.rb_node()));
    }
    Ok(words)
}

fn areas(k: &Memory) -> Result<Vec<Result<(u64, String)>>> {
    let row = |area: vmap_area<'_>| (area.va_start(), String::new());
    Ok(linux::vmalloc::areas(k)?
        .into_iter()
        .map(|area| area.map(row))
        .collect())
}

/// A cache with free objects in its slabs.
fn cache(k: &Memory) -> Result<kmem_cache<'_>> {
    for cache in linux::slab::caches(k)? {
        let cache = cache?;
        if cache.name().read()? == "vm_area_struct" {
            return Ok(cache);
        }
    }
    // Its name may be what was damaged.
    Err(Fault {
        address: k.address_of(sym::slab_caches),
        kind: FaultKind::Inconsistent,
    })
}

/// The cache itself, its slabs, and the links of all objects.
fn slab_words(k: &Memory) -> Result<Vec<u64>> {
    let cache = cache(k)?;
    let pages = linux::page::Pages::of(k)?;
    let mut words: Vec<u64> = of(cache).collect();
    for slab in Slabs::of(k)?.of_cache(cache) {
        words.extend(of(slab));
        let first = pages.memory_of(slab.addr())?;
        words.extend((0..u64::from(slab.objects())).map(|object| {
            let link = object * u64::from(cache.size()) + u64::from(cache.offset());
            first + u64::from(cache.red_left_pad()) + link
        }));
    }
    Ok(words)
}

fn objects(k: &Memory) -> Result<Vec<Result<(u64, String)>>> {
    let cpus = linux::cpu::possible(k)?;
    Ok(Slabs::of(k)?
        .allocated(cache(k)?, &cpus)?
        .map(|object| object.map(|object| (object.addr(), String::new())))
        .collect())
}

/// The word in which the secret is that is mixed into the hashes of IPv4's connections, and bits of that.
fn secret(k: &Memory) -> (u64, u64) {
    let symbols = kstruct::Kallsyms::read(k).expect("it can be read");
    let symbols = symbols.expect("the dump has symbols");
    let place = |wanted: &str| {
        let mut symbols = symbols.iter();
        let symbol = symbols.find(|symbol| symbol.name.split('.').any(|part| part == wanted));
        symbol.map(|symbol| symbol.address)
    };
    if let Some(secret) = place("inet_ehash_secret") {
        return (secret, 0x0101_0101);
    }
    // Since 6.11 it is the last member of `struct net_protocol`, whose first is the function, and this of `net_hotdata`.
    let (hotdata, receive) = (place("net_hotdata"), place("tcp_v4_rcv"));
    let hotdata = hotdata.expect("it is there");
    let mut words = (0..128).map(|word| hotdata + word * 8);
    let protocol = words.find(|word| k.word(*word).ok() == receive);
    (protocol.expect("it is a member") + 16, 0x0101_0101 << 32)
}

/// The words of a struct.
fn of<'m, T: View<'m>>(view: T) -> impl Iterator<Item = u64> {
    let pointer: Ptr<'m, T> = view.as_ptr();
    (0..T::SIZE as u64 / 8).map(move |word| pointer.addr() + word * 8)
}

/// An ELF dump that can be written to.
struct Dump<'a> {
    path: &'a Path,
    file: File,
    elf: Elf,
}

impl<'a> Dump<'a> {
    fn open(path: &'a Path) -> Self {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .expect("a copy that can be written to");
        let elf = Elf::of(&file);
        Dump { path, file, elf }
    }

    fn memory(&self) -> Memory {
        Memory::open(self.path, &kernel::KERNEL, false).expect("the dump can be opened")
    }

    /// Damages a TCP socket in the way that a rule of tcpcheck finds.
    fn plant(&self, damage: &str, socket: u64) {
        let k = self.memory();
        if damage == "no-tasks" {
            let tasks = k.get(sym::init_task).expect("it is there").tasks().addr();
            self.change(tasks, |_| tasks);
            self.change(tasks + 8, |_| tasks);
            return;
        }
        if self.plant_elsewhere(&k, damage) {
            return;
        }
        let sk = sock::at(&k, socket).expect("it is a socket");
        let connection = inet_connection_sock::at(&k, socket).expect("it is one of TCP");
        let node = sk.__sk_common().skc_nulls_node();
        let at = |offset: usize| socket + offset as u64;
        // The low half of a word, and what is in the other half.
        let with = |old: u64, low: u64| old & !0xffff_ffff | low & 0xffff_ffff;
        let receive_queue = sk.sk_receive_queue().addr();
        let move_number = |offset: usize, by: i64| {
            self.change(at(offset), |old| with(old, old.wrapping_add_signed(by)));
        };
        match damage {
            "refcount" => self.change(at(offset_of!(sock_common, skc_refcnt)), |old| with(old, 0)),
            "send-memory" => self.change(at(offset_of!(sock, sk_wmem_queued)), |old| {
                with(old, old + 4096)
            }),
            "receive-memory" => self.change(sk.sk_backlog().rmem_alloc().addr(), |old| {
                with(old, old + 4096)
            }),
            // Less than nothing.
            "negative-memory" => self.change(sk.sk_backlog().rmem_alloc().addr(), |old| {
                with(old, u64::MAX)
            }),
            // It has read what did not come.
            "copied" => {
                let tcp = kernel::tcp_sock::at(&k, socket).expect("it is one of TCP");
                let ahead = tcp.rcv_nxt().wrapping_add(1000);
                let place = at(offset_of!(kernel::tcp_sock, copied_seq));
                self.change(place, |old| with(old, ahead.into()));
            }
            // More segments were acknowledged selectively, lost, or sent again, than are on their way.
            "sacked" => move_number(offset_of!(kernel::tcp_sock, sacked_out), 1000),
            "lost-segments" => move_number(offset_of!(kernel::tcp_sock, lost_out), 1000),
            "sent-again" => move_number(offset_of!(kernel::tcp_sock, retrans_out), 1000),
            "no-window" => self.change(at(offset_of!(kernel::tcp_sock, snd_cwnd)), |old| {
                with(old, 0)
            }),
            "no-segment" => self.change(at(offset_of!(kernel::tcp_sock, mss_cache)), |old| {
                with(old, 0)
            }),
            "no-timeout" => self.change(at(offset_of!(inet_connection_sock, icsk_rto)), |old| {
                with(old, 0)
            }),
            "shut-down" => self.change(at(offset_of!(sock, sk_shutdown)), |old| old ^ 4),
            "other-family" => self.change(at(offset_of!(sock_common, skc_family)), |old| {
                old ^ (2 ^ 10)
            }),
            "no-functions" => self.change(at(offset_of!(sock_common, skc_prot)), |_| 0),
            "wild-functions" => self.change(at(offset_of!(sock_common, skc_prot)), |_| {
                0x4141_4141_4141_4141
            }),
            // Memory that is there.
            "other-functions" => self.change(at(offset_of!(sock_common, skc_prot)), |_| socket),
            "type" => self.change(at(offset_of!(sock, sk_type)), |old| old ^ 3),
            "no-congestion" => {
                self.change(at(offset_of!(inet_connection_sock, icsk_ca_ops)), |_| 0);
            }
            "wild-congestion" => self
                .change(at(offset_of!(inet_connection_sock, icsk_ca_ops)), |_| {
                    0x4141_4141_4141_4141
                }),
            "no-version" => {
                self.change(at(offset_of!(inet_connection_sock, icsk_af_ops)), |_| 0);
            }
            "wild-version" => self
                .change(at(offset_of!(inet_connection_sock, icsk_af_ops)), |_| {
                    0x4141_4141_4141_4141
                }),
            "kind-of-timer" => self
                .change(at(offset_of!(inet_connection_sock, icsk_pending)), |old| {
                    old & !0xff | 0x42
                }),
            // As if the socket were freed already, and as if more were given back than was taken.
            "no-send-memory" => {
                self.change(at(offset_of!(sock, sk_wmem_alloc)), |old| with(old, 0))
            }
            "negative-queued" => self.change(at(offset_of!(sock, sk_wmem_queued)), |old| {
                with(old, u64::MAX)
            }),
            "backlog" => self.change(sk.sk_backlog().rmem_alloc().addr() + 4, |old| {
                with(old, 4096)
            }),
            "negative-backlog" => self.change(sk.sk_backlog().rmem_alloc().addr() + 4, |old| {
                with(old, u64::MAX)
            }),
            "dead" => self.change(at(offset_of!(sock_common, skc_flags)), |old| old | 1),
            // What a process that has it locked takes from the backlog is in the count until all is done.
            "backlog-at-work" => {
                self.change(sk.sk_lock().slock().addr(), |old| old | 1 << 32);
                self.change(sk.sk_backlog().rmem_alloc().addr() + 4, |old| {
                    with(old, 4096)
                });
            }
            "no-write-function" | "no-delack-function" | "no-keepalive-function" => {
                let timer = match damage {
                    "no-write-function" => connection.icsk_retransmit_timer(),
                    "no-delack-function" => connection.icsk_delack_timer(),
                    _ => connection.icsk_keepalive_timer(),
                };
                let function = timer.addr() + offset_of!(timer_list, function) as u64;
                self.change(function, |_| 0);
            }
            // Pending, and on no list.
            "unlisted-delack" | "unlisted-keepalive" => {
                let timer = match damage {
                    "unlisted-delack" => connection.icsk_delack_timer(),
                    _ => connection.icsk_keepalive_timer(),
                };
                let now = linux::time::jiffies(&k).expect("it is there");
                let expires = timer.addr() + offset_of!(timer_list, expires) as u64;
                self.change(expires, |_| now.wrapping_add(10_000));
                self.change(timer.entry().addr() + 8, |_| socket);
            }
            // Less was acknowledged, or read, and more came, or was written, than packets have.
            "acknowledged" => move_number(offset_of!(kernel::tcp_sock, snd_una), -1),
            "written" => move_number(offset_of!(kernel::tcp_sock, write_seq), 1000),
            "read" => move_number(offset_of!(kernel::tcp_sock, copied_seq), -1),
            "came" => move_number(offset_of!(kernel::tcp_sock, rcv_nxt), 1000),
            // The second packet that waits begins later than the first one ends.
            "gap" => {
                let queues = [sk.sk_receive_queue(), sk.sk_write_queue()];
                let second = queues.iter().find_map(|queue| {
                    let second = queue.next().deref().ok()?.next();
                    (queue.qlen() > 1).then_some(second.addr())
                });
                let second = second.expect("two packets wait");
                let place = second + (offset_of!(sk_buff, cb) + offset_of!(tcp_skb_cb, seq)) as u64;
                self.change(place, |old| with(old, old.wrapping_add(1)));
            }
            "bound-address" => {
                self.change(at(offset_of!(inet_connection_sock, icsk_bind2_hash)), |_| 0);
            }
            "buffer" => self.change(at(offset_of!(sock, sk_rcvbuf)), |old| with(old, 1 << 31)),
            // As if others had never been behind it, and as if its port were free.
            "bound-list" => self.change(sk.__sk_common().skc_bind_node().pprev().addr(), |_| 0),
            "bound-by-none" => {
                self.change(at(offset_of!(inet_connection_sock, icsk_bind_hash)), |_| 0);
            }
            "bound-port" => {
                let bucket = connection.icsk_bind_hash().addr();
                let port = bucket + offset_of!(inet_bind_bucket, port) as u64;
                self.change(port, |old| old ^ 1);
            }
            // Of what binds the port with an address: its port, namespace and chain.
            "bound2-port" | "bound2-net" | "bound2-chain" => {
                let bucket = connection.icsk_bind2_hash().deref().expect("it is bound");
                match damage {
                    "bound2-port" => {
                        let port = bucket.addr() + offset_of!(inet_bind2_bucket, port) as u64;
                        self.change(port, |old| old ^ 1);
                    }
                    "bound2-net" => self.change(bucket.ib_net().addr(), |old| old ^ 0x40),
                    _ => self.change(bucket.node().pprev().addr(), |_| 0),
                }
            }
            // What binds another socket's port with its address.
            other if other.starts_with("bound2-of-") => {
                let other = u64::from_str_radix(other.trim_start_matches("bound2-of-0x"), 16);
                let other = inet_connection_sock::at(&k, other.expect("an address"));
                let bucket = other.expect("it is a socket").icsk_bind2_hash().addr();
                let own = at(offset_of!(inet_connection_sock, icsk_bind2_hash));
                self.change(own, |_| bucket);
            }
            "bound-chain" => {
                let bucket = connection.icsk_bind_hash().deref();
                let node = bucket.expect("it is bound").node();
                self.change(node.pprev().addr(), |_| 0);
            }
            "wrong-bucket" => self.change(at(offset_of!(sock_common, skc_hash)), |old| old ^ 1),
            // The chain's end is the next bucket's, or a neighbour's: what follows is cut off.
            "foreign-end" => self.change(node.addr(), |_| 0xffff_f001),
            "link-back" => self.change(node.addr() + 8, |old| old ^ 0x40),
            "port" => self.change(at(offset_of!(sock_common, skc_num)), |old| old ^ 1),
            // Somebody has the socket locked to do what is half done.
            "lock-word" => self.change(sk.sk_lock().slock().addr(), |old| with(old, old | 0x40)),
            // There is no CPU 16,000 that could wait for it.
            "lock-tail" => self.change(sk.sk_lock().slock().addr(), |old| {
                with(old, old | 16_000 << 18)
            }),
            "lock-owner" => self.change(sk.sk_lock().slock().addr(), |old| {
                old & 0xffff_ffff | 0x4141 << 32
            }),
            "at-work" => {
                self.change(sk.sk_lock().slock().addr(), |old| with(old, old | 1));
                self.change(at(offset_of!(sock, sk_wmem_queued)), |old| {
                    with(old, old + 4096)
                });
            }
            // The first connection that waits to be accepted is none.
            "wild-child" | "other-child" => {
                let queue = connection.icsk_accept_queue();
                let first = queue.rskq_accept_head().deref().expect("one waits");
                let link = first.addr() + offset_of!(request_sock, sk) as u64;
                let other = if damage == "wild-child" {
                    0x4141_4141_4141_4141
                } else {
                    // Memory that is there.
                    socket
                };
                self.change(link, |_| other);
            }
            // Two requests stand for one connection.
            "same-child" => {
                let queue = connection.icsk_accept_queue();
                let first = queue.rskq_accept_head().deref().expect("one waits");
                let second = first.dl_next().deref().expect("another one waits");
                let link = second.addr() + offset_of!(request_sock, sk) as u64;
                self.change(link, |_| first.sk().addr());
            }
            "accept-tail" => {
                let queue = connection.icsk_accept_queue();
                let head = queue.rskq_accept_head().addr();
                let tail = queue.rskq_accept_tail().addr();
                assert_ne!(head, tail);
                let words = of(queue).find(|word| k.word(*word).is_ok_and(|word| word == tail));
                self.change(words.expect("it is a member"), |_| head);
            }
            // Memory that is there and no network namespace.
            "wild-net" => self.change(at(offset_of!(sock_common, skc_net)), |_| socket),
            "device" => self.change(at(offset_of!(sock_common, skc_bound_dev_if)), |old| {
                with(old, u64::MAX - 4)
            }),
            "gone-device" => self.change(at(offset_of!(sock_common, skc_bound_dev_if)), |old| {
                with(old, 77_000)
            }),
            "far-timer" => self.set_timer(connection, 1 << 62),
            "due-timer" => {
                let now = linux::time::jiffies(&k).expect("it is there");
                let due = now.wrapping_sub(connection.icsk_timeout());
                self.set_timer(connection, due.wrapping_sub(20));
            }
            "other-time" => {
                let timer = connection.icsk_retransmit_timer().addr();
                let expires = timer + offset_of!(timer_list, expires) as u64;
                self.change(expires, |old| old.wrapping_add(1000));
            }
            "wild-next" => {
                self.put_off(&k, connection);
                let entry = connection.icsk_retransmit_timer().entry();
                self.change(entry.addr(), |_| socket);
            }
            "own-next" => {
                self.put_off(&k, connection);
                let entry = connection.icsk_retransmit_timer().entry();
                self.change(entry.addr(), |_| entry.addr());
            }
            "crowded" => self.crowd(&k, sk.__sk_common()),
            // As the kernel takes it out: no link is wrong.
            "lost" => {
                let (next, back) = (node.next().addr(), node.pprev().addr());
                self.change(back, |_| next);
                if next & 1 == 0 {
                    self.change(next + 8, |_| back);
                }
            }
            // The end of its chain is a socket on another one.
            onto if onto.starts_with("onto-") => {
                let other = u64::from_str_radix(onto.trim_start_matches("onto-0x"), 16);
                let other = sock::at(&k, other.expect("an address")).expect("it is a socket");
                let other = other.__sk_common().skc_nulls_node().addr();
                let mut last = node;
                while last.next().addr() & 1 == 0 {
                    last = last.next().deref().expect("it is sound");
                }
                self.change(last.addr(), |_| other);
            }
            "foreign-owner" => {
                let owner = sk.sk_socket().addr() + offset_of!(socket, sk) as u64;
                self.change(owner, |old| old ^ 0x1000);
            }
            "no-owner" => self.change(at(offset_of!(sock, sk_socket)), |_| 0),
            "no-state" => self.change(at(offset_of!(sock_common, skc_state)), |old| old & !0xff),
            "time-wait" => self.change(at(offset_of!(sock_common, skc_state)), |old| {
                old & !0xff | 6
            }),
            "family" => self.change(at(offset_of!(sock_common, skc_family)), |old| old | 0x4040),
            "protocol" => self.change(at(offset_of!(sock, sk_protocol)), |old| old ^ 0x11),
            "no-timer" | "stuck" => self
                .change(at(offset_of!(inet_connection_sock, icsk_pending)), |old| {
                    old & !0xff
                }),
            "late-timer" => self.set_timer(connection, 100_000_u64.wrapping_neg()),
            "dead-timer" => {
                self.put_off(&k, connection);
                let entry = connection.icsk_retransmit_timer().entry();
                self.change(entry.addr() + 8, |_| 0);
            }
            "wild-timer" => {
                self.put_off(&k, connection);
                let entry = connection.icsk_retransmit_timer().entry();
                self.change(entry.addr() + 8, |old| old ^ 0x40);
            }
            // `LIST_POISON2`
            "poisoned-timer" => {
                self.put_off(&k, connection);
                let entry = connection.icsk_retransmit_timer().entry();
                self.change(entry.addr() + 8, |_| 0xdead_0000_0000_0122);
            }
            "queue-count" | "queue-count-of-nobody" => {
                if damage == "queue-count-of-nobody" {
                    self.change(at(offset_of!(sock, sk_user_data)), |old| old | 1);
                }
                let count = receive_queue + offset_of!(sk_buff_head, qlen) as u64;
                self.change(count, |old| with(old, old + 1));
            }
            // The head's link to the first packet is null, which is no end of a circle.
            "queue-end" => self.change(receive_queue, |_| 0),
            "syn-queue" => {
                let count = connection.icsk_accept_queue().qlen().addr();
                self.change(count, |old| with(old, 100_000));
            }
            _ => panic!("{damage} is no damage"),
        }
    }

    /// Damages what is of no socket. Says whether it knows such a damage.
    fn plant_elsewhere(&self, k: &Memory, damage: &str) -> bool {
        let table = k.get(sym::tcp_hashinfo).expect("it is there");
        let member = |offset: usize| table.addr() + offset as u64;
        let with = |old: u64, low: u64| old & !0xffff_ffff | low;
        let init = k.get(sym::init_task).expect("it is there");
        let tasks: Vec<task_struct<'_>> = linux::task::leaders(k)
            .collect::<Result<_>>()
            .expect("the dump is sound");
        match damage {
            "no-ehash" => self.change(member(offset_of!(inet_hashinfo, ehash)), |_| 0),
            "ehash-mask" => self.change(member(offset_of!(inet_hashinfo, ehash_mask)), |old| {
                old ^ 0x10
            }),
            "locks-mask" => self
                .change(member(offset_of!(inet_hashinfo, ehash_locks_mask)), |old| {
                    with(old, 0x1234)
                }),
            "no-bhash" => self.change(member(offset_of!(inet_hashinfo, bhash)), |_| 0),
            "bhash-size" => self.change(member(offset_of!(inet_hashinfo, bhash_size)), |old| {
                old ^ 0x10
            }),
            "bhash-none" => self.change(member(offset_of!(inet_hashinfo, bhash_size)), |old| {
                with(old, 0)
            }),
            "tcp-memory" => self.change(k.address_of(sym::tcp_memory_allocated), |_| 1 << 40),
            "tcp-memory-below" => self.change(k.address_of(sym::tcp_memory_allocated), |_| {
                (1_u64 << 40).wrapping_neg()
            }),
            // As many as CPUs may hold back (`SK_MEMORY_PCPU_RESERVE`), which may be.
            "tcp-memory-held" => {
                let mut held = 0_i64;
                for cpu in linux::cpu::possible(k).expect("it is there") {
                    let pages = k.per_cpu(sym::tcp_memory_per_cpu_fw_alloc, cpu);
                    held += i64::from(pages.expect("it is there"));
                }
                let place = sym::tcp_memory_per_cpu_fw_alloc.locate(k);
                let place = k.per_cpu_address(place.expect("it is there"), 0);
                self.change(place.expect("it is there"), |old| {
                    with(old, old.wrapping_add(200) & 0xffff_ffff)
                });
                self.change(k.address_of(sym::tcp_memory_allocated), |_| {
                    (held + 200).wrapping_neg().cast_unsigned()
                });
            }
            "secret" => {
                let (word, bits) = secret(k);
                self.change(word, |old| old ^ bits);
            }
            // As if the second were the last.
            "few-tasks" => self.change(tasks[1].tasks().addr(), |_| init.tasks().addr()),
            // As the kernel takes one out: no link is wrong.
            "hidden-task" => {
                let gone = tasks[tasks.len() / 2].tasks();
                let (next, back) = (gone.next().addr(), gone.prev().addr());
                self.change(back, |_| next);
                self.change(next + 8, |_| back);
            }
            // CPU 0 alone.
            "one-cpu" => {
                let mask = k.get(sym::__cpu_possible_mask).expect("it is there");
                self.change(mask.addr(), |_| 1);
            }
            // The last leads to the second.
            "circle-of-tasks" => {
                let last = tasks.last().expect("there are some");
                let next = tasks[1].tasks().addr();
                assert_ne!(last.tasks().addr(), init.tasks().addr());
                self.change(last.tasks().addr(), |_| next);
            }
            "max-fds" => {
                let task = tasks.iter().find(|task| task.pid() == 1).expect("init");
                let files = task.files().deref().expect("it has files");
                let table = files.fdt().addr();
                self.change(table + offset_of!(fdtable, max_fds) as u64, |old| {
                    with(old, 1 << 24)
                });
            }
            _ => return false,
        }
        true
    }

    /// Puts 300 sockets that are alone on their chains before those of another one.
    fn crowd(&self, k: &Memory, socket: sock_common<'_>) {
        const COUNT: usize = 300;
        let table = k.get(sym::tcp_hashinfo).expect("it is there");
        let mask = table.ehash_mask();
        let buckets = table.ehash().array(mask as usize + 1).expect("it is there");
        let own = (socket.skc_hash() & mask) as usize;
        let head = buckets.get(own).expect("it has a bucket").chain();
        let alone = (0..buckets.len()).filter(|index| *index != own);
        let alone = alone.filter_map(|index| {
            let chain = buckets.get(index)?.chain();
            let mut sockets = chain.entries(sock_common::skc_nulls_node);
            let first = sockets.next()?.expect("the dump is sound");
            sockets
                .next()
                .is_none()
                .then_some((index, chain.addr(), first))
        });
        let mut link = head.addr();
        let old = head.first().addr();
        let alone: Vec<_> = alone.take(COUNT).collect();
        assert_eq!(alone.len(), COUNT);
        for (index, chain, socket) in alone {
            let node = socket.skc_nulls_node().addr();
            self.change(chain, |_| (index as u64) << 1 | 1);
            self.change(link, |_| node);
            self.change(node + 8, |_| link);
            link = node;
        }
        self.change(link, |_| old);
        if old & 1 == 0 {
            self.change(old + 8, |_| link);
        }
    }

    /// Has a connection's timer expire so many jiffies later, by both times that there are.
    fn set_timer(&self, connection: inet_connection_sock<'_>, later: u64) {
        let own = connection.addr() + offset_of!(inet_connection_sock, icsk_timeout) as u64;
        let timer = connection.icsk_retransmit_timer().addr();
        for time in [own, timer + offset_of!(timer_list, expires) as u64] {
            self.change(time, |old| old.wrapping_add(later));
        }
    }

    /// Has a connection's timer expire later if it is due: what is about to run may be on no list. A timer may be due for a while, as the
    /// timer wheel is coarse.
    fn put_off(&self, k: &Memory, connection: inet_connection_sock<'_>) {
        let now = linux::time::jiffies(k).expect("it is there");
        if linux::time::jiffies_since(k, connection.icsk_timeout(), now) == 0 {
            let late = now.wrapping_sub(connection.icsk_timeout());
            self.set_timer(connection, late + 1000);
        }
    }

    /// Changes the word at an address, and prints where it is in the file.
    fn change(&self, address: u64, new: impl Fn(u64) -> u64) {
        let physical = self.memory().physical_address(address);
        let place = self.elf.offset(physical.expect("it is mapped"));
        let mut bytes = [0; 8];
        self.file
            .read_exact_at(&mut bytes, place)
            .expect("it can be read");
        let new = new(u64::from_le_bytes(bytes));
        self.file
            .write_all_at(&new.to_le_bytes(), place)
            .expect("it can be written");
        println!("{place}");
    }

    /// Damages one of the words in many ways, each time after the word before was put right.
    fn damage(
        &self,
        count: u64,
        words: impl Fn(&Memory) -> Result<Vec<u64>>,
        walk: impl Fn(&Memory) -> Result<Vec<Result<(u64, String)>>>,
    ) -> serde_json::Value {
        let (places, addresses, sound) = {
            let k = self.memory();
            let addresses = words(&k).expect("the dump is sound");
            let places: Vec<u64> = addresses
                .iter()
                .map(|address| {
                    self.elf
                        .offset(k.physical_address(*address).expect("it is mapped"))
                })
                .collect();
            (places, addresses, walk(&k).expect("the dump is sound"))
        };
        assert!(sound.iter().all(Result::is_ok));
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |limit: u64| {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            state.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
        };
        let (mut faults, mut silent) = (0, 0);
        for number in 0..count {
            let place = places[random(places.len() as u64) as usize];
            let mut old = [0; 8];
            self.file
                .read_exact_at(&mut old, place)
                .expect("it can be read");
            let new = match random(5) {
                0 => 0,
                1 => 0xdead_0000_0000_0122,
                2 => random(u64::MAX),
                3 => addresses[random(addresses.len() as u64) as usize],
                _ => u64::from_le_bytes(old) ^ 1 << random(64),
            };
            self.file
                .write_all_at(&new.to_le_bytes(), place)
                .expect("it can be written");
            match walk(&self.memory()) {
                Ok(found) => {
                    // As many symbols as a module may have at most, and no more areas and objects than memory has room for.
                    assert!(found.len() < 2 * sound.len() + (1 << 21), "{number}");
                    if found.iter().any(Result::is_err) {
                        faults += 1;
                    } else if found != sound {
                        silent += 1;
                    }
                }
                Err(_) => faults += 1,
            }
            self.file
                .write_all_at(&old, place)
                .expect("it can be written");
        }
        assert!(walk(&self.memory()).is_ok_and(|found| found == sound));
        json!({ "damages": count, "entries": sound.len(), "words": places.len(), "faults": faults, "silent": silent })
    }
}
