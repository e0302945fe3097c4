//! Compresses a body piece by piece: the bytes that are put in come out smaller, at the latest with the next flush.
//!
//! Never here: which answers are compressed (`request/compress`), or where pieces come from (`reply_body`).

use std::io::{self, Write};

use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use zstd::stream::raw::CParameter;

/// A content coding (RFC 9110 §8.4.1) in which answers are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acceptor) enum ContentCoding {
    /// Zstandard (RFC 8878).
    Zstd,
    /// Brotli (RFC 7932).
    Brotli,
    /// gzip (RFC 1952).
    Gzip,
}

impl ContentCoding {
    /// The name in `Content-Encoding`.
    pub(in crate::acceptor) fn token(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// The bytes of memory that a compressor takes while its body goes on, rounded up.
    pub(in crate::acceptor) fn memory(self) -> u64 {
        match self {
            Self::Zstd => 1 << 20,
            Self::Brotli => 2 << 20,
            Self::Gzip => 384 << 10,
        }
    }
}

/// A body on its way through an encoder.
pub(in crate::acceptor) struct Compressor {
    encoder: Encoder,
    input: Bytes,
    /// The bytes that were put in, and those that came out.
    before: u64,
    after: u64,
    /// Whether the encoder may hold bytes that have not come out.
    holds: bool,
}

enum Encoder {
    Zstd(Box<zstd::Encoder<'static, Vec<u8>>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Done,
}

impl Compressor {
    /// Starts an encoder. Levels and windows are chosen so that a piece takes less than a millisecond, and a compressor
    /// little memory.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(in crate::acceptor) fn new(coding: ContentCoding) -> io::Result<Self> {
        let encoder = match coding {
            ContentCoding::Zstd => {
                let mut encoder = zstd::Encoder::new(Vec::new(), 3)?;
                for limit in [CParameter::WindowLog(17), CParameter::HashLog(16), CParameter::ChainLog(16)] {
                    encoder.set_parameter(limit)?;
                }
                Encoder::Zstd(Box::new(encoder))
            }
            ContentCoding::Brotli => {
                let params = BrotliEncoderParams { quality: 4, lgwin: 17, ..BrotliEncoderParams::default() };
                Encoder::Brotli(Box::new(CompressorWriter::with_params(Vec::new(), PIECE, &params)))
            }
            ContentCoding::Gzip => Encoder::Gzip(Box::new(GzEncoder::new(Vec::new(), Compression::new(3)))),
        };
        Ok(Self { encoder, input: Bytes::new(), before: 0, after: 0, holds: true })
    }

    /// Compresses a whole body at once.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(in crate::acceptor) fn whole(coding: ContentCoding, body: &[u8]) -> io::Result<Bytes> {
        let mut compressor = Self::new(coding)?;
        compressor.encoder.writer()?.write_all(body)?;
        compressor.finish()
    }

    /// Whether there are bytes that have not been compressed.
    pub(in crate::acceptor) fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// Puts in the next bytes of the body; those before must have been compressed.
    pub(in crate::acceptor) fn put(&mut self, data: Bytes) {
        self.before += data.len() as u64;
        self.input = data;
    }

    /// Compresses the next piece of at most [`PIECE`] bytes; returns what came out, which may be nothing.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(in crate::acceptor) fn step(&mut self) -> io::Result<Bytes> {
        let piece = self.input.split_to(self.input.len().min(PIECE));
        self.holds = true;
        self.encoder.writer()?.write_all(&piece)?;
        Ok(self.take())
    }

    /// Returns all compressed bytes that have not come out yet.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(in crate::acceptor) fn flush(&mut self) -> io::Result<Bytes> {
        if std::mem::take(&mut self.holds) {
            self.encoder.writer()?.flush()?;
        }
        Ok(self.take())
    }

    /// Takes the compressed bytes that are ready, and counts them.
    fn take(&mut self) -> Bytes {
        let out = self.encoder.take();
        self.after += out.len() as u64;
        out
    }

    /// Bytes that were put in, and that came out.
    pub(in crate::acceptor) fn sizes(&self) -> (u64, u64) {
        (self.before, self.after)
    }

    /// Ends the body, and returns its last bytes. Nothing may be put in afterwards.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(in crate::acceptor) fn finish(&mut self) -> io::Result<Bytes> {
        self.holds = false;
        let all = match std::mem::replace(&mut self.encoder, Encoder::Done) {
            Encoder::Zstd(encoder) => encoder.finish()?,
            Encoder::Brotli(encoder) => encoder.into_inner(),
            Encoder::Gzip(encoder) => encoder.finish()?,
            Encoder::Done => Vec::new(),
        };
        self.after += all.len() as u64;
        Ok(all.into())
    }
}

