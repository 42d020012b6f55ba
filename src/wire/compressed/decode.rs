//! Frames → the stream of packets in them, as far as there is room for it.
//!
//! ```text
//!   Between ─► Stored ─► Between      content goes through as it comes
//!           ─► Packed ─► Between      the raw frame stays with the caller until all of it was given
//! ```

use serde::{Deserialize, Serialize};

use super::engine::{Inflated, Inflater};
use super::{Compression, Corrupt, FrameHeader, HEADER};

/// A frame that is longer is inflated before it is whole: so much of it at a time.
const EARLY: usize = 16 * 1024;

/// What one call of [`Decoder::decode`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// So many raw bytes are of no more use; the next call wants those behind them.
    pub consumed: usize,
    /// So many plain bytes were put into the caller's buffer.
    pub given: usize,
}

/// Takes frames apart, resumable at any byte of them.
#[derive(Debug)]
pub struct Decoder {
    how: Compression,
    state: DecoderState,
    /// Of a packed frame that is under way. It can be had again from the raw bytes.
    progress: Option<Progress>,
    /// What was found behind the last bytes that were given. It would be found again.
    corrupt: Option<Corrupt>,
}

/// What cannot be had from the raw bytes again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecoderState {
    place: Place,
    /// The number of the last frame that has begun; before the first, 255.
    sequence: u8,
}

/// Where the next raw byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Place {
    /// At the start of a frame.
    #[default]
    Between,
    /// In the content of a stored one; so many bytes are to come.
    Stored(u32),
    /// At the start of a packed one, of which so many plain bytes were given.
    Packed(u32),
}

#[derive(Debug)]
struct Progress {
    inflater: Inflater,
    /// Bytes of content that the inflater has taken.
    taken: usize,
}

impl DecoderState {
    /// Before the first frame.
    pub fn new() -> Self {
        Self { place: Place::Between, sequence: u8::MAX }
    }

    /// As 42 bits: `place (2) | its number (32) | sequence (8)`.
    pub fn word(&self) -> u64 {
        let (place, number) = match self.place {
            Place::Between => (0, 0),
            Place::Stored(left) => (1, left),
            Place::Packed(given) => (2, given),
        };
        place | u64::from(number) << 2 | u64::from(self.sequence) << 34
    }

    /// The same, back; None if it is none.
    pub fn of_word(word: u64) -> Option<Self> {
        let number = (word >> 2) as u32;
        let place = match word & 3 {
            0 => Place::Between,
            1 => Place::Stored(number),
            2 => Place::Packed(number),
            _ => return None,
        };
        Some(Self { place, sequence: (word >> 34) as u8 })
    }
}

impl Decoder {
    /// A decoder that was frozen in this state, or a new one.
    pub fn new(how: Compression, state: DecoderState) -> Self {
        Self { how, state, progress: None, corrupt: None }
    }

    /// What has to travel, beside the raw bytes that are not consumed.
    pub fn state(&self) -> DecoderState {
        self.state
    }

    /// The number of the last frame that has begun; before the first, 255.
    pub fn sequence(&self) -> u8 {
        self.state.sequence
    }

    /// Why what comes cannot be understood, once that was found.
    pub fn corrupt(&self) -> Option<Corrupt> {
        self.corrupt
    }

    /// Gives what is in the frame at the start of `raw`, and nothing of the one behind it. When it
    /// does nothing, it needs more of them, or room. An error is final; what is before it is given
    /// first.
    pub fn decode(&mut self, raw: &[u8], out: &mut [u8]) -> Result<Decoded, Corrupt> {
        let mut done = Decoded::default();
        while self.corrupt.is_none() {
            if done.given > 0 && self.state.place == Place::Between {
                return Ok(done);
            }
            match self.step(&raw[done.consumed..], &mut out[done.given..]) {
                Ok(Some(step)) => {
                    done.consumed += step.consumed;
                    done.given += step.given;
                }
                Ok(None) => return Ok(done),
                Err(corrupt) => self.corrupt = Some(corrupt),
            }
        }
        match self.corrupt {
            Some(corrupt) if done == Decoded::default() => Err(corrupt),
            _ => Ok(done),
        }
    }

