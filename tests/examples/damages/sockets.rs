//! Damages of single words of the tables that sockets are in.

use kernel::{bucket_table, inet_hashinfo, rhashtable, sock_common, sym, udp_table};
use kstruct::{Memory, View as _, offset_of};

use super::Dump;

impl Dump<'_> {
    /// Damages the first of a table's chains for which it makes a difference.
    pub fn plant_in_sockets(&self, damage: &str) {
        let k = &self.memory();
        let net = k.get(sym::init_net).expect("it is there");
        let tcp = k.get(sym::tcp_hashinfo).expect("it is there");
        let mask = tcp.addr() + offset_of!(inet_hashinfo, ehash_mask) as u64;
        let udp = k.get(sym::udp_table).expect("it is there");
        match damage {
            // Half the table; what lies behind it, too; one bucket.
            "half" => self.write(mask, 4, u64::from(tcp.ehash_mask() / 2)),
            "larger" => self.write(mask, 4, 0xf_ffff),
            "smallest" => self.write(mask, 4, 0),
            // A bucket is empty that had a socket which a process holds.
            "bucket" => {
                let buckets = tcp.lhash2().array(tcp.lhash2_mask() as usize + 1);
                let buckets = buckets.expect("it is there");
                let heads = buckets.iter().map(|bucket| bucket.nulls_head());
                let used = heads.enumerate().find(|(_, it)| it.first().addr() & 1 == 0);
                let (number, head) = used.expect("somebody listens");
                // `LISTENING_NULLS_BASE`
                let end = (1_u64 << 29) + number as u64;
                self.change(head.addr(), |_| end << 1 | 1);
            }
            "udp" => {
                let slots = udp.hash().array(udp.mask() as usize + 1);
                let slots = slots.expect("it is there");
                let heads = slots.iter().map(|slot| slot.head());
                let mut used = heads.filter(|head| !head.first().is_null());
                let head = used.next().expect("there is one").addr();
                self.change(head, |_| 0);
            }
            "udp-larger" => {
                let place = udp.addr() + offset_of!(udp_table, mask) as u64;
                self.write(place, 4, 0xf_ffff);
            }
            // A protocol's table is gone; another one is as large as what lies behind it.
            "netlink-none" => {
                let place = netlink(k).addr() + offset_of!(rhashtable, tbl) as u64;
                self.change(place, |_| 0);
            }
            "netlink-larger" => {
                let place = netlink(k).tbl().addr() + offset_of!(bucket_table, size) as u64;
                self.write(place, 4, 1 << 20);
            }
            "udp-half" => {
                let place = udp.addr() + offset_of!(udp_table, mask) as u64;
                self.write(place, 4, u64::from(udp.mask() / 2));
            }
            "packet" => {
                let list = net.packet().sklist();
                let count = list.entries(sock_common::skc_node).count();
                assert!(count > 4, "more than what CPUs may have under way");
                self.change(list.addr(), |_| 0);
            }
            _ => panic!("there is no damage {damage}"),
        }
    }
}

/// The table of `NETLINK_ROUTE`.
fn netlink(k: &Memory) -> rhashtable<'_> {
    let tables = k.get(sym::nl_table).and_then(|tables| tables.at(0));
    tables.expect("it is there").hash()
}
