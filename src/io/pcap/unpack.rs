//! Packed captures: gzip and zstd, told by their first bytes, unpacked while they are read. What
//! was unpacked before a cut or a fault is given before the error is.

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::error::Error;
use std::io::{self, BufReader, Cursor, Read};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Skippable zstd frames have sixteen magic numbers (RFC 8878 section 3.1.2); tools put one first.
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

const PACKED_WINDOW_BYTES: usize = 64 * 1024;

/// The stream itself, or what is packed in it.
pub(super) fn unpack(mut source: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    let mut magic = Vec::with_capacity(4);
    source.by_ref().take(4).read_to_end(&mut magic)?;
    let whole = Cursor::new(magic.clone()).chain(source);
    if magic.starts_with(&GZIP) {
        let packed = BufReader::with_capacity(PACKED_WINDOW_BYTES, whole);
        return Ok(Box::new(MultiGzDecoder::new(packed)));
    }
    let skippable = matches!(magic.as_slice(), [first, rest @ ..] if first >> 4 == 5 && *rest == ZSTD_SKIPPABLE);
    if magic == ZSTD || skippable {
        return Ok(Box::new(Zstd::new(whole)));
    }
    Ok(Box::new(whole))
}

/// Unpacks zstd frames one after the other.
struct Zstd<R> {
    source: BufReader<R>,
    decoder: FrameDecoder,
    state: State,
}

enum State {
    Between,
    Within,
    /// What was unpacked is given first, then this.
    Broken(io::Error),
    Ended,
}

impl<R: Read> Zstd<R> {
    fn new(source: R) -> Self {
        let source = BufReader::with_capacity(PACKED_WINDOW_BYTES, source);
        Self { source, decoder: FrameDecoder::new(), state: State::Between }
    }
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(into);
            }
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Between => self.begin()?,
                State::Within => self.unpack_block(),
                State::Broken(error) => return Err(error),
                State::Ended => return Ok(0),
            }
        }
    }
}

impl<R: Read> Zstd<R> {
    /// Starts the next frame, if there is one.
    fn begin(&mut self) -> io::Result<()> {
        if io::BufRead::fill_buf(&mut self.source)?.is_empty() {
            return Ok(());
        }
        self.state = match self.decoder.reset(&mut self.source) {
            Ok(()) => State::Within,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                let length = u64::from(length);
                let passed = io::copy(&mut self.source.by_ref().take(length), &mut io::sink())?;
                if passed < length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                State::Between
            }
            Err(error) => return Err(as_io(error)),
        };
        Ok(())
    }

    fn unpack_block(&mut self) {
        if self.decoder.is_finished() {
            self.state = State::Between;
            return;
        }
        let one = BlockDecodingStrategy::UptoBlocks(1);
        self.state = match self.decoder.decode_blocks(&mut self.source, one) {
            Ok(_) => State::Within,
            Err(error) => {
                self.settle();
                State::Broken(as_io(error))
            }
        };
    }

    /// Makes the decoder give what it keeps for back references: an empty last block ends the frame.
    /// If it will not, that much less is given.
    fn settle(&mut self) {
        const LAST_RAW_BLOCK_AND_CHECKSUM: [u8; 7] = [1, 0, 0, 0, 0, 0, 0];
        let end = &mut &LAST_RAW_BLOCK_AND_CHECKSUM[..];
        let _ = self.decoder.decode_blocks(end, BlockDecodingStrategy::UptoBlocks(1));
    }
}

/// A cut within a frame is the end of the file, whatever part of the decoder met it.
fn as_io(error: FrameDecoderError) -> io::Error {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>()
            && io.kind() == io::ErrorKind::UnexpectedEof
        {
            return io::ErrorKind::UnexpectedEof.into();
        }
        cause = inner.source();
    }
    io::Error::new(io::ErrorKind::InvalidData, error)
}
