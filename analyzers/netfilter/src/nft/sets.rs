//! Sets and maps with their elements (net/netfilter/nft_set_*.c).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kernel::{nft_set, nft_set_ext, nft_set_extensions};
use kstruct::{Fault, FaultKind, Ptr, View};
use serde::Serialize;

use super::expr::{self, Expr};
use super::types::Type;
use super::{Reader, milliseconds, text, user_data};
use linux::bytes::hex;

/// A set, or a map.
#[derive(Debug, Serialize)]
pub struct Set {
    pub name: String,
    pub handle: u64,
    /// Types of the key; several of a concatenation.
    pub key: Vec<String>,
    /// Of a map: types of what keys lead to.
    pub data: Option<Vec<String>>,
    /// `constant`, `interval`, `dynamic`, `timeout`, and others of `enum nft_set_flags`.
    pub flags: Vec<&'static str>,
    /// Milliseconds.
    pub timeout: Option<u64>,
    pub gc_interval: Option<u64>,
    /// The most elements that it may have.
    pub size: Option<u32>,
    pub comment: Option<String>,
    /// What each element has: `counter`.
    pub statements: Vec<String>,
    /// The functions that it is made of: `nft_rhash`, `nft_pipapo`.
    pub backend: String,
    /// As nft writes them.
    pub elements: Vec<String>,
    /// The `nft_set`.
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
    #[serde(skip)]
    pub(super) flag_bits: u32,
    #[serde(skip)]
    policy: u16,
    #[serde(skip)]
    pub(super) types: Vec<Type>,
    #[serde(skip)]
    pub(super) lengths: Vec<usize>,
    #[serde(skip)]
    pub(super) data_types: Option<Vec<Type>>,
}

/// `enum nft_set_flags`
const ANONYMOUS: u32 = 1;
const CONSTANT: u32 = 2;
const INTERVAL: u32 = 4;
const MAP: u32 = 8;
const TIMEOUT: u32 = 16;
const EVAL: u32 = 32;
const OBJECT: u32 = 64;
const FLAGS: [(u32, &str); 8] = [
    (ANONYMOUS, "anonymous"),
    (CONSTANT, "constant"),
    (EVAL, "dynamic"),
    (INTERVAL, "interval"),
    (MAP, "map"),
    (TIMEOUT, "timeout"),
    (OBJECT, "object"),
    (128, "concat"),
];

/// `NFT_DATA_VERDICT`
const VERDICT: u32 = 0xffff_ff00;

/// An element as it is in the kernel.
struct Element {
    key: Vec<u8>,
    /// The other end, of sets that have both in one.
    end: Option<Vec<u8>>,
    is_end: bool,
    /// Of maps, as nft writes it.
    data: Option<String>,
    /// Timeout, time left, statements, comment.
    rest: String,
}

/// How long a value of a type is; sets say it of concatenations only.
fn length_of(part: Type) -> usize {
    match part {
        Type::IPV6 | Type::IFNAME | Type::STRING => 16,
        Type::ETHER => 6,
        Type::SERVICE | Type::ETHERTYPE | Type::ARPOP | Type::ARPHRD => 2,
        Type::PROTOCOL
        | Type::ICMP
        | Type::ICMP6
        | Type::TCP_FLAG
        | Type::NFPROTO
        | Type::PKTTYPE => 1,
        _ => 4,
    }
}

/// The parts of a key: each begins at a whole register.
pub(super) fn parts(bytes: &[u8], lengths: &[usize]) -> Vec<Vec<u8>> {
    let mut at = 0;
    let mut out = Vec::new();
    for length in lengths {
        out.push(
            bytes
                .get(at..)
                .map_or(&[][..], |rest| &rest[..(*length).min(rest.len())])
                .to_vec(),
        );
        at += length.next_multiple_of(4);
    }
    out
}

