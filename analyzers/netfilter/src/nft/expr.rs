//! Expressions of rules: what each has in its private part. All kernel differences of them are here.

use kernel::nft_expr;
use kstruct::{Fault, FaultKind, Ptr, View};

use crate::names;
use linux::bytes::{Bytes, hex};
use linux::symbols::Names;

/// An expression. Registers are numbers of 32-bit words, of which the first four are the verdict's.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    Payload {
        base: u32,
        offset: u32,
        len: u32,
        dreg: u32,
    },
    PayloadSet {
        base: u32,
        offset: u32,
        len: u32,
        sreg: u32,
        sum_type: u32,
        sum_offset: u32,
        sum_flags: u32,
    },
    Meta {
        key: u32,
        dreg: u32,
    },
    MetaSet {
        key: u32,
        sreg: u32,
    },
    Cmp {
        op: u32,
        sreg: u32,
        data: Vec<u8>,
    },
    Bitwise {
        op: u32,
        sreg: u32,
        dreg: u32,
        mask: Vec<u8>,
        xor: Vec<u8>,
        shift: u32,
    },
    Immediate {
        dreg: u32,
        data: Vec<u8>,
    },
    Verdict(Verdict),
    Range {
        op: u32,
        sreg: u32,
        from: Vec<u8>,
        to: Vec<u8>,
    },
    Lookup {
        set: String,
        sreg: u32,
        dreg: Option<u32>,
        is_verdict: bool,
        inverted: bool,
    },
    Counter {
        packets: u64,
        bytes: u64,
    },
    Byteorder {
        op: u32,
        sreg: u32,
        dreg: u32,
        len: u32,
        size: u32,
    },
    Ct {
        key: u32,
        direction: Option<u32>,
        dreg: u32,
    },
    CtSet {
        key: u32,
        direction: Option<u32>,
        sreg: u32,
    },
    Limit {
        rate: u64,
        unit: u64,
        burst: u32,
        is_bytes: bool,
        over: bool,
    },
    Log {
        prefix: Option<String>,
        target: LogTarget,
    },
    Reject {
        kind: u32,
        code: u32,
    },
    Nat {
        is_destination: bool,
        family: u8,
        addresses: (u32, u32),
        ports: (u32, u32),
        flags: u32,
    },
    Masquerade {
        ports: (u32, u32),
        flags: u32,
    },
    Redirect {
        ports: (u32, u32),
        flags: u32,
    },
    Object {
        kind: u32,
        name: String,
    },
    ObjectMap {
        sreg: u32,
        set: String,
    },
    Dynset {
        op: u32,
        set: String,
        key: u32,
        data: Option<u32>,
        timeout: u64,
        inverted: bool,
        exprs: Vec<Expr>,
    },
    Exthdr {
        kind: u32,
        offset: u32,
        len: u32,
        op: u32,
        present: bool,
        dreg: u32,
    },
    ExthdrSet {
        kind: u32,
        offset: u32,
        len: u32,
        op: u32,
        sreg: u32,
    },
    Fib {
        flags: u32,
        result: u32,
        dreg: u32,
    },
    Rt {
        key: u32,
        dreg: u32,
    },
    Socket {
        key: u32,
        level: u32,
        dreg: u32,
    },
    Tproxy {
        family: u8,
        address: u32,
        port: u32,
    },
    Queue {
        first: u32,
        count: u32,
        flags: u32,
        sreg: u32,
    },
    Quota {
        bytes: u64,
        used: u64,
        flags: u64,
    },
    Hash {
        symmetric: bool,
        sreg: u32,
        len: u32,
        dreg: u32,
        modulus: u32,
        seed: Option<u32>,
        offset: u32,
    },
    Numgen {
        random: bool,
        dreg: u32,
        modulus: u32,
        offset: u32,
    },
    Forward {
        device: u32,
        address: Option<(u32, u8)>,
    },
    Dup {
        address: Option<u32>,
        device: Option<u32>,
    },
    Notrack,
    Synproxy {
        mss: u32,
        wscale: u32,
        flags: u32,
    },
    Flow {
        name: String,
    },
    Connlimit {
        count: u32,
        inverted: bool,
    },
    Osf {
        dreg: u32,
        ttl: u32,
        flags: u32,
    },
    Last {
        used: Option<u64>,
    },
    /// One that isn't known here: its type and bytes.
    Other {
        kind: String,
        data: Vec<u8>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub code: i32,
    pub chain: Option<String>,
}

/// Where a log goes.
#[derive(Debug, Clone, PartialEq)]
pub enum LogTarget {
    Level {
        level: u32,
        flags: u32,
    },
    Group {
        group: u32,
        snaplen: u32,
        threshold: u32,
    },
}

/// The expressions that lie one behind the other in some bytes at an address.
pub fn all(
    k: &kstruct::Memory,
    start: u64,
    length: u64,
    functions: &Names<'_>,
) -> (Vec<Expr>, Option<Fault>) {
    let mut out = Vec::new();
    let mut at = 0;
    while at < length {
        let address = k.wrap(start.wrapping_add(at));
        let read = || -> Result<(nft_expr<'_>, u64), Fault> {
            let expr = nft_expr::at(k, address)?;
            let size = u64::from(expr.ops().deref()?.size());
            if size < nft_expr::SIZE as u64 || size > length - at {
                return Err(Fault {
                    address,
                    kind: FaultKind::Inconsistent,
                });
            }
            Ok((expr, size))
        };
        let (expr, size) = match read() {
            Ok(found) => found,
            // Where the next one begins isn't known.
            Err(fault) => return (out, Some(fault)),
        };
        match one(expr, functions) {
            Ok(expr) => out.push(expr),
            Err(fault) => return (out, Some(fault)),
        }
        at += size;
    }
    (out, None)
}

