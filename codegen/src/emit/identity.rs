//! Which kernel the bindings are of.

use proc_macro2::TokenStream;
use quote::quote;

use super::Context;

/// The module of the kernel's identity.
pub fn module(context: &Context<'_>) -> TokenStream {
    let kernel = &context.model.kernel;
    let (release, banner) = (&kernel.release, &kernel.banner);
    let build_id: String = kernel
        .build_id
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let banner_address = match kernel.banner_address {
        Some(address) => {
            let address = super::symbols::hex(address);
            quote! { Some(#address) }
        }
        None => quote! { None },
    };
    let (machine, pointer_size, big_endian) =
        (kernel.machine, kernel.pointer_size, kernel.big_endian);
    quote! {
        /// The release, as `uname -r` prints it.
        pub const RELEASE: &str = #release;
        /// The GNU build id in hexadecimal; empty if the kernel has none.
        pub const BUILD_ID: &str = #build_id;
        /// `linux_banner`.
        pub const BANNER: &str = #banner;
        /// Where the banner's text was linked.
        pub const BANNER_ADDRESS: Option<u64> = #banner_address;
        /// ELF's `e_machine`.
        pub const MACHINE: u16 = #machine;
        /// Bytes in a pointer.
        pub const POINTER_SIZE: u8 = #pointer_size;
        /// Whether numbers are big-endian.
        pub const BIG_ENDIAN: bool = #big_endian;
        /// Functions by address.
        pub const FUNCTIONS: &str = include_str!("functions.txt");
    }
}
