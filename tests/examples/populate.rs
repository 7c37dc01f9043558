//! Makes a dump with as many TCP connections as are asked for, of one of the lab with a crowd: `populate VMCORE NEW COUNT`.
//!
//! The connections of the dump are taken out of the kernel's table, and copies of one of them put in, each with a file and an inode of its
//! own, all open in one process. What is new lies behind the machine's memory, in a PT_LOAD of its own, where the kernel's direct mapping
//! would have it. As the kernel does with more memory, the table gets more buckets for more connections.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{BufWriter, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use kernel::{
    fdtable, hlist_node, inet_connection_sock, inet_ehash_bucket, inet_hashinfo, sock, sock_common,
    socket, socket_alloc, sym, task_struct, tcp_sock,
};
use kstruct::{Memory, View, offset_of, walk};
use sockets::inet::Secrets;
use tests::elf::Elf;

/// Where the new memory begins: the lab's machines have less.
const START: u64 = 1 << 32;
/// What the kernel makes for 16 GB of memory.
const LEAST_BUCKETS: usize = 131_072;

/// `TCP_ESTABLISHED`
const ESTABLISHED: u8 = 1;
/// `AF_INET`
const INET: u16 = 2;

/// A struct that is copied: its bytes, its size in an array, and where the array begins.
struct Kind {
    bytes: Vec<u8>,
    size: u64,
    start: u64,
}

impl Kind {
    fn of<'m, T: View<'m>>(k: &Memory, address: u64, next: &mut u64, count: u64) -> Self {
        let bytes = k.bytes(address, T::SIZE).expect("it can be read").to_vec();
        let size = (T::SIZE as u64).next_multiple_of(64);
        let start = *next;
        *next += (size * count).next_multiple_of(4096);
        Kind { bytes, size, start }
    }

    fn at(&self, index: u64) -> u64 {
        self.start + index * self.size
    }

    /// Writes all copies, each changed.
    fn write(&self, out: &mut impl std::io::Write, count: u64, change: impl Fn(&mut [u8], u64)) {
        let mut one = self.bytes.clone();
        one.resize(self.size as usize, 0);
        for index in 0..count {
            change(&mut one, index);
            out.write_all(&one).expect("there is room");
        }
        pad(out, self.size * count);
    }
}

/// Zeros up to a page.
fn pad(out: &mut impl std::io::Write, length: u64) {
    let rest = length.next_multiple_of(4096) - length;
    out.write_all(&vec![0; rest as usize])
        .expect("there is room");
}

fn put<const N: usize>(bytes: &mut [u8], offset: usize, number: [u8; N]) {
    bytes[offset..offset + N].copy_from_slice(&number);
}

