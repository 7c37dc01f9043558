//! What an accessor returns: views of structs, pointers, arrays, strings and numbers.

use std::fmt;
use std::marker::PhantomData;

use crate::bits;
use crate::fault::{Fault, FaultKind};
use crate::memory::Memory;
use crate::table::StructInfo;

/// Where a struct lies: what a view is made from, and what it gives back. Unlike [`Raw`] it is one type for all sizes.
#[derive(Clone, Copy)]
pub struct Part<'m> {
    /// The memory that the struct lies in.
    pub memory: &'m Memory,
    /// Its address.
    pub address: u64,
    /// Its bytes; `None` for a struct of zeros, of which only the address counts.
    pub bytes: Option<&'m [u8]>,
}

/// The bytes of a struct of size `N` where they lie, and their address.
///
/// Generated structs wrap it, and their accessors call its methods with constants: `o` is an offset in bytes. The generator
/// has checked that the member lies inside the struct, so that the compiler drops the check at run time.
#[derive(Clone, Copy)]
pub struct Raw<'m, const N: usize> {
    memory: &'m Memory,
    address: u64,
    bytes: &'m [u8; N],
}

/// Loads of one type, in both byte orders.
macro_rules! loads {
    ($($name:ident $big:ident $ty:ty),* $(,)?) => {$(
        #[doc = concat!("The little-endian `", stringify!($ty), "` at offset `o`.")]
        #[inline(always)]
        pub fn $name(self, o: usize) -> $ty {
            <$ty>::from_le_bytes(self.load(o))
        }

        #[doc = concat!("The big-endian `", stringify!($ty), "` at offset `o`.")]
        #[inline(always)]
        pub fn $big(self, o: usize) -> $ty {
            <$ty>::from_be_bytes(self.load(o))
        }
    )*};
}

impl<'m, const N: usize> Raw<'m, N> {
    /// Panics if there are fewer than `N` bytes. Who makes views has asked for as many as the view needs.
    #[inline]
    pub fn new(part: Part<'m>) -> Self {
        let bytes = match part.bytes {
            Some(bytes) => bytes.first_chunk(),
            None => Some(const { &[0; N] }),
        };
        let Some(bytes) = bytes else {
            panic!("a view needs all of its struct's bytes")
        };
        Raw {
            memory: part.memory,
            address: part.address,
            bytes,
        }
    }

