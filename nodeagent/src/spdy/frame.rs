//! Frames of SPDY/3.1: pure.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{
    dictionary::dictionary,
    inflate::{Corrupt, Inflate},
};

/// Names and values of a block of headers; names are in lower case.
pub type Headers = Vec<(String, String)>;

const VERSION: u16 = 3;
/// The last frame of its stream in this direction.
const FIN: u8 = 1;
const HEAD: usize = 8;

/// What a peer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A new stream.
    Open {
        /// Its number.
        stream: u32,
        /// Its headers.
        headers: Headers,
        /// The peer will send nothing on it.
        fin: bool,
    },
    /// A stream is accepted.
    Reply {
        /// Its number.
        stream: u32,
    },
    /// Bytes of a stream.
    Data {
        /// Its number.
        stream: u32,
        /// The bytes.
        data: Bytes,
        /// The last ones.
        fin: bool,
    },
    /// A stream is given up.
    Reset {
        /// Its number.
        stream: u32,
    },
    /// Is anybody there?
    Ping(u32),
    /// No more streams.
    GoAway,
    /// What needs no answer here: settings, windows, further headers.
    Other,
}

/// Reads frames out of bytes as they come.
pub struct Reader {
    inflate: Inflate,
}

impl Default for Reader {
    fn default() -> Self {
        Self { inflate: Inflate::new(&dictionary()) }
    }
}

impl Reader {
    /// Takes one whole frame from the front; `None`: more bytes are needed.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, Corrupt> {
        if buffer.len() < HEAD {
            return Ok(None);
        }
        let word = u32::from_be_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
        let flags = buffer[4];
        let length = u32::from_be_bytes([0, buffer[5], buffer[6], buffer[7]]) as usize;
        if buffer.len() < HEAD + length {
            return Ok(None);
        }
        buffer.advance(HEAD);
        let mut body = buffer.split_to(length).freeze();
        let fin = flags & FIN != 0;
        if word & 0x8000_0000 == 0 {
            return Ok(Some(Frame::Data { stream: word, data: body, fin }));
        }
        let mut number = |skip: usize| {
            if body.len() < 4 + skip {
                return Err(Corrupt);
            }
            let number = body.get_u32() & 0x7fff_ffff;
            body.advance(skip);
            Ok(number)
        };
        Ok(Some(match word & 0xffff {
            1 => {
                let stream = number(6)?;
                Frame::Open { stream, headers: headers(&self.inflate.piece(&body)?)?, fin }
            }
            // Every block of headers must be read, as later ones refer to it.
            2 | 8 => {
                number(0)?;
                self.inflate.piece(&body)?;
                Frame::Other
            }
            3 => Frame::Reset { stream: number(0)? },
            6 => Frame::Ping(number(0)?),
            7 => Frame::GoAway,
            _ => Frame::Other,
        }))
    }
}

fn headers(mut block: &[u8]) -> Result<Headers, Corrupt> {
    fn number(block: &mut &[u8]) -> Result<usize, Corrupt> {
        if block.len() < 4 {
            return Err(Corrupt);
        }
        Ok(block.get_u32() as usize)
    }
    fn text(block: &mut &[u8]) -> Result<String, Corrupt> {
        let length = number(block)?;
        if block.len() < length {
            return Err(Corrupt);
        }
        let text = String::from_utf8_lossy(&block[..length]).into_owned();
        block.advance(length);
        Ok(text)
    }
    let count = number(&mut block)?;
    let mut headers = Headers::new();
    for _ in 0..count {
        headers.push((text(&mut block)?.to_lowercase(), text(&mut block)?));
    }
    Ok(headers)
}

/// Writes frames.
#[derive(Default)]
pub struct Writer {
    begun: bool,
}