pub(super) fn set<'m>(set: nft_set<'m>, reader: &mut Reader<'_, 'm>) -> Result<Set, Fault> {
    let k = set.memory();
    let flag_bits = set.flags() as u32;
    let types = Type::parts(set.ktype());
    let lengths: Vec<usize> = if types.len() > 1 {
        let count = usize::from(set.field_count());
        let mut lengths: Vec<usize> = set
            .field_len()
            .iter()
            .take(count)
            .map(usize::from)
            .collect();
        if lengths.len() != types.len() {
            lengths = types.iter().map(|part| length_of(*part)).collect();
        }
        lengths
    } else {
        vec![usize::from(set.klen())]
    };
    let data_types = if flag_bits & OBJECT != 0 {
        Some(Vec::new())
    } else if flag_bits & MAP != 0 {
        Some(match set.dtype() {
            VERDICT => vec![Type::VERDICT],
            number => Type::parts(number),
        })
    } else {
        None
    };
    let mut statements = Vec::new();
    for entry in set.exprs().iter().take(usize::from(set.num_exprs())) {
        let found = entry
            .deref()
            .and_then(|entry| expr::one(entry, reader.functions));
        statements.extend(
            reader
                .faults
                .check(&reader.what, found)
                .and_then(|found| declaration(&found)),
        );
    }
    let timeout = set.timeout();
    let comment = reader.comment(set.udata().cast(), set.udlen().into(), 7);
    let ops = set.ops().deref()?;
    let walk = reader
        .functions
        .beginning(ops.walk().addr())
        .map_or_else(String::new, |function| function.name);
    let backend = walk.trim_end_matches("_walk").to_owned();
    let data_names =
        data_types
            .as_ref()
            .map(|types| match (types.as_slice(), flag_bits & OBJECT != 0) {
                (_, true) => vec![object_name(set.objtype()).to_owned()],
                (types, false) => types.iter().map(|part| part.name()).collect(),
            });
    let mut out = Set {
        name: set.name().read()?.to_string(),
        handle: set.handle(),
        key: types.iter().map(|part| part.name()).collect(),
        data: data_names,
        flags: FLAGS
            .iter()
            .filter(|(bit, _)| flag_bits & bit != 0)
            .map(|(_, name)| *name)
            .collect(),
        timeout: if timeout == 0 {
            None
        } else {
            Some(milliseconds(k, timeout)?)
        },
        gc_interval: Some(u64::from(set.gc_int())).filter(|interval| *interval != 0),
        size: Some(set.size()).filter(|size| *size != 0),
        comment,
        statements,
        backend,
        elements: Vec::new(),
        address: set.addr(),
        flag_bits,
        policy: set.policy(),
        types,
        lengths,
        data_types,
    };
    // Registers hold no longer key, and memory behind one would be shown as part of it.
    if set.klen() == 0
        || usize::from(set.klen()) > LONGEST
        || !is_key_length(set, &out.backend).unwrap_or(true)
    {
        let what = format_args!("key of set {} of {}", out.name, reader.what);
        reader.faults.add(what, inconsistent(set.addr()));
        return Ok(out);
    }
    let mut elements = Vec::new();
    let faults = reader.faults.count();
    let all = extensions(set, &out.backend, reader);
    if reader.faults.count() == faults && !is_counted(set, &out, all.len(), reader)? {
        let what = format_args!("elements of set {} of {}", out.name, reader.what);
        reader.faults.add(what, inconsistent(set.addr()));
    }
    for ext in all {
        let element = element(ext, set, &out, reader);
        elements.extend(reader.faults.check(&reader.what, element).flatten());
    }
    let is_range = out.flag_bits & INTERVAL != 0 && out.types.len() == 1;
    out.elements = if is_range && elements.iter().all(|element| element.end.is_none()) {
        ranges(elements, &out, reader.interfaces)
    } else {
        listed(elements, &out, reader.interfaces)
    };
    for catchall in catchall(set, reader) {
        let element = element(catchall, set, &out, reader);
        if let Some(Some(element)) = reader.faults.check(&reader.what, element) {
            out.elements.push(shown("*".into(), &element));
        }
    }
    Ok(out)
}

/// `NFT_DATA_VALUE_MAXLEN`
const LONGEST: usize = 64;

fn inconsistent(address: u64) -> Fault {
    Fault {
        address,
        kind: FaultKind::Inconsistent,
    }
}