    /// None when nothing could be done.
    fn step(&mut self, raw: &[u8], out: &mut [u8]) -> Result<Option<Decoded>, Corrupt> {
        match self.state.place {
            Place::Between => match FrameHeader::parse(raw) {
                Some(header) => self.begin(header).map(Some),
                None => Ok(None),
            },
            Place::Stored(left) => Ok(self.copy(left, raw, out)),
            Place::Packed(given) => self.unpack(given as usize, raw, out),
        }
    }

    fn begin(&mut self, header: FrameHeader) -> Result<Decoded, Corrupt> {
        let FrameHeader { length, sequence, plain } = header;
        if length == 0 && plain > 0 {
            return Err(Corrupt::Empty { announced: plain });
        }
        self.state.sequence = sequence;
        let (place, consumed) = match plain {
            0 => (Place::Stored(length as u32), HEADER),
            _ => (Place::Packed(0), 0),
        };
        self.state.place = place;
        Ok(Decoded { consumed, given: 0 })
    }

    fn copy(&mut self, left: u32, raw: &[u8], out: &mut [u8]) -> Option<Decoded> {
        let n = (left as usize).min(raw.len()).min(out.len());
        out[..n].copy_from_slice(&raw[..n]);
        let left = left - n as u32;
        self.state.place = if left == 0 { Place::Between } else { Place::Stored(left) };
        (n > 0 || left == 0).then_some(Decoded { consumed: n, given: n })
    }

    /// None when nothing could be done.
    fn unpack(
        &mut self,
        given: usize,
        raw: &[u8],
        out: &mut [u8],
    ) -> Result<Option<Decoded>, Corrupt> {
        let Some(header) = FrameHeader::parse(raw) else { return Ok(None) };
        let FrameHeader { length, plain, .. } = header;
        let content = &raw[HEADER..raw.len().min(HEADER + length)];
        let is_whole = content.len() == length;
        if out.is_empty() && given < plain {
            return Ok(None);
        }
        let progress = match &mut self.progress {
            Some(progress) => progress,
            None if !is_whole && content.len() < EARLY && given == 0 => return Ok(None),
            None => self.progress.insert(Progress::again(self.how, content, given)?),
        };
        // Behind all that was announced there may only be the end mark.
        let room = out.len().min(plain.saturating_sub(given));
        let target = if room == 0 { &mut [0][..] } else { &mut out[..room] };
        let step = progress.inflate(content, target)?;
        let taken = progress.taken;
        if step.given > room {
            return Err(Corrupt::More { announced: plain });
        }
        let given = given + step.given;
        self.state.place = Place::Packed(given as u32);
        if step.ended {
            return self
                .end(header, taken, given)
                .map(|consumed| Some(Decoded { consumed, given: step.given }));
        }
        match step.taken + step.given {
            0 if is_whole => Err(Corrupt::Less { announced: plain }),
            0 => Ok(None),
            _ => Ok(Some(Decoded { consumed: 0, given: step.given })),
        }
    }

    /// The content has ended; how long the frame was.
    fn end(&mut self, header: FrameHeader, taken: usize, given: usize) -> Result<usize, Corrupt> {
        let FrameHeader { length, plain, .. } = header;
        self.progress = None;
        self.state.place = Place::Between;
        match length - taken {
            0 if given == plain => Ok(HEADER + length),
            0 => Err(Corrupt::Less { announced: plain }),
            bytes => Err(Corrupt::Surplus { bytes }),
        }
    }
}

impl Progress {
    /// As it was when so many bytes had been given.
    fn again(how: Compression, content: &[u8], given: usize) -> Result<Self, Corrupt> {
        let mut progress = Self { inflater: Inflater::lend(how), taken: 0 };
        let mut forgotten = [0; 4096];
        let mut left = given;
        while left > 0 {
            let room = left.min(forgotten.len());
            let step = progress.inflate(content, &mut forgotten[..room])?;
            if step.given == 0 && (step.ended || step.taken == 0) {
                return Err(Corrupt::Content);
            }
            left -= step.given;
        }
        Ok(progress)
    }

    fn inflate(&mut self, content: &[u8], out: &mut [u8]) -> Result<Inflated, Corrupt> {
        let step = self.inflater.inflate(&content[self.taken..], out)?;
        self.taken += step.taken;
        Ok(step)
    }
}
