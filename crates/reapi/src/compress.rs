//! The compressors of blobs in transit (REAPI's `Compressor.Value`).

use std::io::{self, Read, Write};

use buildnet_digest::reapi::compressor::Value;
use bytes::Bytes;
use flate2::Compression;

/// How bytes are compressed in transit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compressor {
    Identity,
    Zstd,
    /// Raw deflate (RFC 1951), without zlib's header.
    Deflate,
}

/// zstd's level in transit: a client waits for it.
const ZSTD_LEVEL: i32 = 1;

impl Compressor {
    /// By the name in resource names.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "zstd" => Some(Self::Zstd),
            "deflate" => Some(Self::Deflate),
            "identity" => Some(Self::Identity),
            _ => None,
        }
    }

    /// By the number in messages.
    pub(crate) fn from_reapi(value: i32) -> Option<Self> {
        match Value::try_from(value) {
            Ok(Value::Identity) => Some(Self::Identity),
            Ok(Value::Zstd) => Some(Self::Zstd),
            Ok(Value::Deflate) => Some(Self::Deflate),
            _ => None,
        }
    }

    /// The number in messages.
    pub(crate) fn to_reapi(self) -> i32 {
        match self {
            Self::Identity => Value::Identity as i32,
            Self::Zstd => Value::Zstd as i32,
            Self::Deflate => Value::Deflate as i32,
        }
    }

    /// Expands `bytes`, which must give exactly `size` bytes. A bomb costs no more memory than that.
    pub(crate) fn expand(self, bytes: Bytes, size: u64) -> io::Result<Bytes> {
        let room = usize::try_from(size).map_err(|_| too_long())?;
        let mut expanded = Vec::with_capacity(room.min(1 << 20));
        let limit = size + 1;
        match self {
            Self::Identity => return Ok(bytes),
            Self::Zstd => zstd::Decoder::with_buffer(&bytes[..])?.take(limit).read_to_end(&mut expanded)?,
            Self::Deflate => flate2::read::DeflateDecoder::new(&bytes[..]).take(limit).read_to_end(&mut expanded)?,
        };
        if expanded.len() > room { Err(too_long()) } else { Ok(expanded.into()) }
    }

    /// Compresses a whole blob.
    pub(crate) fn shrink(self, bytes: &Bytes) -> io::Result<Bytes> {
        Ok(match self {
            Self::Identity => bytes.clone(),
            Self::Zstd => zstd::bulk::compress(bytes, ZSTD_LEVEL)?.into(),
            Self::Deflate => {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(bytes)?;
                encoder.finish()?.into()
            }
        })
    }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the content expands to more bytes than its digest says")
}

/// Expands pieces as they come and passes them on. More bytes than promised are an error before they reach `W`.
pub(crate) enum Expander<W: Write> {
    Identity(Bounded<W>),
    Zstd(zstd::stream::write::Decoder<'static, Bounded<W>>),
    Deflate(flate2::write::DeflateDecoder<Bounded<W>>),
}

impl<W: Write> Expander<W> {
    pub(crate) fn new(compressor: Compressor, sink: W, size: u64) -> io::Result<Self> {
        Self::over(compressor, Bounded { sink, left: size })
    }

    fn over(compressor: Compressor, sink: Bounded<W>) -> io::Result<Self> {
        Ok(match compressor {
            Compressor::Identity => Self::Identity(sink),
            Compressor::Zstd => Self::Zstd(zstd::stream::write::Decoder::new(sink)?),
            Compressor::Deflate => Self::Deflate(flate2::write::DeflateDecoder::new(sink)),
        })
    }

    /// How many of the promised bytes did not reach `W` yet.
    pub(crate) fn left(&self) -> u64 {
        match self {
            Self::Identity(sink) => sink.left,
            Self::Zstd(decoder) => decoder.get_ref().left,
            Self::Deflate(decoder) => decoder.get_ref().left,
        }
    }

    /// Passes on what can be expanded so far, and expects a new compressed stream of the rest.
    pub(crate) fn restart(self) -> io::Result<Self> {
        let (compressor, sink) = match self {
            Self::Identity(sink) => return Ok(Self::Identity(sink)),
            Self::Zstd(mut decoder) => {
                decoder.flush()?;
                (Compressor::Zstd, decoder.into_inner())
            }
            Self::Deflate(decoder) => (Compressor::Deflate, decoder.finish()?),
        };
        Self::over(compressor, sink)
    }

