//! FNV-1a: a number for a text that is the same in every process, version and machine, so that it may be written down.

macro_rules! fnv {
    ($($(#[$doc:meta])* $name:ident: $number:ty = $basis:literal, $prime:literal;)*) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name(bytes: impl IntoIterator<Item = u8>) -> $number {
            bytes.into_iter().fold($basis, |hash, byte| (hash ^ <$number>::from(byte)).wrapping_mul($prime))
        })*
    };
}

fnv! {
    /// In four bytes.
    fnv_32: u32 = 0x811c_9dc5, 0x0100_0193;
    /// In eight bytes.
    fnv_64: u64 = 0xcbf2_9ce4_8422_2325, 0x0100_0000_01b3;
    /// In sixteen bytes.
    fnv_128: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, 0x0100_0000_0000_0000_0000_013b;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of the authors for `foobar`, and what nothing comes to.
    #[test]
    fn the_numbers_are_those_of_the_definition() {
        let text = "foobar".bytes();
        assert_eq!((fnv_32(text.clone()), fnv_64(text.clone())), (0xbf9c_f968, 0x8594_4171_f739_67e8));
        assert_eq!(fnv_128(text), 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
        assert_eq!(fnv_32([]), 0x811c_9dc5);
    }
}
