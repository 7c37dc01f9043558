//! Counters of protocols: what /proc/net/{snmp,netstat,snmp6,dev_snmp6,sockstat,sockstat6,rt6_stats,xfrm_stat} show.
#![forbid(unsafe_code)]

pub mod model;
#[cfg(all(
    kernel_has = "netns_mib.tcp_statistics",
    kernel_has = "sym:snmp4_tcp_list",
    kernel_has = "prot_inuse.all"
))]
pub mod walk;