/// Whether what a set is made of was made for keys of its length, where that says so.
fn is_key_length(set: nft_set<'_>, backend: &str) -> Result<bool, Fault> {
    let (k, place) = (set.memory(), set.data().addr());
    let length = set.klen();
    Ok(match backend {
        "nft_rhash" => kernel::nft_rhash::at(k, place)?.ht().p().key_len() == u16::from(length),
        // Two bits for each value (`nft_bitmap_size`).
        "nft_bitmap" => matches!(
            (length, kernel::nft_bitmap::at(k, place)?.bitmap_size()),
            (1, 64) | (2, 16384)
        ),
        _ => true,
    })
}

/// Whether a set counts as many elements as were found in it, as far as both must agree.
fn is_counted(
    set: nft_set<'_>,
    own: &Set,
    found: usize,
    reader: &Reader<'_, '_>,
) -> Result<bool, Fault> {
    let k = set.memory();
    if k.dump().is_live() {
        return Ok(true);
    }
    if own.backend == "nft_rhash" {
        let table = kernel::nft_rhash::at(k, set.data().addr())?.ht();
        // Packets add elements, which are counted right after: each CPU may be about to do so, and who collects the old ones.
        let slack = linux::cpu::possible(k)?.len() as u64 + 1;
        let counted = i64::from(table.nelems().value());
        let is_near = (found as u64).cast_signed().abs_diff(counted) <= slack;
        // While it grows, elements are moved.
        return Ok(is_near || !table.tbl().deref()?.future_tbl().is_null());
    }
    // Who removes elements whose time is over needs no lock that would tell of it. Early kernels count where there is a limit only.
    let counted = i64::from(set.nelems().value());
    let is_exempt = reader.is_changing
        || own.flag_bits & (TIMEOUT | EVAL) != 0
        || (set.size() == 0 && counted <= 0);
    Ok(is_exempt || counted == (found as u64).cast_signed())
}

/// The element that is met if no other is.
fn catchall<'m>(set: nft_set<'m>, reader: &mut Reader<'_, 'm>) -> Vec<nft_set_ext<'m>> {
    #[cfg(kernel_has = "nft_set.catchall_list")]
    {
        let mut out = Vec::new();
        for entry in set
            .catchall_list()
            .entries(kernel::nft_set_elem_catchall::list)
        {
            let ext = entry.and_then(|entry| ext_of(set, entry.elem().addr()));
            out.extend(reader.faults.check(&reader.what, ext));
        }
        out
    }
    #[cfg(not(kernel_has = "nft_set.catchall_list"))]
    {
        let _ = (set, reader);
        Vec::new()
    }
}

/// Where an element's extensions are: as far behind it as its kind of set says (`nft_set_elem_ext`).
fn ext_of<'m>(set: nft_set<'m>, element: u64) -> Result<nft_set_ext<'m>, Fault> {
    let k = set.memory();
    let offset = set.ops().deref()?.elemsize();
    nft_set_ext::at(k, k.wrap(element.wrapping_add(u64::from(offset))))
}

/// The extensions of all elements.
fn extensions<'m>(
    set: nft_set<'m>,
    backend: &str,
    reader: &mut Reader<'_, 'm>,
) -> Vec<nft_set_ext<'m>> {
    let k = set.memory();
    let place = set.data().addr();
    let found: Vec<Result<nft_set_ext<'m>, Fault>> = match backend {
        "nft_rbtree" => match kernel::nft_rbtree::at(k, place) {
            Ok(own) => own
                .root()
                .entries(kernel::nft_rbtree_elem::node)
                .map(|entry| Ok(entry?.ext()))
                .collect(),
            Err(fault) => vec![Err(fault)],
        },
        "nft_rhash" => match kernel::nft_rhash::at(k, place) {
            Ok(own) => sizes(own.ht())
                .chain(
                    own.ht()
                        .entries(kernel::nft_rhash_elem::node)
                        .map(|entry| Ok(entry?.ext())),
                )
                .collect(),
            Err(fault) => vec![Err(fault)],
        },
        "nft_hash" => hash(k, place),
        "nft_bitmap" => match kernel::nft_bitmap::at(k, place) {
            Ok(own) => own
                .list()
                .entries(kernel::nft_bitmap_elem::head)
                .map(|entry| Ok(entry?.ext()))
                .collect(),
            Err(fault) => vec![Err(fault)],
        },
        "nft_pipapo" => pipapo(set, place).unwrap_or_else(|fault| vec![Err(fault)]),
        _ => vec![Err(Fault {
            address: set.addr(),
            kind: FaultKind::NotInDump,
        })],
    };
    found
        .into_iter()
        .filter_map(|ext| reader.faults.check(&reader.what, ext))
        .collect()
}