/// The private part.
fn private<'m, T: View<'m>>(expr: nft_expr<'m>) -> Result<T, Fault> {
    Ptr::<T>::new(expr.memory(), expr.data().addr()).deref()
}

/// One of several bytes of a bit-field that says nothing of its sign.
fn number(value: impl TryInto<u32>) -> u32 {
    value.try_into().unwrap_or(u32::MAX)
}

/// The bytes that a register gets.
fn data(data: kernel::nft_data<'_>, len: u32) -> Vec<u8> {
    data.bytes()
        .get(..len as usize)
        .unwrap_or(data.bytes())
        .to_vec()
}

/// A verdict; of a jump with the chain.
pub fn verdict(data: kernel::nft_data<'_>) -> Result<Verdict, Fault> {
    let verdict = data.verdict();
    let code = verdict.code().cast_signed();
    // NFT_JUMP, NFT_GOTO
    let chain = match code {
        -3 | -4 => Some(verdict.chain().deref()?.name().read()?.to_string()),
        _ => None,
    };
    Ok(Verdict { code, chain })
}

fn set_name(set: Ptr<'_, kernel::nft_set<'_>>) -> Result<String, Fault> {
    Ok(set.deref()?.name().read()?.to_string())
}

/// Sums of what each CPU counted: packets and bytes.
pub fn counter(counter: Ptr<'_, kernel::nft_counter<'_>>) -> Result<(u64, u64), Fault> {
    use linux::counter::Counter as _;

    let mut sum = (0_u64, 0_u64);
    for cpu in linux::cpu::possible(counter.memory())? {
        let own = counter.on_cpu(cpu)?.deref()?;
        sum.0 = sum.0.wrapping_add(own.packets().count());
        sum.1 = sum.1.wrapping_add(own.bytes().count());
    }
    Ok(sum)
}

/// What is known of one expression.
pub fn one(expr: nft_expr<'_>, functions: &Names<'_>) -> Result<Expr, Fault> {
    let ops = expr.ops().deref()?;
    let kind = ops.type_().deref()?.name().read()?.to_string();
    // Several kinds share a name; which one it is says the function that shows it.
    let function = functions
        .beginning(ops.dump().addr())
        .map_or_else(String::new, |function| function.name);
    let found = core(expr, &kind, &function, functions)?;
    if let Some(found) = found {
        return Ok(found);
    }
    if let Some(found) = in_modules(expr, &kind, &function)? {
        return Ok(found);
    }
    let size = (ops.size() as usize)
        .saturating_sub(nft_expr::SIZE)
        .min(4096);
    let bytes = expr.memory().bytes(expr.data().addr(), size)?;
    Ok(Expr::Other {
        kind,
        data: bytes.to_vec(),
    })
}