    /// What it was made from.
    #[inline]
    pub fn part(self) -> Part<'m> {
        Part {
            memory: self.memory,
            address: self.address,
            bytes: Some(self.bytes),
        }
    }

    #[inline(always)]
    fn load<const L: usize>(self, o: usize) -> [u8; L] {
        bits::array(&self.bytes[o..o + L])
    }

    loads! {
        u8 u8_be u8, i8 i8_be i8, u16 u16_be u16, i16 i16_be i16, u32 u32_be u32, i32 i32_be i32,
        u64 u64_be u64, i64 i64_be i64, u128 u128_be u128, i128 i128_be i128, f32 f32_be f32, f64 f64_be f64,
    }

    /// The `_Bool` at offset `o`: true for any byte but 0.
    #[inline(always)]
    pub fn bool(self, o: usize) -> bool {
        self.u8(o) != 0
    }

    /// The 32-bit `long` at offset `o`, widened.
    #[inline(always)]
    pub fn long32(self, o: usize) -> i64 {
        i64::from(self.i32(o))
    }

    /// The 32-bit `unsigned long` at offset `o`, widened.
    #[inline(always)]
    pub fn ulong32(self, o: usize) -> u64 {
        u64::from(self.u32(o))
    }

    /// The big-endian 32-bit `long` at offset `o`, widened.
    #[inline(always)]
    pub fn long32_be(self, o: usize) -> i64 {
        i64::from(self.i32_be(o))
    }

    /// The big-endian 32-bit `unsigned long` at offset `o`, widened.
    #[inline(always)]
    pub fn ulong32_be(self, o: usize) -> u64 {
        u64::from(self.u32_be(o))
    }

    /// A bit-field: `o` bits from the start of the struct, `size` bits wide.
    #[inline(always)]
    pub fn bits(self, o: u64, size: u64) -> u64 {
        bits::field(self.bytes, o, size, false)
    }

    /// A signed bit-field.
    #[inline(always)]
    pub fn signed_bits(self, o: u64, size: u64) -> i64 {
        bits::sign_extended(self.bits(o, size), size)
    }

    /// A bit-field of a big-endian machine.
    #[inline(always)]
    pub fn bits_be(self, o: u64, size: u64) -> u64 {
        bits::field(self.bytes, o, size, true)
    }

    /// A signed bit-field of a big-endian machine.
    #[inline(always)]
    pub fn signed_bits_be(self, o: u64, size: u64) -> i64 {
        bits::sign_extended(self.bits_be(o, size), size)
    }

    /// The struct that is embedded at offset `o`.
    #[allow(
        clippy::should_implement_trait,
        reason = "generated code is shorter by it, and nothing subtracts views"
    )]
    #[inline(always)]
    pub fn sub<T: View<'m>>(self, o: usize) -> T {
        T::new(self.member(o, T::SIZE))
    }

    /// The value of any type at offset `o`.
    #[inline(always)]
    pub fn value<T: Target<'m>>(self, o: usize) -> T::Value {
        T::decode(
            self.memory,
            self.address.wrapping_add(o as u64),
            &self.bytes[o..o + T::SIZE],
        )
    }

    /// The 64-bit pointer at offset `o`.
    #[inline(always)]
    pub fn ptr<T>(self, o: usize) -> Ptr<'m, T> {
        Ptr::new(self.memory, self.u64(o))
    }

    /// The 32-bit pointer at offset `o`.
    #[inline(always)]
    pub fn ptr32<T>(self, o: usize) -> Ptr<'m, T> {
        Ptr::new(self.memory, self.ulong32(o))
    }

    /// The array of `length` elements at offset `o`.
    #[inline(always)]
    pub fn array<T: Target<'m>>(self, o: usize, length: usize) -> Array<'m, T> {
        Array {
            memory: self.memory,
            address: self.address.wrapping_add(o as u64),
            bytes: &self.bytes[o..o + length * T::SIZE],
            length,
            target: PhantomData,
        }
    }

    /// The `char` array of `length` bytes at offset `o`.
    #[inline(always)]
    pub fn chars(self, o: usize, length: usize) -> CharArray<'m> {
        CharArray {
            bytes: &self.bytes[o..o + length],
        }
    }

    /// What follows at offset `o` without a length of its own: `T x[]`.
    #[inline(always)]
    pub fn tail<T>(self, o: usize) -> Ptr<'m, T> {
        Ptr::new(self.memory, self.address.wrapping_add(o as u64))
    }

    #[inline(always)]
    fn member(self, o: usize, size: usize) -> Part<'m> {
        Part {
            memory: self.memory,
            address: self.address.wrapping_add(o as u64),
            bytes: Some(&self.bytes[o..o + size]),
        }
    }
}