impl Encoder {
    fn writer(&mut self) -> io::Result<&mut dyn Write> {
        match self {
            Self::Zstd(encoder) => Ok(&mut **encoder),
            Self::Brotli(encoder) => Ok(&mut **encoder),
            Self::Gzip(encoder) => Ok(&mut **encoder),
            Self::Done => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// Takes what has come out.
    fn take(&mut self) -> Bytes {
        match self {
            Self::Zstd(encoder) => std::mem::take(encoder.get_mut()).into(),
            Self::Brotli(encoder) => std::mem::take(encoder.get_mut()).into(),
            Self::Gzip(encoder) => std::mem::take(encoder.get_mut()).into(),
            Self::Done => Bytes::new(),
        }
    }
}

/// The bytes that are compressed in one go; other tasks of the thread wait meanwhile.
pub(in crate::acceptor) const PIECE: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn expanded(coding: ContentCoding, compressed: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        match coding {
            ContentCoding::Zstd => zstd::Decoder::new(compressed).unwrap().read_to_end(&mut all),
            ContentCoding::Brotli => brotli::Decompressor::new(compressed, 4096).read_to_end(&mut all),
            ContentCoding::Gzip => flate2::read::GzDecoder::new(compressed).read_to_end(&mut all),
        }
        .unwrap();
        all
    }

    #[test]
    fn what_is_put_in_comes_out_again_piece_by_piece_and_whole() {
        let body: Vec<u8> = (0..200_000_u32).flat_map(|at| (at / 7).to_string().into_bytes()).collect();
        for coding in [ContentCoding::Zstd, ContentCoding::Brotli, ContentCoding::Gzip] {
            let mut compressor = Compressor::new(coding).unwrap();
            let mut out = Vec::new();
            for (at, part) in body.chunks(50_000).enumerate() {
                compressor.put(Bytes::copy_from_slice(part));
                while compressor.has_input() {
                    out.extend_from_slice(&compressor.step().unwrap());
                }
                if at % 3 == 0 {
                    let flushed = compressor.flush().unwrap();
                    assert!(!flushed.is_empty(), "{coding:?}");
                    out.extend_from_slice(&flushed);
                    assert!(compressor.flush().unwrap().is_empty(), "{coding:?}: nothing is left to flush");
                }
            }
            out.extend_from_slice(&compressor.finish().unwrap());
            assert!(out.len() < body.len() / 2, "{coding:?}: {}", out.len());
            assert_eq!(expanded(coding, &out), body, "{coding:?}");
            assert_eq!(expanded(coding, &Compressor::whole(coding, &body).unwrap()), body, "{coding:?}");
            assert!(Compressor::new(coding).unwrap().step().is_ok());
        }
    }

    #[test]
    fn what_was_flushed_can_be_read_before_the_end() {
        for coding in [ContentCoding::Zstd, ContentCoding::Brotli, ContentCoding::Gzip] {
            let mut compressor = Compressor::new(coding).unwrap();
            compressor.put(Bytes::from_static(b"first line\n"));
            let mut out = compressor.step().unwrap().to_vec();
            out.extend_from_slice(&compressor.flush().unwrap());
            let mut read = [0; 11];
            match coding {
                ContentCoding::Zstd => zstd::Decoder::new(&*out).unwrap().read_exact(&mut read),
                ContentCoding::Brotli => brotli::Decompressor::new(&*out, 4096).read_exact(&mut read),
                ContentCoding::Gzip => flate2::read::GzDecoder::new(&*out).read_exact(&mut read),
            }
            .unwrap();
            assert_eq!(&read, b"first line\n", "{coding:?}");
        }
    }
}
