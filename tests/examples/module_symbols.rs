//! Prints where a dump has the variables of modules: lines of address or `!`, name, module, and why for `!`. Then what some
//! of them hold.
//!
//! The test `lab_modules` names the variables, in a file that `KSTRUCT_MODULE_SYMBOLS` leads to: all that the bindings have.
#![forbid(unsafe_code)]

use kernel::{nf_conn, nf_conntrack_tuple_hash, sym};
use kstruct::{Fault, Memory, PerCpuSymbol as _, Symbol as _, View as _};

fn main() -> Result<(), Fault> {
    let core = std::env::args_os().nth(1).expect("the dump");
    let k = &Memory::open(core.as_ref(), &kernel::KERNEL, false).expect("the dump can be opened");
    let show = |name: &str, module: &str, address: Result<u64, Fault>| match address {
        Ok(address) => println!("{address:#x} {name} {module}"),
        Err(fault) => println!("! {name} {module} {fault}"),
    };
    include!(env!("KSTRUCT_MODULE_SYMBOLS"));

    println!("= veth {}", k.get(sym::veth_link_ops)?.kind().read()?);
    println!("= bonding {}", k.get(sym::bond_link_ops)?.kind().read()?);
    println!("= sch_htb {}", k.get(sym::htb_qdisc_ops)?.id());
    let buckets = k.get(sym::nf_conntrack_htable_size)?;
    let hash = k.get(sym::nf_conntrack_hash)?;
    let now = k.get(sym::jiffies_64)?;
    let original = nf_conn::phantom(k).tuplehash().addr();
    let mut connections = 0;
    for bucket in hash.array(buckets as usize)?.iter() {
        for entry in bucket.entries(nf_conntrack_tuple_hash::hnnode) {
            let entry = entry?;
            // Each connection is there twice, by what is sent and by what comes back.
            if entry.tuple().dst().dir() == 0 {
                let connection = nf_conn::at(k, entry.addr().wrapping_sub(original))?;
                // What is over stays in the table until somebody looks, and /proc has it no more.
                let left = connection.timeout().wrapping_sub(now as u32).cast_signed();
                connections += u32::from(left > 0);
            }
        }
    }
    println!("= nf_conntrack {connections}");
    Ok(())
}