fn main() {
    let mut args = std::env::args_os().skip(1);
    let mut argument = || args.next().expect("VMCORE NEW COUNT");
    let (core, new) = (argument(), argument());
    let count: u64 = argument()
        .to_str()
        .and_then(|count| count.parse().ok())
        .expect("a number of connections");
    std::fs::copy(&core, &new).expect("there is room for a copy");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&new, mode).expect("it is ours");
    let file = File::options()
        .read(true)
        .write(true)
        .open(&new)
        .expect("it can be written");
    let k = &Memory::open(Path::new(&core), &kernel::KERNEL, false).expect("it can be opened");
    let base = k.get(sym::page_offset_base).expect("it can be read");
    let elf = Elf::of(&file);
    let write = |address: u64, bytes: &[u8]| {
        let physical = k.physical_address(address).expect("it is mapped");
        let place = elf.offset(physical);
        file.write_all_at(bytes, place).expect("it can be written");
    };

    // One that is established, whose process has it open, and that waits to ask whether its peer is there.
    let timer = inet_connection_sock::INFO
        .find_offset("icsk_keepalive_timer")
        .unwrap_or(offset_of!(sock, sk_timer));
    let pending = (timer + offset_of!(hlist_node, pprev)) as u64;
    let table = k.get(sym::tcp_hashinfo).expect("it can be read");
    let buckets = table
        .ehash()
        .array(table.ehash_mask() as usize + 1)
        .expect("a table");
    let one = walk::par_walk(buckets, |bucket| {
        bucket
            .chain()
            .entries(sock_common::skc_nulls_node)
            .filter_map(Result::ok)
            .filter(|sk| sk.skc_state() == ESTABLISHED && sk.skc_family() == INET)
            .find(|sk| k.word(sk.addr() + pending).is_ok_and(|back| back != 0))
            .map(View::addr)
    });
    let one = one.into_iter().flatten().next().expect("a connection");
    let sk = sock::at(k, one).expect("a socket");
    let its_socket = sk.sk_socket().deref().expect("it has a file");
    let its_file = its_socket.file().addr();
    let around = its_socket
        .container_of(socket_alloc::socket)
        .expect("it is in one")
        .addr();

    let mut next = base + START;
    let wanted = usize::try_from(count)
        .expect("a number")
        .next_power_of_two();
    let mask = wanted.max(LEAST_BUCKETS) as u64 - 1;
    let heads = next;
    next += ((mask + 1) * inet_ehash_bucket::SIZE as u64).next_multiple_of(4096);
    let slots = next;
    // The first files are those that every process has.
    let first_fd = 64;
    // A table has a word of bits for so many files.
    let length = (first_fd + count).next_multiple_of(64);
    next += (length * 8).next_multiple_of(4096);
    // Each socket's keepalive timer is alone on a list of its own, and each socket on one of those that have its port.
    let nodes: Vec<(usize, u64)> = [
        Some(timer),
        Some(offset_of!(sock_common, skc_bind_node)),
        sock::INFO.find_offset("sk_bind2_node"),
    ]
    .into_iter()
    .flatten()
    .map(|node| {
        let list = next;
        next += (count * 8).next_multiple_of(4096);
        (node, list)
    })
    .collect();
    let socks = Kind::of::<tcp_sock<'_>>(k, one, &mut next, count);
    let inodes = Kind::of::<socket_alloc<'_>>(k, around, &mut next, count);
    let files = Kind::of::<kernel::file<'_>>(k, its_file, &mut next, count);

    // The process that has it open gets a table of files that has them all; the others of the crowd have none, as those that have ended.
    for leader in linux::task::leaders(k) {
        let leader = leader.expect("the dump is sound");
        if !leader.comm().to_string().starts_with("crowd-") {
            continue;
        }
        let fdt: fdtable<'_> = leader
            .files()
            .deref()
            .and_then(|files| files.fdt().deref())
            .expect("it has files");
        let has_it = fdt
            .fd()
            .array(fdt.max_fds() as usize)
            .expect("a table of files")
            .iter()
            .any(|open| open.addr() == its_file);
        if !has_it {
            let files = leader.addr() + offset_of!(task_struct, files) as u64;
            write(files, &[0; 8]);
            continue;
        }
        // The bits of what is open lie before those of what is closed by exec.
        let closed = fdt.open_fds().addr() + length / 8;
        for (member, value) in [
            (offset_of!(fdtable, fd), slots),
            (offset_of!(fdtable, close_on_exec), closed),
        ] {
            write(fdt.addr() + member as u64, &value.to_le_bytes());
        }
        let max_fds = fdt.addr() + offset_of!(fdtable, max_fds) as u64;
        write(max_fds, &(length as u32).to_le_bytes());
    }
    write(
        table.addr() + offset_of!(inet_hashinfo, ehash) as u64,
        &heads.to_le_bytes(),
    );
    write(
        table.addr() + offset_of!(inet_hashinfo, ehash_mask) as u64,
        &(mask as u32).to_le_bytes(),
    );

    // Chains: the last one put in comes first.
    let secrets = Secrets::of(k).expect("they can be read");
    let client = |index: u64| (0x0a01_0000 + index as u32).to_be_bytes();
    let hash = |index: u64| {
        let peer = u32::from_le_bytes(client(index));
        let common = sk.__sk_common();
        secrets.of_peer(common, peer).expect("the secret is known")
    };
    let mut chains: Vec<u64> = (0..=mask).map(|bucket| bucket << 1 | 1).collect();
    let (mut followers, mut before) = (Vec::new(), Vec::<u64>::new());
    let node = offset_of!(sock_common, skc_nulls_node) as u64;
    for index in 0..count {
        let bucket = (u64::from(hash(index)) & mask) as usize;
        let (follower, own) = (chains[bucket], socks.at(index) + node);
        followers.push(follower);
        before.push(heads + bucket as u64 * inet_ehash_bucket::SIZE as u64);
        if follower & 1 == 0 {
            before[((follower - node - socks.start) / socks.size) as usize] = own;
        }
        chains[bucket] = own;
    }

    let end = file
        .metadata()
        .expect("it is there")
        .len()
        .next_multiple_of(4096);
    let mut out = BufWriter::new(&file);
    out.seek(SeekFrom::Start(end)).expect("it can be sought");
    for head in &chains {
        out.write_all(&head.to_le_bytes()).expect("there is room");
    }
    pad(&mut out, chains.len() as u64 * 8);
    for slot in 0..length {
        let open = slot
            .checked_sub(first_fd)
            .filter(|index| *index < count)
            .map_or(0, |index| files.at(index));
        out.write_all(&open.to_le_bytes()).expect("there is room");
    }
    pad(&mut out, length * 8);
    for (node, _) in &nodes {
        for index in 0..count {
            let entry = socks.at(index) + *node as u64;
            out.write_all(&entry.to_le_bytes()).expect("there is room");
        }
        pad(&mut out, count * 8);
    }
    let in_inode = offset_of!(socket_alloc, socket) as u64;
    let queues = [
        offset_of!(sock, sk_receive_queue),
        offset_of!(sock, sk_write_queue),
        offset_of!(sock, sk_error_queue),
    ];
    socks.write(&mut out, count, |bytes, index| {
        put(
            bytes,
            node as usize,
            followers[index as usize].to_le_bytes(),
        );
        let back = before[index as usize];
        put(bytes, node as usize + 8, back.to_le_bytes());
        for (node, list) in &nodes {
            put(bytes, *node, 0_u64.to_le_bytes());
            put(bytes, node + 8, (list + index * 8).to_le_bytes());
        }
        put(
            bytes,
            offset_of!(sock_common, skc_hash),
            hash(index).to_le_bytes(),
        );
        put(bytes, offset_of!(sock_common, skc_daddr), client(index));
        let own = inodes.at(index) + in_inode;
        put(bytes, offset_of!(sock, sk_socket), own.to_le_bytes());
        // Their queues are empty: circles of nobody but the head.
        for queue in queues {
            let head = (socks.at(index) + queue as u64).to_le_bytes();
            put(bytes, queue, head);
            put(bytes, queue + 8, head);
        }
    });
    inodes.write(&mut out, count, |bytes, index| {
        let sk = in_inode as usize + offset_of!(socket, sk);
        put(bytes, sk, socks.at(index).to_le_bytes());
        let open = in_inode as usize + offset_of!(socket, file);
        put(bytes, open, files.at(index).to_le_bytes());
    });
    files.write(&mut out, count, |bytes, index| {
        let own = inodes.at(index) + in_inode;
        put(
            bytes,
            offset_of!(kernel::file, private_data),
            own.to_le_bytes(),
        );
    });
    out.flush().expect("there is room");
    drop(out);
    Elf::add_segment(&file, START, end, next - base - START);
}