impl Writer {
    /// One frame as bytes.
    pub fn write(&mut self, frame: &Frame) -> Bytes {
        let mut out = BytesMut::new();
        match frame {
            Frame::Data { stream, data, fin } => {
                out.put_u32(*stream);
                out.put_u8(if *fin { FIN } else { 0 });
                out.put_uint(data.len() as u64, 3);
                out.put_slice(data);
            }
            Frame::Open { stream, headers, fin } => {
                let block = self.block(headers);
                control(&mut out, 1, if *fin { FIN } else { 0 }, block.len() + 10);
                out.put_u32(*stream);
                out.put_bytes(0, 6);
                out.put_slice(&block);
            }
            Frame::Reply { stream } => {
                let block = self.block(&Headers::new());
                control(&mut out, 2, 0, block.len() + 4);
                out.put_u32(*stream);
                out.put_slice(&block);
            }
            Frame::Reset { stream } => {
                control(&mut out, 3, 0, 8);
                out.put_u32(*stream);
                // Cancelled.
                out.put_u32(5);
            }
            Frame::Ping(number) => {
                control(&mut out, 6, 0, 4);
                out.put_u32(*number);
            }
            Frame::GoAway => {
                control(&mut out, 7, 0, 8);
                out.put_u64(0);
            }
            Frame::Other => {}
        }
        out.freeze()
    }

    /// Headers as a piece of the zlib stream: stored, since there are next to none. The empty stored block at the end is
    /// the flush that readers wait for.
    fn block(&mut self, headers: &Headers) -> Bytes {
        let mut plain = BytesMut::new();
        plain.put_u32(u32::try_from(headers.len()).unwrap_or(u32::MAX));
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
            plain.put_slice(text.as_bytes());
        }
        let mut out = BytesMut::new();
        if !self.begun {
            out.put_slice(&[0x78, 0x01]);
            self.begun = true;
        }
        for piece in plain.chunks(0xffff) {
            let length = u16::try_from(piece.len()).expect("pieces are cut to 64 KiB");
            out.put_u8(0);
            out.put_u16_le(length);
            out.put_u16_le(!length);
            out.put_slice(piece);
        }
        out.put_slice(&[0, 0, 0, 0xff, 0xff]);
        out.freeze()
    }
}

fn control(out: &mut BytesMut, kind: u16, flags: u8, length: usize) {
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    out.put_u8(flags);
    out.put_uint(length as u64, 3);
}

#[cfg(test)]
#[path = "../../../api/tests/fuzz/mutate.rs"]
mod mutate;

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of almost good bytes is what was written, or no frame at all. `make fuzz` gives it time.
    #[test]
    fn fuzz_frames() {
        let mut writer = Writer::default();
        let headers = vec![("streamtype".to_owned(), "error".to_owned())];
        let frames = [
            Frame::Open { stream: 1, headers, fin: false },
            Frame::Data { stream: 1, data: "hello".into(), fin: true },
            Frame::Ping(7),
            Frame::GoAway,
        ];
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| writer.write(frame).to_vec()).collect();
        super::mutate::run("spdy", &[&bytes], &["\u{0}\u{0}", "x"], |input| {
            let (mut reader, mut buffer) = (Reader::default(), BytesMut::from(input));
            let (mut writer, mut again) = (Writer::default(), Reader::default());
            while let Ok(Some(frame)) = reader.next(&mut buffer) {
                if frame == Frame::Other {
                    continue;
                }
                let mut written = BytesMut::from(&writer.write(&frame)[..]);
                match again.next(&mut written) {
                    Ok(Some(same)) if same == frame && written.is_empty() => {}
                    other => return Err(format!("{frame:?} became {other:?}")),
                }
            }
            Ok(())
        });
    }

    #[test]
    fn frames_survive_the_wire_however_they_are_cut() {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let frames = [
            Frame::Open {
                stream: 1,
                headers: vec![header("streamtype", "error"), header("port", "80")],
                fin: false,
            },
            Frame::Open { stream: 3, headers: vec![header("streamtype", "data")], fin: true },
            Frame::Data { stream: 3, data: "hello".into(), fin: false },
            Frame::Data { stream: 1, data: Bytes::new(), fin: true },
            Frame::Ping(7),
            Frame::Reset { stream: 3 },
            Frame::GoAway,
        ];
        let mut writer = Writer::default();
        let bytes: Vec<u8> = frames.iter().flat_map(|f| writer.write(f).to_vec()).collect();
        let (mut reader, mut buffer, mut seen) = (Reader::default(), BytesMut::new(), Vec::new());
        for byte in bytes {
            buffer.put_u8(byte);
            seen.extend(reader.next(&mut buffer).unwrap());
        }
        assert_eq!(seen, frames);
    }
}