/// A typed view of a struct or union in a dump. Generated code implements it.
pub trait View<'m>: Copy {
    /// Name, size and members.
    const INFO: &'static StructInfo;
    /// Bytes: C's `sizeof`.
    const SIZE: usize = Self::INFO.size;

    /// The view of what lies there. Panics if there are fewer bytes than the struct has.
    fn new(part: Part<'m>) -> Self;
    /// Where it lies.
    fn part(self) -> Part<'m>;

    /// The struct at an address.
    #[inline]
    fn at(memory: &'m Memory, address: u64) -> Result<Self, Fault> {
        let bytes = memory.bytes(address, Self::SIZE)?;
        // `new` would panic on too few bytes. There never are, but the compiler doesn't know that.
        if bytes.len() < Self::SIZE {
            return Err(Fault {
                address,
                kind: FaultKind::Truncated,
            });
        }
        Ok(Self::new(Part {
            memory,
            address,
            bytes: Some(bytes),
        }))
    }

    /// A struct of zeros at address 0: for asking an accessor where its member lies.
    #[inline]
    fn phantom(memory: &'m Memory) -> Self {
        Self::new(Part {
            memory,
            address: 0,
            bytes: None,
        })
    }

    /// Its address: C's `&s`.
    #[inline]
    fn addr(self) -> u64 {
        self.part().address
    }

    /// The memory that it lies in.
    #[inline]
    fn memory(self) -> &'m Memory {
        self.part().memory
    }

    /// A pointer to it.
    #[inline]
    fn as_ptr(self) -> Ptr<'m, Self> {
        Ptr::new(self.memory(), self.addr())
    }

    /// Its bytes.
    #[inline]
    fn bytes(self) -> &'m [u8] {
        self.part().bytes.unwrap_or_default()
    }

    /// The struct of type `T` in which this one is embedded: C's `container_of`. The accessor says where.
    #[inline]
    fn container_of<T: View<'m>, F: Fn(T) -> Self>(self, member: F) -> Result<T, Fault> {
        let offset = member(T::phantom(self.memory())).addr();
        T::at(self.memory(), self.addr().wrapping_sub(offset))
    }
}

/// What pointers point to and arrays are made of: views, numbers, pointers, and arrays of them.
pub trait Target<'m>: Sized {
    /// What reading gives.
    type Value;
    /// Bytes of one in memory.
    const SIZE: usize;

    /// The value of these bytes, which are `SIZE` many.
    fn decode(memory: &'m Memory, address: u64, bytes: &'m [u8]) -> Self::Value;

    /// The value at an address.
    #[inline]
    fn read(memory: &'m Memory, address: u64) -> Result<Self::Value, Fault> {
        let bytes = memory.bytes(address, Self::SIZE)?;
        Ok(Self::decode(memory, address, bytes))
    }
}

impl<'m, T: View<'m>> Target<'m> for T {
    type Value = T;
    const SIZE: usize = T::SIZE;

    #[inline]
    fn decode(memory: &'m Memory, address: u64, bytes: &'m [u8]) -> T {
        T::new(Part {
            memory,
            address,
            bytes: Some(bytes),
        })
    }

    #[inline]
    fn read(memory: &'m Memory, address: u64) -> Result<T, Fault> {
        T::at(memory, address)
    }
}

/// A big-endian number as a target; its value is the number.
pub struct Be<T>(PhantomData<T>);
/// A 32-bit `long` as a target; its value is 64 bits wide, as everywhere.
pub struct Long32;
/// A 32-bit `unsigned long` as a target.
pub struct ULong32;
/// `void`, or a type of which only the name is known: there is nothing to read.
pub struct Void;
/// A function, as what a pointer points to.
pub struct Function;

macro_rules! numbers {
    ($($ty:ty),*) => {$(
        impl<'m> Target<'m> for $ty {
            type Value = $ty;
            const SIZE: usize = size_of::<$ty>();

            #[inline]
            fn decode(_: &'m Memory, _: u64, bytes: &'m [u8]) -> $ty {
                <$ty>::from_le_bytes(bits::array(bytes))
            }
        }

        impl<'m> Target<'m> for Be<$ty> {
            type Value = $ty;
            const SIZE: usize = size_of::<$ty>();

            #[inline]
            fn decode(_: &'m Memory, _: u64, bytes: &'m [u8]) -> $ty {
                <$ty>::from_be_bytes(bits::array(bytes))
            }
        }
    )*};
}

numbers!(u8, i8, u16, i16, u32, i32, u64, i64, u128, i128, f32, f64);

/// Targets that are read as another one and then converted.
macro_rules! converted {
    ($($target:ty: $from:ty => $value:ty, $convert:expr;)*) => {$(
        impl<'m> Target<'m> for $target {
            type Value = $value;
            const SIZE: usize = <$from as Target<'m>>::SIZE;

            #[inline]
            fn decode(memory: &'m Memory, address: u64, bytes: &'m [u8]) -> $value {
                $convert(<$from>::decode(memory, address, bytes))
            }
        }
    )*};
}