/// A fault for each of the tables whose size is no power of two: the one, and if there are more elements than it is for, the next.
fn sizes<T>(table: kernel::rhashtable<'_>) -> impl Iterator<Item = Result<T, Fault>> {
    kstruct::walk::chain(Ok(table.tbl()), kernel::bucket_table::future_tbl)
        .flatten()
        .filter(|table| !table.size().is_power_of_two())
        .map(|table| Err(inconsistent(table.addr())))
}

fn hash<'m>(k: &'m kstruct::Memory, place: u64) -> Vec<Result<nft_set_ext<'m>, Fault>> {
    let heads = kernel::nft_hash::at(k, place).and_then(|own| {
        let heads = Ptr::<kernel::hlist_head<'_>>::new(k, own.table().addr());
        heads.array(own.buckets() as usize)
    });
    match heads {
        Ok(heads) => heads
            .iter()
            .flat_map(|head| head.entries(kernel::nft_hash_elem::node))
            .map(|entry| Ok(entry?.ext()))
            .collect(),
        Err(fault) => vec![Err(fault)],
    }
}

/// The last field's rules lead to elements; an element has a rule for each piece that its last range is made of
/// (`nft_pipapo_do_walk`).
fn pipapo<'m>(set: nft_set<'m>, place: u64) -> Result<Vec<Result<nft_set_ext<'m>, Fault>>, Fault> {
    /// `NFT_REG32_COUNT`
    const MOST: u64 = 16;
    let k = set.memory();
    let matches = kernel::nft_pipapo::at(k, place)?.match_().deref()?;
    let count = u64::try_from(matches.field_count()).unwrap_or(0);
    if count == 0 || count > MOST {
        return Err(Fault {
            address: matches.addr(),
            kind: FaultKind::OutOfRange,
        });
    }
    let fields = Ptr::<kernel::nft_pipapo_field<'_>>::new(k, matches.f().addr());
    let last = fields.at(count - 1)?;
    let rules = usize::try_from(last.rules()).unwrap_or(usize::MAX);
    // A union of two numbers and a pointer, which are 8 bytes, and 4 on machines of 32 bits.
    let size = kernel::nft_pipapo_map_bucket::SIZE as usize;
    let length = rules
        .checked_mul(size)
        .filter(|length| *length < 1 << 27)
        .ok_or(Fault {
            address: last.addr(),
            kind: FaultKind::TooLarge,
        })?;
    let buckets = k.bytes(last.mt().addr(), length)?;
    let mut elements: Vec<u64> = buckets
        .chunks_exact(size)
        .map(|bucket| {
            let bytes = linux::bytes::Bytes(bucket);
            if size == 4 {
                bytes.u32(0).map_or(0, u64::from)
            } else {
                bytes.u64(0).unwrap_or(0)
            }
        })
        .collect();
    elements.dedup();
    Ok(elements
        .into_iter()
        .filter(|element| *element != 0)
        .map(|element| ext_of(set, element))
        .collect())
}

/// Where an extension is; `None` if the element has it not.
fn find<'m, T>(ext: nft_set_ext<'m>, which: nft_set_extensions) -> Option<Ptr<'m, T>> {
    let offset = ext.offset().get(which.0 as usize)?;
    let k = ext.memory();
    (offset != 0).then(|| Ptr::new(k, k.wrap(ext.addr().wrapping_add(offset.into()))))
}

fn object_name(kind: u32) -> &'static str {
    let names = [
        "",
        "counter",
        "quota",
        "ct helper",
        "limit",
        "connlimit",
        "tunnel",
        "ct timeout",
        "secmark",
        "ct expectation",
        "synproxy",
    ];
    names.get(kind as usize).copied().unwrap_or("object")
}