    pub(crate) fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Identity(sink) => sink.write_all(bytes),
            Self::Zstd(decoder) => decoder.write_all(bytes),
            Self::Deflate(decoder) => decoder.write_all(bytes),
        }
    }

    /// Passes on what is still held back, and gives the sink back.
    pub(crate) fn finish(self) -> io::Result<W> {
        Ok(match self {
            Self::Identity(sink) => sink.sink,
            Self::Zstd(mut decoder) => {
                decoder.flush()?;
                decoder.into_inner().sink
            }
            Self::Deflate(decoder) => decoder.finish()?.sink,
        })
    }
}

impl Expander<Vec<u8>> {
    /// What came out since it was taken last.
    pub(crate) fn taken(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Identity(sink) => &mut sink.sink,
            Self::Zstd(decoder) => &mut decoder.get_mut().sink,
            Self::Deflate(decoder) => &mut decoder.get_mut().sink,
        }
    }
}

/// Lets at most a promised number of bytes through.
pub(crate) struct Bounded<W> {
    sink: W,
    left: u64,
}

impl<W: Write> Write for Bounded<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len() as u64;
        self.left = self.left.checked_sub(length).ok_or_else(too_long)?;
        self.sink.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// Compresses a stream of pieces; what comes out is in the buffer it is given.
pub(crate) enum Shrinker {
    Identity(Vec<u8>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Deflate(flate2::write::DeflateEncoder<Vec<u8>>),
}

impl Shrinker {
    pub(crate) fn new(compressor: Compressor) -> io::Result<Self> {
        Ok(match compressor {
            Compressor::Identity => Self::Identity(Vec::new()),
            Compressor::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?),
            Compressor::Deflate => Self::Deflate(flate2::write::DeflateEncoder::new(Vec::new(), Compression::fast())),
        })
    }

    /// Takes a piece, and returns what is ready to be sent.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Identity(buffer) => buffer.extend_from_slice(bytes),
            Self::Zstd(encoder) => encoder.write_all(bytes)?,
            Self::Deflate(encoder) => encoder.write_all(bytes)?,
        }
        Ok(std::mem::take(match self {
            Self::Identity(buffer) => buffer,
            Self::Zstd(encoder) => encoder.get_mut(),
            Self::Deflate(encoder) => encoder.get_mut(),
        }))
    }

    /// What is left when all was pushed.
    pub(crate) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Identity(buffer) => Ok(buffer),
            Self::Zstd(encoder) => encoder.finish(),
            Self::Deflate(encoder) => encoder.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Compressor; 3] = [Compressor::Identity, Compressor::Zstd, Compressor::Deflate];

    #[test]
    fn round_trips_whole_and_in_pieces() {
        let blob: Bytes = (0..200_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for compressor in ALL {
            let shrunk = compressor.shrink(&blob).unwrap();
            assert_eq!(compressor.expand(shrunk.clone(), blob.len() as u64).unwrap(), blob);
            let mut shrinker = Shrinker::new(compressor).unwrap();
            let mut sent = Vec::new();
            for piece in blob.chunks(1000) {
                sent.extend(shrinker.push(piece).unwrap());
            }
            sent.extend(shrinker.finish().unwrap());
            let mut expander = Expander::new(compressor, Vec::new(), blob.len() as u64).unwrap();
            for piece in sent.chunks(777) {
                expander.take(piece).unwrap();
            }
            assert_eq!(expander.finish().unwrap(), blob);
        }
    }

    #[test]
    fn a_cut_stream_goes_on_with_a_new_one() {
        let blob: Bytes = (0..200_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for compressor in ALL {
            let shrunk = compressor.shrink(&blob).unwrap();
            let mut expander = Expander::new(compressor, Vec::new(), blob.len() as u64).unwrap();
            expander.take(&shrunk[..shrunk.len() / 2]).unwrap();
            let mut expander = expander.restart().unwrap();
            let passed = blob.len() - usize::try_from(expander.left()).unwrap();
            assert!(passed > blob.len() / 4, "{compressor:?} passed {passed}");
            expander.take(&compressor.shrink(&blob.slice(passed..)).unwrap()).unwrap();
            assert_eq!(expander.finish().unwrap(), blob);
        }
    }

    #[test]
    fn bombs_stop_at_the_promised_size() {
        let bomb = Bytes::from(vec![0; 1 << 24]);
        for compressor in [Compressor::Zstd, Compressor::Deflate] {
            let shrunk = compressor.shrink(&bomb).unwrap();
            assert!(shrunk.len() < 1 << 17);
            assert!(compressor.expand(shrunk.clone(), 100).is_err());
            let mut expander = Expander::new(compressor, Vec::new(), 100).unwrap();
            assert!(expander.take(&shrunk).and_then(|()| expander.finish().map(drop)).is_err());
        }
    }
}