converted! {
    bool: u8 => bool, |byte| byte != 0;
    Long32: i32 => i64, i64::from;
    ULong32: u32 => u64, u64::from;
    Be<Long32>: Be<i32> => i64, i64::from;
    Be<ULong32>: Be<u32> => u64, u64::from;
}

impl<'m, T: Target<'m>, const L: usize> Target<'m> for [T; L] {
    type Value = Array<'m, T>;
    const SIZE: usize = L * T::SIZE;

    #[inline]
    fn decode(memory: &'m Memory, address: u64, bytes: &'m [u8]) -> Array<'m, T> {
        Array {
            memory,
            address,
            bytes,
            length: L,
            target: PhantomData,
        }
    }
}

/// A `char` array of `L` bytes as a target.
pub struct Chars<const L: usize>;

impl<'m, const L: usize> Target<'m> for Chars<L> {
    type Value = CharArray<'m>;
    const SIZE: usize = L;

    #[inline]
    fn decode(_: &'m Memory, _: u64, bytes: &'m [u8]) -> CharArray<'m> {
        CharArray { bytes }
    }
}

/// A pointer of the kernel: C's `T *`.
pub struct Ptr<'m, T> {
    memory: &'m Memory,
    address: u64,
    target: PhantomData<fn() -> T>,
}

impl<T> Clone for Ptr<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Ptr<'_, T> {}

impl<T> PartialEq for Ptr<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
    }
}

impl<T> Eq for Ptr<'_, T> {}

impl<T> fmt::Debug for Ptr<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.address)
    }
}

impl<'m, T> Ptr<'m, T> {
    /// A pointer with this value.
    #[inline]
    pub fn new(memory: &'m Memory, address: u64) -> Self {
        Ptr {
            memory,
            address,
            target: PhantomData,
        }
    }

    /// Its value.
    #[inline]
    pub fn addr(self) -> u64 {
        self.address
    }

    /// Whether it is null.
    #[inline]
    pub fn is_null(self) -> bool {
        self.address == 0
    }

    /// The same pointer to another type: C's cast.
    #[inline]
    pub fn cast<U>(self) -> Ptr<'m, U> {
        Ptr::new(self.memory, self.address)
    }

    /// The memory that it points into.
    #[inline]
    pub fn memory(self) -> &'m Memory {
        self.memory
    }

    /// The pointer without its `bits` lowest bits, and what was in these: for pointers that carry a tag, such as RCU's and
    /// `page.mapping`.
    #[inline]
    pub fn untagged(self, bits: u32) -> (Self, u64) {
        let mask = 1u64.checked_shl(bits).map_or(u64::MAX, |bit| bit - 1);
        let pointer = Ptr::new(self.memory, self.address & !mask);
        (pointer, self.address & mask)
    }

    /// The pointer moved by a number of bytes, either way.
    #[inline]
    pub fn byte_add(self, bytes: i64) -> Self {
        Ptr::new(
            self.memory,
            self.memory.wrap(self.address.wrapping_add_signed(bytes)),
        )
    }

    /// For a `__percpu` pointer: the one that it stands for on a CPU.
    ///
    /// # Errors
    ///
    /// It is null, which is no offset into a CPU's area; or there is no such CPU.
    pub fn on_cpu(self, cpu: u32) -> Result<Self, Fault> {
        if self.is_null() {
            return Err(Fault {
                address: 0,
                kind: FaultKind::Null,
            });
        }
        let address = self.memory.per_cpu_address(self.address, cpu)?;
        Ok(Ptr::new(self.memory, address))
    }
}

