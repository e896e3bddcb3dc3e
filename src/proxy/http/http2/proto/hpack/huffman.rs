//! The Huffman code of RFC 7541, Appendix B. It is read only: what is written goes out as it is,
//! since on the hop between two proxies a few bytes cost less than the time to save them.

use super::Undecodable;

/// Bits of each byte's code; the last is that of the end of the string.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];
const END: u16 = 256;
const LONGEST: usize = 30;
const SHORTEST: u32 = 5;
/// Bits that the first table is indexed by. Letters and digits have no more.
const FAST: usize = 8;

/// The code is canonical: codes of one length are consecutive, in the order of their bytes, and
/// follow those of the length before. So the lengths say all there is to know.
struct Code {
    /// By the next eight bits: the byte and the length of its code; 0 where it is longer.
    fast: [(u8, u8); 1 << FAST],
    /// For each length: its first code, how many there are, and where in `sorted` they begin.
    first: [u32; LONGEST + 1],
    count: [u32; LONGEST + 1],
    start: [usize; LONGEST + 1],
    /// Bytes by the length of their code.
    sorted: [u16; 257],
}

static CODE: Code = Code::new();

impl Code {
    const fn new() -> Self {
        let mut code = Self {
            fast: [(0, 0); 1 << FAST],
            first: [0; LONGEST + 1],
            count: [0; LONGEST + 1],
            start: [0; LONGEST + 1],
            sorted: [0; 257],
        };
        let (mut length, mut next, mut at) = (1, 0, 0);
        while length <= LONGEST {
            next <<= 1;
            code.first[length] = next;
            code.start[length] = at;
            let mut byte = 0;
            while byte < LENGTHS.len() {
                if LENGTHS[byte] as usize == length {
                    if length <= FAST {
                        // All that begins with this code.
                        let mut filled = 0;
                        while filled < 1 << (FAST - length) {
                            let index = (next << (FAST - length)) as usize + filled;
                            code.fast[index] = (byte as u8, length as u8);
                            filled += 1;
                        }
                    }
                    code.sorted[at] = byte as u16;
                    code.count[length] += 1;
                    next += 1;
                    at += 1;
                }
                byte += 1;
            }
            length += 1;
        }
        code
    }

    /// The byte whose code, longer than the first table's, `bits` begin with from the left.
    fn long(&self, bits: u64) -> Option<(u16, u32)> {
        (FAST + 1..=LONGEST).find_map(|length| {
            let offset = ((bits >> (64 - length)) as u32).checked_sub(self.first[length])?;
            (offset < self.count[length]).then(|| {
                (
                    self.sorted[self.start[length] + offset as usize],
                    length as u32,
                )
            })
        })
    }
}

/// Appends to `out` what `coded` stands for.
///
/// # Errors
/// When a code is the end's, or what follows the last one is no padding: fewer than eight bits,
/// all of them ones (section 5.2).
pub fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), Undecodable> {
    out.reserve(coded.len() * 8 / SHORTEST as usize);
    let mut coded = coded.iter();
    // The bits to read from the left, and how many there are.
    let (mut bits, mut left) = (0_u64, 0_u32);
    loop {
        while left <= 56 {
            let Some(byte) = coded.next() else { break };
            bits |= u64::from(*byte) << (56 - left);
            left += 8;
        }
        if left < SHORTEST {
            break;
        }
        let (byte, length) = CODE.fast[(bits >> 56) as usize];
        let (byte, length) = match length {
            0 => match CODE.long(bits) {
                Some(found) => found,
                None => break,
            },
            _ => (u16::from(byte), u32::from(length)),
        };
        if length > left {
            break;
        }
        if byte == END {
            return Err(Undecodable);
        }
        // All but the end are bytes.
        out.push(byte as u8);
        bits <<= length;
        left -= length;
    }
    // Beyond what is left the bits are zeros.
    let ones = bits.leading_ones();
    (left < 8 && ones == left).then_some(()).ok_or(Undecodable)
}

#[cfg(test)]
pub mod tests {
    use proptest::{prelude::any, prop_assert_eq, proptest};

    use super::*;

    /// A string as a peer writes it.
    pub fn encode(text: &[u8]) -> Vec<u8> {
        let (mut out, mut bits, mut left) = (Vec::new(), 0_u64, 0);
        for byte in text {
            let length = LENGTHS[usize::from(*byte)];
            let of_length = &CODE.sorted[CODE.start[usize::from(length)]..];
            let offset = of_length.iter().position(|at| *at == u16::from(*byte));
            let code = CODE.first[usize::from(length)] + offset.unwrap() as u32;
            bits = bits << length | u64::from(code);
            left += length;
            while left >= 8 {
                left -= 8;
                out.push((bits >> left) as u8);
            }
        }
        if left > 0 {
            out.push((bits << (8 - left)) as u8 | 0xff >> left);
        }
        out
    }

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, Undecodable> {
        let mut out = Vec::new();
        decode(coded, &mut out).map(|()| out)
    }

    /// RFC 7541, C.4.1 and C.6.1.
    #[test]
    fn the_examples_of_the_rfc() {
        let coded = [
            0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
        ];
        assert_eq!(decoded(&coded).unwrap(), b"www.example.com");
        assert_eq!(decoded(&[0x64, 0x02]).unwrap(), b"302");
        assert_eq!(encode(b"www.example.com"), coded);
    }

    #[test]
    fn every_byte_has_a_code() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decoded(&encode(&all)).unwrap(), all);
        assert_eq!(CODE.first[LONGEST] + CODE.count[LONGEST], 1 << LONGEST);
    }

    #[test]
    fn the_end_and_false_padding_are_refused() {
        // Eight ones; seven zeros are no code's end; the end itself, with and without padding.
        for coded in [
            &[0xff][..],
            &[0b1111_1000, 0xff],
            &[0b0001_1000],
            &[0xff; 4],
            &[0xff; 5],
        ] {
            assert_eq!(decoded(coded), Err(Undecodable), "{coded:x?}");
        }
        assert_eq!(decoded(&[0b0001_1111]).unwrap(), b"a");
        assert_eq!(decoded(&[]).unwrap(), b"");
    }

    proptest! {
        #[test]
        fn what_is_coded_is_decoded(text: Vec<u8>) {
            prop_assert_eq!(decoded(&encode(&text)).unwrap(), text);
        }

        #[test]
        fn what_is_decoded_is_coded_so(coded in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(text) = decoded(&coded) {
                prop_assert_eq!(encode(&text), coded);
            }
        }
    }
}
