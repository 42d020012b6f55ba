//! zlib and zstd behind one face, their memory lent.
//!
//! A compressor takes up to 300 KiB. Frames are compressed in one go, so one a thread is enough; an
//! inflater belongs to its frame until that is over.

use std::cell::RefCell;

use flate2::{
    Compress, Compression as ZlibLevel, Decompress, FlushCompress, FlushDecompress, Status,
};
use zstd_safe::{CCtx, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

use super::{Compression, Corrupt, MAX_CONTENT};

/// Inflaters of a kind that a thread keeps.
const KEPT: usize = 4;

/// A window that is larger than any frame is a way to make us allocate: 2^24 bytes.
const ZSTD_WINDOW: u32 = MAX_CONTENT.ilog2() + 1;

thread_local! {
    static ZLIB: RefCell<Option<Compress>> = const { RefCell::new(None) };
    static ZSTD: RefCell<Option<CCtx<'static>>> = const { RefCell::new(None) };
    static FREE: RefCell<Vec<Engine>> = const { RefCell::new(Vec::new()) };
}

/// Compresses all of `plain`; the length of what is then in `out`, None when it does not fit.
pub(super) fn deflate(how: Compression, plain: &[u8], out: &mut [u8]) -> Option<usize> {
    match how {
        Compression::Zlib => ZLIB.with_borrow_mut(|lent| {
            let compress = lent.get_or_insert_with(|| Compress::new(ZlibLevel::default(), true));
            compress.reset();
            let status = compress.compress(plain, out, FlushCompress::Finish).ok()?;
            (status == Status::StreamEnd).then_some(compress.total_out() as usize)
        }),
        Compression::Zstd(level) => ZSTD.with_borrow_mut(|lent| {
            let level = i32::from(u8::from(level));
            // The only error is one of too little room.
            lent.get_or_insert_with(CCtx::create).compress(out, plain, level).ok()
        }),
    }
}

/// What one call of [`Inflater::inflate`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inflated {
    /// Bytes of content taken.
    pub taken: usize,
    /// Bytes given.
    pub given: usize,
    /// The content has ended.
    pub ended: bool,
}

/// Inflates the content of one frame. Dropping it gives its memory back.
#[derive(Debug)]
pub(super) struct Inflater(Option<Engine>);

enum Engine {
    Zlib(Decompress),
    Zstd(DCtx<'static>),
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Zlib(_) => "zlib",
            Self::Zstd(_) => "zstd",
        })
    }
}

impl Inflater {
    /// One at the start of a frame's content.
    pub(super) fn lend(how: Compression) -> Self {
        let fits = |engine: &Engine| {
            matches!(
                (engine, how),
                (Engine::Zlib(_), Compression::Zlib) | (Engine::Zstd(_), Compression::Zstd(_))
            )
        };
        let free = FREE.with_borrow_mut(|free| {
            let at = free.iter().rposition(fits)?;
            Some(free.swap_remove(at))
        });
        Self(Some(free.unwrap_or_else(|| Engine::new(how))))
    }

    /// Goes on with `content`, as far as there is room in `out`.
    pub(super) fn inflate(&mut self, content: &[u8], out: &mut [u8]) -> Result<Inflated, Corrupt> {
        match self.0.as_mut().expect("an engine is taken only in drop") {
            Engine::Zlib(engine) => {
                let (taken, given) = (engine.total_in(), engine.total_out());
                let status = engine.decompress(content, out, FlushDecompress::None);
                let status = status.map_err(|_| Corrupt::Content)?;
                Ok(Inflated {
                    taken: (engine.total_in() - taken) as usize,
                    given: (engine.total_out() - given) as usize,
                    ended: status == Status::StreamEnd,
                })
            }
            Engine::Zstd(engine) => {
                let mut input = InBuffer::around(content);
                let mut output = OutBuffer::around(out);
                let hint = engine.decompress_stream(&mut output, &mut input);
                let hint = hint.map_err(|_| Corrupt::Content)?;
                Ok(Inflated { taken: input.pos(), given: output.pos(), ended: hint == 0 })
            }
        }
    }
}

impl Engine {
    fn new(how: Compression) -> Self {
        match how {
            Compression::Zlib => Self::Zlib(Decompress::new(true)),
            Compression::Zstd(_) => {
                let mut engine = DCtx::create();
                engine
                    .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW))
                    .expect("a window that zstd knows");
                Self::Zstd(engine)
            }
        }
    }

    /// Whether it can begin another frame.
    fn reset(&mut self) -> bool {
        match self {
            Self::Zlib(engine) => engine.reset(true),
            Self::Zstd(engine) => return engine.reset(ResetDirective::SessionOnly).is_ok(),
        }
        true
    }
}

impl Drop for Inflater {
    fn drop(&mut self) {
        let mut engine = self.0.take().expect("an engine is taken only here");
        // At the end of a thread its list is gone first; the memory is then freed.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < 2 * KEPT && engine.reset() {
                free.push(engine);
            }
        });
    }
}
