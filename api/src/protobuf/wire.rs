//! Protobuf's own encoding: tags, varints, lengths.

use super::Error;

/// The value of a field.
pub enum Wire<'a> {
    /// A varint or a fixed number.
    Number(u64),
    /// Text, bytes or a message.
    Bytes(&'a [u8]),
}

/// The fields of a message, as they come.
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u32, Wire<'a>)> {
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => Wire::Number(self.varint()?),
            1 => Wire::Number(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let length = self.varint()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Number(u64::from(u32::from_le_bytes(self.take(4)?.try_into().ok()?))),
            _ => return None,
        };
        Some((u32::try_from(tag >> 3).ok()?, wire))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Wire<'a>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or(Error::Malformed("unexpected end of the message")))
    }
}

/// The text of a field.
pub fn text(bytes: &[u8]) -> Result<String, Error> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Error::Malformed("text is not UTF-8"))
}

/// Bytes written from the end to the beginning, as upstream writes them: the length of a message
/// is known when it is put before it.
#[derive(Default)]
pub struct Writer {
    /// In reverse order.
    out: Vec<u8>,
}

impl Writer {
    /// Where a message ends. Give it to [`Writer::close`] once its fields are written.
    pub fn mark(&self) -> usize {
        self.out.len()
    }

    /// Puts tag and length before what was written since `start`.
    pub fn close(&mut self, number: u32, start: usize) {
        let length = self.out.len() - start;
        self.varint(length as u64);
        self.tag(number, 2);
    }

    /// A field of bytes.
    pub fn bytes(&mut self, number: u32, bytes: &[u8]) {
        let start = self.mark();
        self.out.extend(bytes.iter().rev());
        self.close(number, start);
    }

    /// A field that is a varint.
    pub fn number(&mut self, number: u32, value: u64) {
        self.varint(value);
        self.tag(number, 0);
    }

    /// A field of eight bytes.
    pub fn fixed(&mut self, number: u32, value: u64) {
        self.out.extend(value.to_be_bytes());
        self.tag(number, 1);
    }

    fn tag(&mut self, number: u32, sort: u64) {
        self.varint(u64::from(number) << 3 | sort);
    }

    fn varint(&mut self, mut value: u64) {
        let start = self.out.len();
        loop {
            let byte = (value & 0x7f) as u8;
            value >>= 7;
            if value == 0 {
                self.out.push(byte);
                break;
            }
            self.out.push(byte | 0x80);
        }
        self.out[start..].reverse();
    }

    /// All bytes in their order, after `prefix`.
    pub fn finish(mut self, prefix: &[u8]) -> Vec<u8> {
        self.out.extend(prefix.iter().rev());
        self.out.reverse();
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut out = Writer::default();
        out.bytes(300, b"ab");
        out.fixed(2, 1.5f64.to_bits());
        out.number(1, u64::MAX);
        let bytes = out.finish(b"");
        let fields: Vec<_> = Fields(&bytes).map(Result::unwrap).collect();
        assert!(matches!(fields[0], (1, Wire::Number(u64::MAX))));
        assert!(matches!(fields[1], (2, Wire::Number(bits)) if bits == 1.5f64.to_bits()));
        assert!(matches!(fields[2], (300, Wire::Bytes(b"ab"))));
    }
}