impl<'m, T: Target<'m>> Ptr<'m, T> {
    /// What it points to: C's `*p` and `p->`.
    #[inline]
    pub fn deref(self) -> Result<T::Value, Fault> {
        T::read(self.memory, self.address)
    }

    /// What it points to, or `None` for the null pointer.
    #[inline]
    pub fn deref_or_null(self) -> Result<Option<T::Value>, Fault> {
        if self.is_null() {
            return Ok(None);
        }
        self.deref().map(Some)
    }

    /// Element `index` of the array that it points into: C's `p[index]`.
    #[inline]
    pub fn at(self, index: u64) -> Result<T::Value, Fault> {
        let offset = index.wrapping_mul(T::SIZE as u64);
        T::read(
            self.memory,
            self.memory.wrap(self.address.wrapping_add(offset)),
        )
    }

    /// The array of `length` elements that it points to.
    pub fn array(self, length: usize) -> Result<Array<'m, T>, Fault> {
        let size = length.checked_mul(T::SIZE).ok_or(Fault {
            address: self.address,
            kind: FaultKind::TooLarge,
        })?;
        Ok(Array {
            memory: self.memory,
            address: self.address,
            bytes: self.memory.bytes(self.address, size)?,
            length,
            target: PhantomData,
        })
    }
}

impl<'m, T> Target<'m> for Ptr<'m, T> {
    type Value = Ptr<'m, T>;
    const SIZE: usize = 8;

    #[inline]
    fn decode(memory: &'m Memory, address: u64, bytes: &'m [u8]) -> Self {
        Ptr::new(memory, u64::decode(memory, address, bytes))
    }
}

impl<'m, T> Target<'m> for Be<Ptr<'m, T>> {
    type Value = Ptr<'m, T>;
    const SIZE: usize = 8;

    #[inline]
    fn decode(memory: &'m Memory, address: u64, bytes: &'m [u8]) -> Ptr<'m, T> {
        Ptr::new(memory, Be::<u64>::decode(memory, address, bytes))
    }
}

/// A 32-bit pointer as a target; its value is a [`Ptr`].
pub struct Ptr32<'m, T>(PhantomData<fn() -> (&'m (), T)>);

impl<'m, T> Target<'m> for Ptr32<'m, T> {
    type Value = Ptr<'m, T>;
    const SIZE: usize = 4;

    #[inline]
    fn decode(memory: &'m Memory, address: u64, bytes: &'m [u8]) -> Ptr<'m, T> {
        Ptr::new(memory, ULong32::decode(memory, address, bytes))
    }
}

impl<'m, T> Target<'m> for Be<Ptr32<'m, T>> {
    type Value = Ptr<'m, T>;
    const SIZE: usize = 4;

    #[inline]
    fn decode(memory: &'m Memory, address: u64, bytes: &'m [u8]) -> Ptr<'m, T> {
        Ptr::new(memory, Be::<ULong32>::decode(memory, address, bytes))
    }
}

/// A pointer to a function.
pub type FnPtr<'m> = Ptr<'m, Function>;

impl<'m> FnPtr<'m> {
    /// The name of the function that it points to.
    pub fn name(self) -> Option<&'static str> {
        self.memory.function_name(self.address)
    }
}

/// A pointer to a string.
pub type CharPtr<'m> = Ptr<'m, Char>;

/// `char`, as what a pointer points to.
pub struct Char;

impl<'m> Target<'m> for Char {
    type Value = u8;
    const SIZE: usize = 1;

    #[inline]
    fn decode(_: &'m Memory, _: u64, bytes: &'m [u8]) -> u8 {
        bytes[0]
    }
}

/// The longest string that is read: nothing in a kernel that is longer is a name or a message.
const LONGEST_STRING: usize = 65536;

impl<'m> CharPtr<'m> {
    /// The string that it points to, up to its NUL.
    pub fn read(self) -> Result<CharArray<'m>, Fault> {
        use crate::paging::PAGE;

        // Never more than one page beyond what was searched, so that a string at the end of what is mapped can be read.
        let mut count = 64.min((PAGE - self.address % PAGE) as usize);
        loop {
            let bytes = self.memory.bytes(self.address, count)?;
            if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
                return Ok(CharArray {
                    bytes: &bytes[..end],
                });
            }
            if count >= LONGEST_STRING {
                return Err(Fault {
                    address: self.address,
                    kind: FaultKind::Unterminated,
                });
            }
            let room = PAGE - self.address.wrapping_add(count as u64) % PAGE;
            count += (count * 3).min(room as usize);
        }
    }
}

