//! Decompression (RFC 1951) of a stream whose window outlives each block of headers.
//!
//! SPDY compresses all headers of a connection as one zlib stream that begins with a dictionary both sides know, and
//! flushes it to a byte boundary after each block. Crates that take such a dictionary need a C library; headers are
//! small, so a plain decoder does.

/// Distances reach back so far.
const WINDOW: usize = 32 * 1024;
/// A block of headers is far smaller; more is an attack.
const MAX_OUTPUT: usize = 1024 * 1024;

const LENGTH_BASE: [u16; 29] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195,
    227, 258,
];
const LENGTH_EXTRA: [u8; 29] =
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const DISTANCE_BASE: [u16; 30] = [
    1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073,
    4097, 6145, 8193, 12289, 16385, 24577,
];
const DISTANCE_EXTRA: [u8; 30] =
    [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13];
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// The stream is not what it should be.
#[derive(Debug, PartialEq, Eq)]
pub struct Corrupt;

/// A decompressor with its window.
pub struct Inflate {
    window: Vec<u8>,
    begun: bool,
}

impl Inflate {
    /// Begins with a dictionary.
    pub fn new(dictionary: &[u8]) -> Self {
        Self { window: dictionary.to_vec(), begun: false }
    }

    /// Decompresses one flushed piece.
    pub fn piece(&mut self, mut data: &[u8]) -> Result<Vec<u8>, Corrupt> {
        if !self.begun {
            // The zlib header, and the dictionary's checksum if it names one.
            let named = data.get(1).ok_or(Corrupt)? & 0x20 != 0;
            data = data.get(if named { 6 } else { 2 }..).ok_or(Corrupt)?;
            if !named {
                self.window.clear();
            }
            self.begun = true;
        }
        let from = self.window.len();
        let mut bits = Bits { data, at: 0, held: 0, count: 0 };
        while bits.left() {
            let last = bits.take(1)? == 1;
            match bits.take(2)? {
                0 => self.stored(&mut bits)?,
                1 => {
                    let (lengths, distances) = fixed();
                    self.block(&mut bits, &lengths, &distances, from)?;
                }
                2 => {
                    let (lengths, distances) = dynamic(&mut bits)?;
                    self.block(&mut bits, &lengths, &distances, from)?;
                }
                _ => return Err(Corrupt),
            }
            if last {
                break;
            }
        }
        let out = self.window.split_off(from);
        self.window.extend_from_slice(&out);
        let excess = self.window.len().saturating_sub(WINDOW);
        self.window.drain(..excess);
        Ok(out)
    }

    fn stored(&mut self, bits: &mut Bits<'_>) -> Result<(), Corrupt> {
        bits.align();
        let length = bits.take(16)?;
        if bits.take(16)? != length ^ 0xffff {
            return Err(Corrupt);
        }
        for _ in 0..length {
            let byte = u8::try_from(bits.take(8)?).map_err(|_| Corrupt)?;
            self.window.push(byte);
        }
        Ok(())
    }

    fn block(
        &mut self,
        bits: &mut Bits<'_>,
        lengths: &Code,
        distances: &Code,
        from: usize,
    ) -> Result<(), Corrupt> {
        loop {
            if self.window.len() - from > MAX_OUTPUT {
                return Err(Corrupt);
            }
            let symbol = lengths.read(bits)?;
            match symbol {
                0..=255 => self.window.push(u8::try_from(symbol).map_err(|_| Corrupt)?),
                256 => return Ok(()),
                _ => {
                    let at = usize::from(symbol - 257);
                    let base = *LENGTH_BASE.get(at).ok_or(Corrupt)?;
                    let length = usize::from(base) + bits.take(LENGTH_EXTRA[at])? as usize;
                    let at = usize::from(distances.read(bits)?);
                    let base = *DISTANCE_BASE.get(at).ok_or(Corrupt)?;
                    let distance = usize::from(base) + bits.take(DISTANCE_EXTRA[at])? as usize;
                    let start = self.window.len().checked_sub(distance).ok_or(Corrupt)?;
                    for offset in 0..length {
                        let byte = self.window[start + offset];
                        self.window.push(byte);
                    }
                }
            }
        }
    }
}

struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    held: u32,
    count: u8,
}