/// Those of nf_tables itself.
fn core(
    expr: nft_expr<'_>,
    kind: &str,
    function: &str,
    functions: &Names<'_>,
) -> Result<Option<Expr>, Fault> {
    Ok(Some(match (kind, function) {
        ("payload", "nft_payload_set_dump") => {
            let own: kernel::nft_payload_set<'_> = private(expr)?;
            Expr::PayloadSet {
                base: number(own.base().0),
                offset: own.offset().into(),
                len: own.len().into(),
                sreg: own.sreg().into(),
                sum_type: own.csum_type().into(),
                sum_offset: own.csum_offset().into(),
                sum_flags: own.csum_flags().into(),
            }
        }
        ("payload", _) => {
            let own: kernel::nft_payload<'_> = private(expr)?;
            Expr::Payload {
                base: number(own.base().0),
                offset: own.offset().into(),
                len: own.len().into(),
                dreg: own.dreg().into(),
            }
        }
        ("meta", "nft_meta_set_dump") => {
            let own: kernel::nft_meta<'_> = private(expr)?;
            Expr::MetaSet {
                key: number(own.key().0),
                sreg: own.sreg().into(),
            }
        }
        ("meta", _) => {
            let own: kernel::nft_meta<'_> = private(expr)?;
            Expr::Meta {
                key: number(own.key().0),
                dreg: own.dreg().into(),
            }
        }
        ("cmp", "nft_cmp_fast_dump") => {
            let own: kernel::nft_cmp_fast_expr<'_> = private(expr)?;
            // Of up to 32 bits, as they lie in memory.
            let bytes = &own.bytes()[..4];
            let len = (own.len() as usize).div_ceil(8).min(4);
            Expr::Cmp {
                op: u32::from(own.inv()),
                sreg: own.sreg().into(),
                data: bytes[..len].to_vec(),
            }
        }
        ("cmp", "nft_cmp16_fast_dump") => {
            let own: kernel::nft_cmp16_fast_expr<'_> = private(expr)?;
            Expr::Cmp {
                op: u32::from(own.inv()),
                sreg: own.sreg().into(),
                data: data(own.data(), own.len().into()),
            }
        }
        ("cmp", _) => {
            let own: kernel::nft_cmp_expr<'_> = private(expr)?;
            Expr::Cmp {
                op: number(own.op().0),
                sreg: own.sreg().into(),
                data: data(own.data(), own.len().into()),
            }
        }
        ("bitwise", "nft_bitwise_fast_dump") => {
            let own: kernel::nft_bitwise_fast_expr<'_> = private(expr)?;
            Expr::Bitwise {
                op: 0,
                sreg: own.sreg().into(),
                dreg: own.dreg().into(),
                mask: own.bytes()[..4].to_vec(),
                xor: own.bytes()[4..8].to_vec(),
                shift: 0,
            }
        }
        ("bitwise", _) => {
            let own: kernel::nft_bitwise<'_> = private(expr)?;
            let len = own.len().into();
            Expr::Bitwise {
                op: number(own.op().0),
                sreg: own.sreg().into(),
                dreg: own.dreg().into(),
                mask: data(own.mask(), len),
                xor: data(own.xor(), len),
                shift: Bytes(own.data().bytes()).u32(0).unwrap_or(0),
            }
        }
        ("immediate", _) => {
            let own: kernel::nft_immediate_expr<'_> = private(expr)?;
            match own.dreg() {
                0 => Expr::Verdict(verdict(own.data())?),
                dreg => Expr::Immediate {
                    dreg: dreg.into(),
                    data: data(own.data(), own.dlen().into()),
                },
            }
        }
        ("range", _) => {
            let own: kernel::nft_range_expr<'_> = private(expr)?;
            let len = own.len().into();
            Expr::Range {
                op: number(own.op().0),
                sreg: own.sreg().into(),
                from: data(own.data_from(), len),
                to: data(own.data_to(), len),
            }
        }
        ("lookup", _) => {
            let own: kernel::nft_lookup<'_> = private(expr)?;
            let set = own.set().deref()?;
            // NFT_SET_MAP
            let is_map = set.flags() as u32 & 8 != 0;
            Expr::Lookup {
                set: set.name().read()?.to_string(),
                sreg: own.sreg().into(),
                dreg: is_map.then(|| own.dreg().into()),
                is_verdict: is_map && own.dreg() == 0,
                inverted: own.invert(),
            }
        }
        ("byteorder", _) => {
            let own: kernel::nft_byteorder<'_> = private(expr)?;
            Expr::Byteorder {
                op: number(own.op().0),
                sreg: own.sreg().into(),
                dreg: own.dreg().into(),
                // Not kept where it isn't needed.
                #[cfg(kernel_has = "nft_byteorder.len")]
                len: own.len().into(),
                #[cfg(not(kernel_has = "nft_byteorder.len"))]
                len: own.size().into(),
                size: own.size().into(),
            }
        }
        ("counter", _) => {
            let own: kernel::nft_counter_percpu_priv<'_> = private(expr)?;
            let (packets, bytes) = counter(own.counter())?;
            Expr::Counter { packets, bytes }
        }
        ("rt", _) => {
            let own: kernel::nft_rt<'_> = private(expr)?;
            Expr::Rt {
                key: number(own.key().0),
                dreg: own.dreg().into(),
            }
        }
        ("exthdr", "nft_exthdr_dump_set") => {
            let own: kernel::nft_exthdr<'_> = private(expr)?;
            Expr::ExthdrSet {
                kind: own.type_().into(),
                offset: own.offset().into(),
                len: own.len().into(),
                op: own.op().into(),
                sreg: own.sreg().into(),
            }
        }
        ("exthdr", "nft_exthdr_dump") => {
            let own: kernel::nft_exthdr<'_> = private(expr)?;
            Expr::Exthdr {
                kind: own.type_().into(),
                offset: own.offset().into(),
                len: own.len().into(),
                op: own.op().into(),
                present: own.flags() & 1 != 0,
                dreg: own.dreg().into(),
            }
        }
        ("dynset", _) => {
            let own: kernel::nft_dynset<'_> = private(expr)?;
            let set = own.set().deref()?;
            let exprs = own
                .expr_array()
                .iter()
                .take(own.num_exprs().into())
                .map(|expr| one(expr.deref()?, functions))
                .collect::<Result<_, _>>()?;
            Expr::Dynset {
                op: number(own.op().0),
                set: set.name().read()?.to_string(),
                key: own.sreg_key().into(),
                data: (set.flags() as u32 & 8 != 0).then(|| own.sreg_data().into()),
                timeout: super::milliseconds(expr.memory(), own.timeout())?,
                inverted: own.invert(),
                exprs,
            }
        }
        ("objref", "nft_objref_map_dump") => objref_map(expr)?,
        ("objref", _) => {
            // The private part is a pointer to the object.
            let k = expr.memory();
            let object = k.word(expr.data().addr())?;
            let object = Ptr::<kernel::nft_object<'_>>::new(k, object).deref()?;
            Expr::Object {
                kind: object.ops().deref()?.type_().deref()?.type_(),
                name: object.key().name().read()?.to_string(),
            }
        }
        #[cfg(kernel_has = "nft_last_priv.last")]
        ("last", _) => {
            let own: kernel::nft_last_priv<'_> = private(expr)?;
            let last = own.last().deref()?;
            let k = expr.memory();
            let used = (last.set() != 0)
                .then(|| {
                    Ok(linux::time::jiffies_since(
                        k,
                        linux::time::jiffies(k)?,
                        last.jiffies(),
                    ))
                })
                .transpose()?;
            Expr::Last { used }
        }
        ("notrack", _) => Expr::Notrack,
        _ => return Ok(None),
    }))
}