/// An array in a dump.
pub struct Array<'m, T> {
    memory: &'m Memory,
    address: u64,
    bytes: &'m [u8],
    length: usize,
    target: PhantomData<fn() -> T>,
}

impl<T> Clone for Array<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Array<'_, T> {}

impl<'m, T: Target<'m>> Array<'m, T> {
    /// How many elements it has.
    #[inline]
    pub fn len(self) -> usize {
        self.length
    }

    /// Whether it has none.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.length == 0
    }

    /// Its address.
    #[inline]
    pub fn addr(self) -> u64 {
        self.address
    }

    /// Its bytes.
    #[inline]
    pub fn bytes(self) -> &'m [u8] {
        self.bytes
    }

    /// Element `index`; `None` beyond the end.
    #[inline]
    pub fn get(self, index: usize) -> Option<T::Value> {
        if index >= self.length {
            return None;
        }
        let start = index * T::SIZE;
        let bytes = self.bytes.get(start..start + T::SIZE)?;
        let address = self.address.wrapping_add(start as u64);
        Some(T::decode(self.memory, address, bytes))
    }

    /// All elements in order.
    #[inline]
    pub fn iter(self) -> impl ExactSizeIterator<Item = T::Value> {
        (0..self.length).map(move |index| {
            let start = index * T::SIZE;
            let address = self.address.wrapping_add(start as u64);
            T::decode(self.memory, address, &self.bytes[start..start + T::SIZE])
        })
    }
}

impl<'m, T: Target<'m, Value: fmt::Debug>> fmt::Debug for Array<'m, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A `char` array: text up to the first NUL, in whatever encoding; shown with `\x` escapes where it isn't printable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CharArray<'m> {
    bytes: &'m [u8],
}

impl<'m> CharArray<'m> {
    /// All bytes of the array, those behind the NUL included.
    pub fn raw(self) -> &'m [u8] {
        self.bytes
    }

    /// The text's bytes, without NUL.
    pub fn as_bytes(self) -> &'m [u8] {
        let end = self.bytes.iter().position(|byte| *byte == 0);
        &self.bytes[..end.unwrap_or(self.bytes.len())]
    }

    /// Whether the text is empty.
    pub fn is_empty(self) -> bool {
        self.as_bytes().is_empty()
    }
}

/// A text that is a pointer in some kernels and an array in others: one source reads it in both.
pub trait Text<'m> {
    /// The text itself.
    fn text(self) -> Result<CharArray<'m>, Fault>;
}

impl<'m> Text<'m> for CharPtr<'m> {
    fn text(self) -> Result<CharArray<'m>, Fault> {
        self.read()
    }
}

impl<'m> Text<'m> for CharArray<'m> {
    fn text(self) -> Result<CharArray<'m>, Fault> {
        Ok(self)
    }
}

impl PartialEq<str> for CharArray<'_> {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for CharArray<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

/// What is shown instead of a character of a text that somebody else chose, if it steers a terminal, or can't be seen and makes a text look
/// like another one (Unicode's categories Cc, Cf, Zl, Zp): `\x1b`, `\u{202e}`.
pub fn escape_of(char: char) -> Option<String> {
    if char.is_control() {
        return Some(format!("\\x{:02x}", u32::from(char)));
    }
    let is_format = matches!(
        char,
        '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e007f}'
    );
    is_format.then(|| char.escape_unicode().to_string())
}

impl fmt::Display for CharArray<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use std::fmt::Write as _;
        let mut text = String::new();
        for chunk in self.as_bytes().utf8_chunks() {
            for char in chunk.valid().chars() {
                match escape_of(char) {
                    Some(escape) => text.push_str(&escape),
                    None => text.push(char),
                }
            }
            for byte in chunk.invalid() {
                write!(text, "\\x{byte:02x}")?;
            }
        }
        f.pad(&text)
    }
}

impl fmt::Debug for CharArray<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}