/// One element; `None` of those that the present generation has not, and of those whose time is over.
fn element<'m>(
    ext: nft_set_ext<'m>,
    set: nft_set<'m>,
    own: &Set,
    reader: &mut Reader<'_, 'm>,
) -> Result<Option<Element>, Fault> {
    /// `NFT_SET_ELEM_DEAD_MASK`: collected, and not yet freed.
    const DEAD: u8 = 8;
    let k = ext.memory();
    if !reader.is_active(u64::from(ext.genmask() & 3)) || ext.genmask() & DEAD != 0 {
        return Ok(None);
    }
    let key_length = usize::from(set.klen());
    let bytes = |place: Option<Ptr<'m, u8>>, length: usize| -> Result<Option<Vec<u8>>, Fault> {
        place
            .map(|place| Ok(k.bytes(place.addr(), length)?.to_vec()))
            .transpose()
    };
    let key =
        bytes(find(ext, nft_set_extensions::NFT_SET_EXT_KEY), key_length)?.unwrap_or_default();
    let end = bytes(
        find(ext, nft_set_extensions::NFT_SET_EXT_KEY_END),
        key_length,
    )?;
    let flags = bytes(find(ext, nft_set_extensions::NFT_SET_EXT_FLAGS), 1)?;
    // NFT_SET_ELEM_INTERVAL_END
    let is_end = flags.is_some_and(|flags| flags.first().is_some_and(|flags| flags & 1 != 0));
    let mut rest = String::new();
    if let Some(expressions) =
        find::<kernel::nft_set_elem_expr<'_>>(ext, nft_set_extensions::NFT_SET_EXT_EXPRESSIONS)
    {
        let expressions = expressions.deref()?;
        let (found, fault) = expr::all(
            k,
            expressions.data().addr(),
            expressions.size().into(),
            reader.functions,
        );
        if let Some(fault) = fault {
            return Err(fault);
        }
        for found in &found {
            if let Some(text) = super::rule::stateful(found) {
                let _ = write!(rest, " {text}");
            }
        }
    }
    let now = k.get(kernel::sym::jiffies_64)?;
    let (timeout, expiration) = times(ext)?;
    if let Some(expiration) = expiration
        && expiration.wrapping_sub(now).cast_signed() <= 0
    {
        return Ok(None);
    }
    if let Some(timeout) = timeout
        && timeout != set.timeout()
        && timeout != 0
    {
        let _ = write!(rest, " timeout {}", text::time(milliseconds(k, timeout)?));
    }
    if let Some(expiration) = expiration {
        let left = milliseconds(k, expiration.wrapping_sub(now))?;
        let _ = write!(rest, " expires {}", text::time(left));
    }
    if let Some(data) = find::<u8>(ext, nft_set_extensions::NFT_SET_EXT_USERDATA) {
        let length = usize::from(k.bytes(data.addr(), 1)?[0]) + 1;
        let bytes = k.bytes(k.wrap(data.addr().wrapping_add(1)), length)?;
        if let Some(comment) = user_data(bytes, 0) {
            let _ = write!(rest, " comment \"{comment}\"");
        }
    }
    let data = match &own.data_types {
        None => None,
        Some(types) if types.is_empty() => {
            let object = find::<u8>(ext, nft_set_extensions::NFT_SET_EXT_OBJREF);
            match object {
                Some(place) => {
                    let object =
                        Ptr::<kernel::nft_object<'_>>::new(k, k.word(place.addr())?).deref()?;
                    Some(format!("\"{}\"", object.key().name().read()?))
                }
                None => None,
            }
        }
        Some(types) => {
            match find::<kernel::nft_data<'_>>(ext, nft_set_extensions::NFT_SET_EXT_DATA) {
                Some(data) if *types == [Type::VERDICT] => {
                    Some(super::rule::verdict(&expr::verdict(data.deref()?)?))
                }
                Some(data) => {
                    let bytes = k.bytes(data.addr(), usize::from(set.dlen()))?;
                    let lengths: Vec<usize> = match types.as_slice() {
                        [_] => vec![bytes.len()],
                        several => several.iter().map(|part| length_of(*part)).collect(),
                    };
                    Some(value(bytes, types, &lengths, reader.interfaces))
                }
                None => None,
            }
        }
    };
    Ok(Some(Element {
        key,
        end,
        is_end,
        data,
        rest,
    }))
}