impl Bits<'_> {
    fn left(&self) -> bool {
        self.at < self.data.len()
    }

    fn take(&mut self, count: u8) -> Result<u32, Corrupt> {
        while self.count < count {
            let byte = *self.data.get(self.at).ok_or(Corrupt)?;
            self.held |= u32::from(byte) << self.count;
            self.at += 1;
            self.count += 8;
        }
        let value = self.held & ((1_u32 << count) - 1);
        self.held >>= count;
        self.count -= count;
        Ok(value)
    }

    fn align(&mut self) {
        // Whole bytes that were taken ahead stay: at most seven bits are dropped.
        let odd = self.count % 8;
        self.held >>= odd;
        self.count -= odd;
    }
}

/// A Huffman code: how many codes of each length, and the symbols in order.
struct Code {
    counts: [u16; 16],
    symbols: Vec<u16>,
}

impl Code {
    fn new(lengths: &[u8]) -> Self {
        let mut counts = [0; 16];
        for length in lengths {
            counts[usize::from(*length)] += 1;
        }
        counts[0] = 0;
        let mut offsets = [0_usize; 16];
        for length in 1..15 {
            offsets[length + 1] = offsets[length] + usize::from(counts[length]);
        }
        let mut symbols = vec![0; lengths.len()];
        for (symbol, length) in (0_u16..).zip(lengths) {
            if *length > 0 {
                symbols[offsets[usize::from(*length)]] = symbol;
                offsets[usize::from(*length)] += 1;
            }
        }
        Self { counts, symbols }
    }

    fn read(&self, bits: &mut Bits<'_>) -> Result<u16, Corrupt> {
        let (mut code, mut first, mut index) = (0_u32, 0_u32, 0_u32);
        for length in 1..16 {
            code |= bits.take(1)?;
            let count = u32::from(self.counts[length]);
            if code < first + count {
                return self.symbols.get((index + code - first) as usize).copied().ok_or(Corrupt);
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        Err(Corrupt)
    }
}

fn fixed() -> (Code, Code) {
    let mut lengths = [8_u8; 288];
    lengths[144..256].fill(9);
    lengths[256..280].fill(7);
    (Code::new(&lengths), Code::new(&[5; 30]))
}

fn dynamic(bits: &mut Bits<'_>) -> Result<(Code, Code), Corrupt> {
    let literals = bits.take(5)? as usize + 257;
    let distances = bits.take(5)? as usize + 1;
    let given = bits.take(4)? as usize + 4;
    let mut lengths = [0_u8; 19];
    for position in ORDER.iter().take(given) {
        lengths[*position] = u8::try_from(bits.take(3)?).map_err(|_| Corrupt)?;
    }
    let code = Code::new(&lengths);
    let mut all: Vec<u8> = Vec::with_capacity(literals + distances);
    while all.len() < literals + distances {
        let (value, times) = match code.read(bits)? {
            symbol @ 0..=15 => (u8::try_from(symbol).map_err(|_| Corrupt)?, 1),
            16 => (*all.last().ok_or(Corrupt)?, 3 + bits.take(2)?),
            17 => (0, 3 + bits.take(3)?),
            _ => (0, 11 + bits.take(7)?),
        };
        all.extend(std::iter::repeat_n(value, times as usize));
    }
    if all.len() != literals + distances {
        return Err(Corrupt);
    }
    Ok((Code::new(&all[..literals]), Code::new(&all[literals..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_one_stream_refer_to_earlier_ones() {
        // zlib, level 9: "hello hello hello", flushed; then the same again, flushed.
        let first = [
            0x78, 0xda, 0xca, 0x48, 0xcd, 0xc9, 0xc9, 0x57, 0xc8, 0x40, 0x90, 0x00, 0x00, 0x00, 0x00, 0xff,
            0xff,
        ];
        let mut inflate = Inflate::new(b"");
        assert_eq!(inflate.piece(&first).unwrap(), b"hello hello hello");
        assert_eq!(inflate.piece(&[0, 2, 0, 0xfd, 0xff, b'a', b'b']).unwrap(), b"ab");
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(Inflate::new(b"").piece(&[0x78]), Err(Corrupt));
        assert_eq!(Inflate::new(b"").piece(&[0x78, 0xda, 0x07]), Err(Corrupt));
    }
}
