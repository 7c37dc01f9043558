//! Interface flags as user space sees them (`dev_get_flags`, net/core/dev.c; include/uapi/linux/if.h).

use kernel::net_device;

use super::{has_no_carrier, is_running};

const IFF_RUNNING: u32 = 1 << 6;
const IFF_PROMISC: u32 = 1 << 8;
const IFF_ALLMULTI: u32 = 1 << 9;
const IFF_LOWER_UP: u32 = 1 << 16;
#[cfg(kernel_has = "const:__LINK_STATE_DORMANT")]
const IFF_DORMANT: u32 = 1 << 17;

/// The names of all flags by their bit.
const NAMES: [&str; 19] = [
    "UP",
    "BROADCAST",
    "DEBUG",
    "LOOPBACK",
    "POINTOPOINT",
    "NOTRAILERS",
    "RUNNING",
    "NOARP",
    "PROMISC",
    "ALLMULTI",
    "MASTER",
    "SLAVE",
    "MULTICAST",
    "PORTSEL",
    "AUTOMEDIA",
    "DYNAMIC",
    "LOWER_UP",
    "DORMANT",
    "ECHO",
];

/// The flags that user space gets: what was configured, and what follows from the interface's state.
pub fn flags(device: net_device<'_>) -> u32 {
    const VOLATILE: u32 = IFF_PROMISC | IFF_ALLMULTI | IFF_RUNNING | IFF_LOWER_UP | 1 << 17;
    // `flags` counts promiscuity; `gflags` is what user space asked for.
    let global = u32::from(device.gflags()) & (IFF_PROMISC | IFF_ALLMULTI);
    let mut flags = u32::from(device.flags()) & !VOLATILE | global;
    if !is_running(device) {
        return flags;
    }
    #[cfg(kernel_has = "net_device.operstate")]
    {
        // IF_OPER_UNKNOWN and IF_OPER_UP.
        if matches!(u32::from(device.operstate()), 0 | 6) {
            flags |= IFF_RUNNING;
        }
        if !has_no_carrier(device) {
            flags |= IFF_LOWER_UP;
        }
    }
    #[cfg(not(kernel_has = "net_device.operstate"))]
    if !has_no_carrier(device) {
        flags |= IFF_RUNNING;
    }
    #[cfg(kernel_has = "const:__LINK_STATE_DORMANT")]
    if super::has_state(device, kernel::netdev_state_t::__LINK_STATE_DORMANT.0) {
        flags |= IFF_DORMANT;
    }
    flags
}

/// The names of the flags that are set, in the order of their bits.
pub fn names(flags: u32) -> Vec<&'static str> {
    NAMES
        .into_iter()
        .enumerate()
        .filter(|(bit, _)| flags >> bit & 1 != 0)
        .map(|(_, name)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn flags_have_the_names_of_if_h() {
        assert_eq!(names(0x1_0049), ["UP", "LOOPBACK", "RUNNING", "LOWER_UP"]);
        assert_eq!(names(0), [""; 0]);
    }
}