#[cfg(kernel_has = "nft_objref_map.set")]
fn objref_map(expr: nft_expr<'_>) -> Result<Expr, Fault> {
    let own: kernel::nft_objref_map<'_> = private(expr)?;
    Ok(Expr::ObjectMap {
        sreg: own.sreg().into(),
        set: set_name(own.set())?,
    })
}

/// In a module that isn't described: a pointer to the set, then the register.
#[cfg(not(kernel_has = "nft_objref_map.set"))]
fn objref_map(expr: nft_expr<'_>) -> Result<Expr, Fault> {
    let k = expr.memory();
    let place = expr.data().addr();
    let width = u64::from(kernel::KERNEL.pointer_size);
    Ok(Expr::ObjectMap {
        sreg: k.bytes(k.wrap(place.wrapping_add(width)), 1)?[0].into(),
        set: set_name(Ptr::new(k, k.word(place)?))?,
    })
}

/// Those that are modules of their own, and known if the module's types are.
fn in_modules(expr: nft_expr<'_>, kind: &str, function: &str) -> Result<Option<Expr>, Fault> {
    let _ = function;
    Ok(Some(match kind {
        #[cfg(kernel_has = "nft_ct.key")]
        "ct" => {
            let own: kernel::nft_ct<'_> = private(expr)?;
            let key = number(own.key().0);
            let direction = Some(number(own.dir().0)).filter(|direction| *direction < 2);
            if function == "nft_ct_set_dump" {
                Expr::CtSet {
                    key,
                    direction,
                    sreg: own.sreg().into(),
                }
            } else {
                Expr::Ct {
                    key,
                    direction,
                    dreg: own.dreg().into(),
                }
            }
        }
        #[cfg(kernel_has = "nft_limit_priv.rate")]
        "limit" => {
            let own: kernel::nft_limit_priv<'_> = private(expr)?;
            Expr::Limit {
                rate: own.rate(),
                unit: own.nsecs() / 1_000_000_000,
                burst: own.burst(),
                is_bytes: function == "nft_limit_bytes_dump",
                over: own.invert(),
            }
        }
        #[cfg(kernel_has = "nft_log.loginfo")]
        "log" => {
            let own: kernel::nft_log<'_> = private(expr)?;
            let prefix = own.prefix();
            // Without a prefix it points to an empty one.
            let prefix = match prefix.is_null() {
                true => None,
                false => Some(prefix.read()?.to_string()).filter(|prefix| !prefix.is_empty()),
            };
            log(own.loginfo(), prefix)
        }
        #[cfg(kernel_has = "nft_reject.icmp_code")]
        "reject" => {
            let own: kernel::nft_reject<'_> = private(expr)?;
            Expr::Reject {
                kind: number(own.type_().0),
                code: own.icmp_code().into(),
            }
        }
        #[cfg(kernel_has = "nft_nat.sreg_addr_min")]
        "nat" => {
            let own: kernel::nft_nat<'_> = private(expr)?;
            Expr::Nat {
                is_destination: number(own.type_().0) == 1,
                family: own.family(),
                addresses: (own.sreg_addr_min().into(), own.sreg_addr_max().into()),
                ports: (own.sreg_proto_min().into(), own.sreg_proto_max().into()),
                flags: own.flags().into(),
            }
        }
        #[cfg(kernel_has = "nft_masq.flags")]
        "masq" => {
            let own: kernel::nft_masq<'_> = private(expr)?;
            Expr::Masquerade {
                ports: (own.sreg_proto_min().into(), own.sreg_proto_max().into()),
                flags: own.flags().into(),
            }
        }
        #[cfg(kernel_has = "nft_redir.flags")]
        "redir" => {
            let own: kernel::nft_redir<'_> = private(expr)?;
            Expr::Redirect {
                ports: (own.sreg_proto_min().into(), own.sreg_proto_max().into()),
                flags: own.flags().into(),
            }
        }
        #[cfg(kernel_has = "nft_fib.result")]
        "fib" => {
            let own: kernel::nft_fib<'_> = private(expr)?;
            Expr::Fib {
                flags: own.flags(),
                result: own.result().into(),
                dreg: own.dreg().into(),
            }
        }
        #[cfg(kernel_has = "nft_socket.key")]
        "socket" => {
            let own: kernel::nft_socket<'_> = private(expr)?;
            Expr::Socket {
                key: number(own.key().0),
                level: own.level().into(),
                dreg: own.dreg().into(),
            }
        }
        #[cfg(kernel_has = "nft_tproxy.sreg_addr")]
        "tproxy" => {
            let own: kernel::nft_tproxy<'_> = private(expr)?;
            Expr::Tproxy {
                family: own.family(),
                address: own.sreg_addr().into(),
                port: own.sreg_port().into(),
            }
        }
        #[cfg(kernel_has = "nft_queue.queuenum")]
        "queue" => {
            let own: kernel::nft_queue<'_> = private(expr)?;
            Expr::Queue {
                first: own.queuenum().into(),
                count: own.queues_total().into(),
                flags: own.flags().into(),
                sreg: own.sreg_qnum().into(),
            }
        }
        #[cfg(kernel_has = "nft_quota.consumed")]
        "quota" => {
            let own: kernel::nft_quota<'_> = private(expr)?;
            Expr::Quota {
                bytes: own.quota().value().cast_unsigned(),
                used: own.consumed().deref()?.value().cast_unsigned(),
                flags: own.flags() & 1,
            }
        }
        #[cfg(kernel_has = "nft_symhash.modulus")]
        "hash" if function == "nft_symhash_dump" => {
            let own: kernel::nft_symhash<'_> = private(expr)?;
            Expr::Hash {
                symmetric: true,
                sreg: 0,
                len: 0,
                dreg: own.dreg().into(),
                modulus: own.modulus(),
                seed: None,
                offset: own.offset(),
            }
        }
        #[cfg(kernel_has = "nft_jhash.modulus")]
        "hash" => {
            let own: kernel::nft_jhash<'_> = private(expr)?;
            let is_made_up = own.autogen_seed() as u32 != 0;
            Expr::Hash {
                symmetric: false,
                sreg: own.sreg().into(),
                len: own.len().into(),
                dreg: own.dreg().into(),
                modulus: own.modulus(),
                seed: (!is_made_up).then(|| own.seed()),
                offset: own.offset(),
            }
        }
        #[cfg(kernel_has = "nft_ng_random.modulus")]
        "numgen" if function == "nft_ng_random_dump" => {
            let own: kernel::nft_ng_random<'_> = private(expr)?;
            Expr::Numgen {
                random: true,
                dreg: own.dreg().into(),
                modulus: own.modulus(),
                offset: own.offset(),
            }
        }
        #[cfg(kernel_has = "nft_ng_inc.modulus")]
        "numgen" => {
            let own: kernel::nft_ng_inc<'_> = private(expr)?;
            Expr::Numgen {
                random: false,
                dreg: own.dreg().into(),
                modulus: own.modulus(),
                offset: own.offset(),
            }
        }
        #[cfg(kernel_has = "nft_fwd_neigh.sreg_addr")]
        "fwd" if function == "nft_fwd_neigh_dump" => {
            let own: kernel::nft_fwd_neigh<'_> = private(expr)?;
            Expr::Forward {
                device: own.sreg_dev().into(),
                address: Some((own.sreg_addr().into(), own.nfproto())),
            }
        }
        #[cfg(kernel_has = "nft_fwd_netdev.sreg_dev")]
        "fwd" => {
            let own: kernel::nft_fwd_netdev<'_> = private(expr)?;
            Expr::Forward {
                device: own.sreg_dev().into(),
                address: None,
            }
        }
        #[cfg(kernel_has = "nft_dup_ipv4.sreg_addr")]
        "dup" if function == "nft_dup_ipv4_dump" => {
            let own: kernel::nft_dup_ipv4<'_> = private(expr)?;
            let device = u32::from(own.sreg_dev());
            Expr::Dup {
                address: Some(own.sreg_addr().into()),
                device: (device != 0).then_some(device),
            }
        }
        #[cfg(kernel_has = "nft_dup_ipv6.sreg_addr")]
        "dup" if function == "nft_dup_ipv6_dump" => {
            let own: kernel::nft_dup_ipv6<'_> = private(expr)?;
            let device = u32::from(own.sreg_dev());
            Expr::Dup {
                address: Some(own.sreg_addr().into()),
                device: (device != 0).then_some(device),
            }
        }
        #[cfg(kernel_has = "nft_dup_netdev.sreg_dev")]
        "dup" if function == "nft_dup_netdev_dump" => {
            let own: kernel::nft_dup_netdev<'_> = private(expr)?;
            Expr::Dup {
                address: None,
                device: Some(own.sreg_dev().into()),
            }
        }
        #[cfg(kernel_has = "nft_synproxy.info.mss")]
        "synproxy" => {
            let own: kernel::nft_synproxy<'_> = private(expr)?;
            Expr::Synproxy {
                mss: own.info().mss().into(),
                wscale: own.info().wscale().into(),
                flags: own.info().options().into(),
            }
        }
        #[cfg(kernel_has = "nft_flow_offload.flowtable")]
        "flow_offload" => {
            let own: kernel::nft_flow_offload<'_> = private(expr)?;
            Expr::Flow {
                name: own.flowtable().deref()?.name().read()?.to_string(),
            }
        }
        #[cfg(kernel_has = "nft_connlimit.limit")]
        "connlimit" => {
            let own: kernel::nft_connlimit<'_> = private(expr)?;
            Expr::Connlimit {
                count: own.limit(),
                inverted: own.invert(),
            }
        }
        #[cfg(kernel_has = "nft_osf.ttl")]
        "osf" => {
            let own: kernel::nft_osf<'_> = private(expr)?;
            Expr::Osf {
                dreg: own.dreg().into(),
                ttl: own.ttl().into(),
                flags: own.flags(),
            }
        }
        _ => return Ok(None),
    }))
}