/// Timeout and moment of its end, in jiffies.
#[cfg(kernel_has = "nft_timeout.expiration")]
fn times(ext: nft_set_ext<'_>) -> Result<(Option<u64>, Option<u64>), Fault> {
    match find::<kernel::nft_timeout<'_>>(ext, nft_set_extensions::NFT_SET_EXT_TIMEOUT) {
        Some(timeout) => {
            let timeout = timeout.deref()?;
            // Without a timeout there is no end, either.
            Ok((
                Some(timeout.timeout()),
                (timeout.timeout() != 0).then(|| timeout.expiration()),
            ))
        }
        None => Ok((None, None)),
    }
}

/// Before 6.12 two extensions.
#[cfg(not(kernel_has = "nft_timeout.expiration"))]
fn times(ext: nft_set_ext<'_>) -> Result<(Option<u64>, Option<u64>), Fault> {
    let read = |which| -> Result<Option<u64>, Fault> {
        let Some(place) = find::<u8>(ext, which) else {
            return Ok(None);
        };
        Ok(linux::bytes::Bytes(ext.memory().bytes(place.addr(), 8)?).u64(0))
    };
    Ok((
        read(nft_set_extensions::NFT_SET_EXT_TIMEOUT)?,
        read(nft_set_extensions::NFT_SET_EXT_EXPIRATION)?,
    ))
}

/// A key or data, its parts with dots between.
pub(super) fn value(
    bytes: &[u8],
    types: &[Type],
    lengths: &[usize],
    interfaces: &BTreeMap<u32, String>,
) -> String {
    if types.is_empty() {
        return hex(bytes);
    }
    let shown: Vec<String> = parts(bytes, lengths)
        .iter()
        .zip(types)
        .map(|(part, kind)| kind.show(part, interfaces))
        .collect();
    shown.join(" . ")
}

/// From one number to another: one, a prefix, or a range.
pub(super) fn span(
    kind: Type,
    from: u128,
    to: u128,
    length: usize,
    interfaces: &BTreeMap<u32, String>,
) -> String {
    let show = |number| kind.show(&kind.bytes(number, length), interfaces);
    if from == to {
        return show(from);
    }
    let size = to.wrapping_sub(from).wrapping_add(1);
    let is_address = matches!(kind, Type::IPV4 | Type::IPV6);
    let bits = length as u32 * 8;
    if is_address {
        // All of IPv6 overflows.
        if size == 0 && bits == 128 {
            return format!("{}/0", show(from));
        }
        if size.is_power_of_two() && from & (size - 1) == 0 {
            return format!("{}/{}", show(from), bits - size.trailing_zeros());
        }
    }
    format!("{}-{}", show(from), show(to))
}

fn shown(key: String, element: &Element) -> String {
    let data = element
        .data
        .as_ref()
        .map_or_else(String::new, |data| format!(" : {data}"));
    format!("{key}{}{data}", element.rest)
}

/// Elements that stand for themselves, in order.
fn listed(
    mut elements: Vec<Element>,
    set: &Set,
    interfaces: &BTreeMap<u32, String>,
) -> Vec<String> {
    let order = |element: &Element| -> Vec<u128> {
        let parts = parts(&element.key, &set.lengths);
        parts
            .iter()
            .zip(&set.types)
            .map(|(part, kind)| kind.number(part))
            .collect()
    };
    // Of several fields with ranges nft keeps the kernel's order.
    if set.flag_bits & INTERVAL == 0 {
        elements.sort_by_key(order);
    }
    let show = |element: &Element| {
        let Some(end) = &element.end else {
            return value(&element.key, &set.types, &set.lengths, interfaces);
        };
        let (from, to) = (parts(&element.key, &set.lengths), parts(end, &set.lengths));
        let spans: Vec<String> = from
            .iter()
            .zip(&to)
            .zip(&set.types)
            .map(|((from, to), kind)| {
                span(
                    *kind,
                    kind.number(from),
                    kind.number(to),
                    from.len(),
                    interfaces,
                )
            })
            .collect();
        spans.join(" . ")
    };
    elements
        .iter()
        .map(|element| shown(show(element), element))
        .collect()
}