/// `struct nf_loginfo`: NF_LOG_TYPE_LOG is 0, NF_LOG_TYPE_ULOG 1.
#[cfg(kernel_has = "nft_log.loginfo")]
fn log(info: kernel::nf_loginfo<'_>, prefix: Option<String>) -> Expr {
    let target = if info.type_() == 0 {
        LogTarget::Level {
            level: info.u().log().level().into(),
            flags: info.u().log().logflags().into(),
        }
    } else {
        let ulog = info.u().ulog();
        LogTarget::Group {
            group: ulog.group().into(),
            snaplen: ulog.copy_len(),
            threshold: ulog.qthreshold().into(),
        }
    };
    Expr::Log { prefix, target }
}

/// A register as userspace numbers it: `nft_dump_register`.
pub fn register(word: u32) -> u32 {
    if word.is_multiple_of(4) {
        word / 4
    } else {
        word + 4
    }
}

fn name(names: &[&str], index: u32) -> String {
    match names.get(index as usize) {
        Some(name) => (*name).to_owned(),
        None => index.to_string(),
    }
}

/// `enum nft_meta_keys` as libnftnl names them.
pub const META: [&str; 37] = [
    "len",
    "protocol",
    "priority",
    "mark",
    "iif",
    "oif",
    "iifname",
    "oifname",
    "iiftype",
    "oiftype",
    "skuid",
    "skgid",
    "nftrace",
    "rtclassid",
    "secmark",
    "nfproto",
    "l4proto",
    "bri_iifname",
    "bri_oifname",
    "pkttype",
    "cpu",
    "iifgroup",
    "oifgroup",
    "cgroup",
    "prandom",
    "secpath",
    "iifkind",
    "oifkind",
    "bri_iifpvid",
    "bri_iifvproto",
    "time",
    "day",
    "hour",
    "sdif",
    "sdifname",
    "broute",
    "bri_iifhwaddr",
];
/// `enum nft_ct_keys`
pub const CT: [&str; 24] = [
    "state",
    "direction",
    "status",
    "mark",
    "secmark",
    "expiration",
    "helper",
    "l3protocol",
    "src",
    "dst",
    "protocol",
    "proto_src",
    "proto_dst",
    "label",
    "packets",
    "bytes",
    "avgpkt",
    "zone",
    "event",
    "src_ip",
    "dst_ip",
    "src_ip6",
    "dst_ip6",
    "id",
];
const BASES: [&str; 5] = ["link", "network", "transport", "inner", "tunnel"];
const CMP: [&str; 6] = ["eq", "neq", "lt", "lte", "gt", "gte"];

/// The words of a register's value.
fn words(data: &[u8]) -> String {
    use std::fmt::Write as _;

    let mut out = String::new();
    for chunk in data.chunks(4) {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        let _ = write!(out, "0x{:08x} ", Bytes(&word).u32(0).unwrap_or(0));
    }
    out
}

/// A verdict as libnftnl writes it.
pub fn verdict_name(verdict: &Verdict) -> String {
    let name = match verdict.code {
        -1 => "continue",
        -2 => "break",
        -3 => "jump",
        -4 => "goto",
        -5 => "return",
        0 => "drop",
        1 => "accept",
        3 => "queue",
        _ => return verdict.code.to_string(),
    };
    match &verdict.chain {
        Some(chain) => format!("{name} -> {chain}"),
        None => name.to_owned(),
    }
}

impl Expr {
    /// As `nft --debug=netlink` writes it (libnftnl's `src/expr/*.c`): `[ meta load mark => reg 1 ]`.
    pub fn debug(&self) -> String {
        let (kind, body) = self.parts();
        format!("[ {kind} {body}]")
    }

    fn parts(&self) -> (&str, String) {
        let reg = |word: &u32| register(*word);
        let optional = |name: &str, word: u32| match word {
            0 => String::new(),
            word => format!("{name} reg {} ", register(word)),
        };
        let flags = |flags: &u32| match flags {
            0 => String::new(),
            flags => format!("flags 0x{flags:x} "),
        };
        let direction = |direction: &Option<u32>| match direction {
            Some(0) => ", dir original ",
            Some(_) => ", dir reply ",
            None => "",
        };
        match self {
            Expr::Payload {
                base,
                offset,
                len,
                dreg,
            } => (
                "payload",
                format!(
                    "load {len}b @ {} header + {offset} => reg {} ",
                    name(&BASES, *base),
                    reg(dreg)
                ),
            ),
            Expr::PayloadSet {
                base,
                offset,
                len,
                sreg,
                sum_type,
                sum_offset,
                sum_flags,
            } => (
                "payload",
                format!(
                    "write reg {} => {len}b @ {} header + {offset} csum_type {sum_type} csum_off {sum_offset} csum_flags 0x{sum_flags:x} ",
                    reg(sreg),
                    name(&BASES, *base)
                ),
            ),
            Expr::Meta { key, dreg } => (
                "meta",
                format!("load {} => reg {} ", name(&META, *key), reg(dreg)),
            ),
            Expr::MetaSet { key, sreg } => (
                "meta",
                format!("set {} with reg {} ", name(&META, *key), reg(sreg)),
            ),
            Expr::Cmp { op, sreg, data } => (
                "cmp",
                format!("{} reg {} {}", name(&CMP, *op), reg(sreg), words(data)),
            ),
            Expr::Bitwise {
                op: 0,
                sreg,
                dreg,
                mask,
                xor,
                ..
            } => (
                "bitwise",
                format!(
                    "reg {} = ( reg {} & {}) ^ {}",
                    reg(dreg),
                    reg(sreg),
                    words(mask),
                    words(xor)
                ),
            ),
            Expr::Bitwise {
                op,
                sreg,
                dreg,
                shift,
                ..
            } => {
                let operator = if *op == 1 { "<<" } else { ">>" };
                (
                    "bitwise",
                    format!(
                        "reg {} = ( reg {} {operator} 0x{shift:08x} ) ",
                        reg(dreg),
                        reg(sreg)
                    ),
                )
            }
            Expr::Immediate { dreg, data } => {
                ("immediate", format!("reg {} {}", reg(dreg), words(data)))
            }
            Expr::Verdict(verdict) => ("immediate", format!("reg 0 {} ", verdict_name(verdict))),
            Expr::Range { op, sreg, from, to } => (
                "range",
                format!(
                    "{} reg {} {}{}",
                    name(&CMP, *op),
                    reg(sreg),
                    words(from),
                    words(to)
                ),
            ),
            Expr::Lookup {
                set,
                sreg,
                dreg,
                inverted,
                ..
            } => {
                let dreg =
                    dreg.map_or_else(String::new, |dreg| format!("dreg {} ", register(dreg)));
                let inverted = if *inverted { "0x1 " } else { "0x0 " };
                (
                    "lookup",
                    format!("reg {} set {set} {dreg}{inverted}", reg(sreg)),
                )
            }
            Expr::Counter { packets, bytes } => {
                ("counter", format!("pkts {packets} bytes {bytes} "))
            }
            Expr::Byteorder {
                op,
                sreg,
                dreg,
                len,
                size,
            } => {
                let op = if *op == 0 { "ntoh" } else { "hton" };
                (
                    "byteorder",
                    format!(
                        "reg {} = {op}(reg {}, {size}, {len}) ",
                        reg(dreg),
                        reg(sreg)
                    ),
                )
            }
            Expr::Ct {
                key,
                direction: side,
                dreg,
            } => (
                "ct",
                format!(
                    "load {} => reg {} {}",
                    name(&CT, *key),
                    reg(dreg),
                    direction(side)
                ),
            ),
            Expr::CtSet {
                key,
                direction: side,
                sreg,
            } => (
                "ct",
                format!(
                    "set {} with reg {} {}",
                    name(&CT, *key),
                    reg(sreg),
                    direction(side)
                ),
            ),
            Expr::Limit {
                rate,
                unit,
                burst,
                is_bytes,
                over,
            } => {
                let kind = if *is_bytes { "bytes" } else { "packets" };
                let unit = super::text::time_unit(*unit);
                (
                    "limit",
                    format!(
                        "rate {rate}/{unit} burst {burst} type {kind} flags 0x{:x} ",
                        u8::from(*over)
                    ),
                )
            }
            Expr::Log { prefix, target } => {
                let prefix = prefix
                    .as_ref()
                    .map_or_else(String::new, |prefix| format!("prefix {prefix} "));
                let target = match target {
                    LogTarget::Level { level, flags } => {
                        let names = [
                            (1, "tcpseq "),
                            (2, "tcpopt "),
                            (4, "ipopt "),
                            (8, "uid "),
                            (0x20, "macdecode "),
                        ];
                        let names: String = names
                            .iter()
                            .filter(|(bit, _)| flags & bit != 0)
                            .map(|(_, name)| *name)
                            .collect();
                        format!("level {level} {names}")
                    }
                    LogTarget::Group {
                        group,
                        snaplen,
                        threshold,
                    } => {
                        format!("group {group} snaplen {snaplen} qthreshold {threshold} ")
                    }
                };
                ("log", prefix + &target)
            }
            Expr::Reject { kind, code } => ("reject", format!("type {kind} code {code} ")),
            Expr::Nat {
                is_destination,
                family,
                addresses,
                ports,
                flags: value,
            } => {
                let kind = if *is_destination { "dnat" } else { "snat" };
                let text = format!(
                    "{kind} {} {}{}{}{}{}",
                    names::family(*family),
                    optional("addr_min", addresses.0),
                    optional("addr_max", addresses.1),
                    optional("proto_min", ports.0),
                    optional("proto_max", ports.1),
                    flags(value)
                );
                ("nat", text)
            }
            Expr::Masquerade {
                ports,
                flags: value,
            } => (
                "masq",
                format!(
                    "{}{}{}",
                    optional("proto_min", ports.0),
                    optional("proto_max", ports.1),
                    flags(value)
                ),
            ),
            Expr::Redirect {
                ports,
                flags: value,
            } => (
                "redir",
                format!(
                    "{}{}{}",
                    optional("proto_min", ports.0),
                    optional("proto_max", ports.1),
                    flags(value)
                ),
            ),
            Expr::Object { kind, name } => ("objref", format!("type {kind} name {name} ")),
            Expr::ObjectMap { sreg, set } => ("objref", format!("sreg {} set {set} ", reg(sreg))),
            Expr::Dynset {
                op,
                set,
                key,
                data,
                timeout,
                exprs,
                ..
            } => {
                let data =
                    data.map_or_else(String::new, |data| format!("sreg_data {} ", register(data)));
                let timeout = format!("timeout {timeout}ms ");
                let exprs: String = exprs
                    .iter()
                    .map(|expr| {
                        let (kind, body) = expr.parts();
                        format!("expr [ {kind} {body}] ")
                    })
                    .collect();
                let op = name(&["add", "update", "delete"], *op);
                (
                    "dynset",
                    format!("{op} reg_key {} set {set} {data}{timeout}{exprs}", reg(key)),
                )
            }
            Expr::Exthdr {
                kind,
                offset,
                len,
                op,
                present,
                dreg,
            } => {
                let op = match op {
                    1 => " tcpopt",
                    2 => " ipv4",
                    3 => " sctp",
                    4 => " dccp",
                    _ => " ipv6",
                };
                let present = if *present { " present" } else { "" };
                (
                    "exthdr",
                    format!(
                        "load{op} {len}b @ {kind} + {offset}{present} => reg {} ",
                        reg(dreg)
                    ),
                )
            }
            Expr::ExthdrSet {
                kind,
                offset,
                len,
                sreg,
                ..
            } => (
                "exthdr",
                format!(
                    "write tcpopt reg {} => {len}b @ {kind} + {offset} ",
                    reg(sreg)
                ),
            ),
            Expr::Fib {
                flags: value,
                result,
                dreg,
            } => {
                let parts = [
                    (1, "saddr"),
                    (2, "daddr"),
                    (4, "mark"),
                    (8, "iif"),
                    (16, "oif"),
                ];
                let parts: Vec<&str> = parts
                    .iter()
                    .filter(|(bit, _)| value & bit != 0)
                    .map(|(_, name)| *name)
                    .collect();
                let result = name(&["unspec", "oif", "oifname", "type"], *result);
                let present = if value & 32 != 0 { " present" } else { "" };
                (
                    "fib",
                    format!(
                        "{} {result}{present} => reg {} ",
                        parts.join(" . "),
                        reg(dreg)
                    ),
                )
            }
            Expr::Rt { key, dreg } => {
                let key = name(
                    &["classid", "nexthop4", "nexthop6", "tcpmss", "ipsec"],
                    *key,
                );
                ("rt", format!("load {key} => reg {} ", reg(dreg)))
            }
            Expr::Socket { key, level, dreg } => {
                let shown = name(&["transparent", "mark", "wildcard", "cgroupv2"], *key);
                let level = if *key == 3 {
                    format!("level {level} ")
                } else {
                    String::new()
                };
                (
                    "socket",
                    format!("load {shown} => reg {} {level}", reg(dreg)),
                )
            }
            Expr::Tproxy {
                family,
                address,
                port,
            } => {
                let family = if *family == 0 {
                    "(nil)".to_owned()
                } else {
                    names::family(*family)
                };
                let address = optional("addr", *address);
                let port = optional("port", *port);
                ("tproxy", format!("{family} {address}{port}"))
            }
            Expr::Queue {
                first,
                count,
                flags,
                sreg,
            } => {
                let numbers = match (sreg, count) {
                    (0, 0 | 1) => format!("num {first} "),
                    (0, count) => format!("num {first}-{} ", first + count - 1),
                    (sreg, _) => format!("sreg_qnum {} ", register(*sreg)),
                };
                let bypass = if flags & 1 != 0 { "bypass " } else { "" };
                let fanout = if flags & 2 != 0 { "fanout " } else { "" };
                ("queue", format!("{numbers}{bypass}{fanout}"))
            }
            Expr::Quota { bytes, used, flags } => (
                "quota",
                format!("bytes {bytes} consumed {used} flags {flags} "),
            ),
            Expr::Hash {
                symmetric: true,
                dreg,
                modulus,
                offset,
                ..
            } => {
                let offset = if *offset == 0 {
                    String::new()
                } else {
                    format!("offset {offset} ")
                };
                (
                    "hash",
                    format!("reg {} = symhash() % mod {modulus} {offset}", reg(dreg)),
                )
            }
            Expr::Hash {
                sreg,
                len,
                dreg,
                modulus,
                seed,
                offset,
                ..
            } => {
                let offset = if *offset == 0 {
                    String::new()
                } else {
                    format!("offset {offset} ")
                };
                let seed = seed.unwrap_or(0);
                (
                    "hash",
                    format!(
                        "reg {} = jhash(reg {}, {len}, 0x{seed:x}) % mod {modulus} {offset}",
                        reg(dreg),
                        reg(sreg)
                    ),
                )
            }
            Expr::Numgen {
                random,
                dreg,
                modulus,
                offset,
            } => {
                let kind = if *random { "random" } else { "inc" };
                let offset = if *offset == 0 {
                    String::new()
                } else {
                    format!("offset {offset} ")
                };
                (
                    "numgen",
                    format!("reg {} = {kind} mod {modulus} {offset}", reg(dreg)),
                )
            }
            Expr::Forward { device, address } => {
                let address = address.map_or_else(String::new, |(address, family)| {
                    format!("sreg_addr {} nfproto {family} ", register(address))
                });
                ("fwd", format!("sreg_dev {} {address}", reg(device)))
            }
            Expr::Dup { address, device } => {
                let address = address
                    .map_or_else(String::new, |word| format!("sreg_addr {} ", register(word)));
                let device =
                    device.map_or_else(String::new, |word| format!("sreg_dev {} ", register(word)));
                ("dup", address + &device)
            }
            Expr::Notrack => ("notrack", String::new()),
            Expr::Synproxy { mss, wscale, .. } => {
                ("synproxy", format!("mss {mss} wscale {wscale} "))
            }
            Expr::Flow { name } => ("flow_offload", format!("flowtable {name} ")),
            Expr::Connlimit { count, inverted } => (
                "connlimit",
                format!("count {count} flags {:x} ", u8::from(*inverted)),
            ),
            Expr::Osf { dreg, .. } => ("osf", format!("dreg {} ", reg(dreg))),
            Expr::Last { used } => match used {
                None => ("last", "never ".to_owned()),
                Some(jiffies) => ("last", format!("{jiffies} jiffies ")),
            },
            Expr::Other { kind, data } => (kind, format!("{} ", hex(data))),
        }
    }
}