/// Elements that are where a range begins, or where it has ended.
fn ranges(elements: Vec<Element>, set: &Set, interfaces: &BTreeMap<u32, String>) -> Vec<String> {
    let (kind, length) = (
        set.types.first().copied().unwrap_or(Type::INTEGER),
        set.lengths[0],
    );
    let mut ordered: Vec<(u128, Element)> = elements
        .into_iter()
        // Of intervals all numbers are in network order.
        .map(|element| (Type::HEX.number(&element.key), element))
        .collect();
    // Where one ends and the next begins, the end comes first.
    ordered.sort_by_key(|(number, element)| (*number, !element.is_end));
    let most = if length >= 16 {
        u128::MAX
    } else {
        (1 << (length * 8)) - 1
    };
    let mut out = Vec::new();
    for (index, (from, element)) in ordered.iter().enumerate() {
        if element.is_end {
            continue;
        }
        let to = match ordered.get(index + 1) {
            Some((next, _)) => next.wrapping_sub(1),
            None => most,
        };
        out.push(shown(span(kind, *from, to, length, interfaces), element));
    }
    out
}

/// What a set says of a statement that its elements have.
fn declaration(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Counter { .. } => Some("counter".into()),
        other => super::rule::stateful(other),
    }
}

impl Set {
    /// Whether it belongs to the rule that uses it.
    pub fn is_anonymous(&self) -> bool {
        self.flag_bits & ANONYMOUS != 0
    }

    /// As nft writes it.
    pub fn write(&self, out: &mut String) {
        let kind = match (
            &self.data,
            self.flag_bits & EVAL != 0 && self.flag_bits & ANONYMOUS != 0,
        ) {
            (_, true) => "meter",
            (Some(_), _) => "map",
            (None, _) => "set",
        };
        let _ = writeln!(out, "\t{kind} {} {{ # handle {}", self.name, self.handle);
        let data = self
            .data
            .as_ref()
            .map_or_else(String::new, |data| format!(" : {}", data.join(" . ")));
        let _ = writeln!(out, "\t\ttype {}{data}", self.key.join(" . "));
        if self.policy == 1 {
            out.push_str("\t\tpolicy memory\n");
        }
        if let Some(size) = self.size {
            let _ = writeln!(out, "\t\tsize {size}");
        }
        let flags: Vec<&str> = FLAGS
            .iter()
            .filter(|(bit, _)| self.flag_bits & bit & (CONSTANT | EVAL | INTERVAL | TIMEOUT) != 0)
            .map(|(_, name)| *name)
            .collect();
        if !flags.is_empty() {
            let _ = writeln!(out, "\t\tflags {}", flags.join(","));
        }
        if !self.statements.is_empty() {
            let _ = writeln!(out, "\t\t{}", self.statements.join(" "));
        }
        if let Some(timeout) = self.timeout {
            let _ = writeln!(out, "\t\ttimeout {}", text::time(timeout));
        }
        if let Some(interval) = self.gc_interval {
            let _ = writeln!(out, "\t\tgc-interval {}", text::time(interval));
        }
        if let Some(comment) = &self.comment {
            let _ = writeln!(out, "\t\tcomment \"{comment}\"");
        }
        if !self.elements.is_empty() {
            let _ = writeln!(out, "\t\telements = {{ {} }}", self.joined());
        }
        out.push_str("\t}\n");
    }

    /// The elements, with as many to a line as nft puts there (`calculate_delim`).
    fn joined(&self) -> String {
        let each = match self.types.as_slice() {
            [one] => match *one {
                Type::IPV4 => 2,
                Type::NFPROTO
                | Type::INTEGER
                | Type::ARPOP
                | Type::PROTOCOL
                | Type::SERVICE
                | Type::TCP_FLAG
                | Type::MARK
                | Type::IFINDEX
                | Type::CLASSID
                | Type::UID
                | Type::GID
                | Type::CT_DIR => 5,
                _ => 1,
            },
            _ => 1,
        };
        let each = if self.data.is_some() {
            1.max(each)
        } else {
            each
        };
        let mut out = String::new();
        for (index, element) in self.elements.iter().enumerate() {
            if index > 0 {
                out.push_str(if index % each == 0 {
                    ",\n\t\t\t     "
                } else {
                    ", "
                });
            }
            out.push_str(element);
        }
        out
    }
}
