//! Style and script: in the binary, under names that change with what is in them.
//!
//! `htmx.min.js` is htmx 2.0.11 and `sse.min.js` its extension for server-sent events 2.2.4, as
//! they are in their npm packages, under the licence in `LICENSE`. A test knows their hashes.
//!
//! Who takes gzip gets it, made once. Pages are not compressed: what somebody was made to ask for
//! would stand there beside the token of his forms, and the length would tell of both (BREACH).

use std::io::Write as _;
use std::sync::OnceLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, VARY};

use crate::http::reply::{Problem, Reply, set, whole};
use crate::http::request::Request;

/// One file.
pub(super) struct Asset {
    /// Its path ends so.
    name: &'static str,
    kind: &'static str,
    text: &'static str,
    /// Empty: it would be no shorter.
    gzip: OnceLock<Bytes>,
}

pub(super) static STYLE: Asset =
    Asset::new("console.css", "text/css; charset=utf-8", include_str!("../assets/console.css"));

pub(super) static ICON: Asset =
    Asset::new("icon.svg", "image/svg+xml", include_str!("../assets/icon.svg"));

pub(super) static HTMX: Asset = Asset::new(
    "htmx.min.js",
    "text/javascript; charset=utf-8",
    include_str!("../assets/htmx.min.js"),
);

pub(super) static SSE: Asset = Asset::new(
    "sse.min.js",
    "text/javascript; charset=utf-8",
    include_str!("../assets/sse.min.js"),
);

impl Asset {
    const fn new(name: &'static str, kind: &'static str, text: &'static str) -> Self {
        Self { name, kind, text, gzip: OnceLock::new() }
    }

    /// Where it is: a proxy of another version may have another one, by another name.
    pub(super) fn path(&self) -> String {
        format!("/assets/{:08x}-{}", hash(self.text), self.name)
    }

    /// The same, compressed; None if that is no shorter.
    fn gzip(&self) -> Option<Bytes> {
        let made = self.gzip.get_or_init(|| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            let written = encoder.write_all(self.text.as_bytes()).and_then(|()| encoder.finish());
            written.ok().filter(|it| it.len() < self.text.len()).unwrap_or_default().into()
        });
        (!made.is_empty()).then(|| made.clone())
    }

    /// For who takes these encodings.
    fn reply(&self, encodings: &str) -> Reply {
        let gzip = takes_gzip(encodings).then(|| self.gzip()).flatten();
        let is_gzip = gzip.is_some();
        let body = gzip.unwrap_or(Bytes::from_static(self.text.as_bytes()));
        let mut reply = whole(StatusCode::OK, self.kind, body);
        if is_gzip {
            set(&mut reply, CONTENT_ENCODING, "gzip");
        }
        set(&mut reply, VARY, "accept-encoding");
        set(&mut reply, CACHE_CONTROL, "public, max-age=31536000, immutable");
        reply
    }
}

/// The answer.
pub(super) fn answer(request: &Request, name: &str) -> Reply {
    let all = [&STYLE, &ICON, &HTMX, &SSE];
    let found = all.into_iter().find(|asset| asset.path().ends_with(&format!("/{name}")));
    match found {
        Some(asset) => asset.reply(request.field(ACCEPT_ENCODING).unwrap_or_default()),
        None => Problem::not_found("there is no such file").reply(),
    }
}

/// Whether Accept-Encoding names it; `*` and x-gzip are for those who say no more.
fn takes_gzip(encodings: &str) -> bool {
    encodings.split(',').any(|encoding| {
        let (name, weight) = encoding.split_once(';').unwrap_or((encoding, "q=1"));
        let weight = weight.trim().strip_prefix("q=").and_then(|it| it.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && weight.is_some_and(|it| it > 0.0)
    })
}

/// FNV-1a: names, and proves nothing.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use aws_lc_rs::digest::{SHA256, digest};
    use flate2::read::GzDecoder;

    use super::*;
    use crate::http::reply::Body;

    const ALL: [&Asset; 4] = [&STYLE, &ICON, &HTMX, &SSE];

    #[test]
    fn what_others_wrote_is_what_they_published() {
        let published = [
            (&HTMX, "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"),
            (&SSE, "98a46496de0c3605fbffdce9167ba427bdd9553184f83f149c261891a92c0136"),
        ];
        for (asset, expected) in published {
            let hash = digest(&SHA256, asset.text.as_bytes());
            let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hash, expected, "{}", asset.name);
        }
    }

    /// Length of the body, whether it is compressed, and the text.
    fn of(asset: &Asset, encodings: &str) -> (usize, bool, String) {
        let reply = asset.reply(encodings);
        let is_gzip = reply.headers().get(CONTENT_ENCODING).is_some_and(|it| it == "gzip");
        assert_eq!(reply.headers()[VARY], "accept-encoding");
        let Body::Whole(Some(body)) = reply.into_body() else { panic!("a body") };
        let mut text = String::new();
        let read = match is_gzip {
            true => GzDecoder::new(&body[..]).read_to_string(&mut text),
            false => (&body[..]).read_to_string(&mut text),
        };
        read.expect("text");
        (body.len(), is_gzip, text)
    }

    #[test]
    fn who_takes_gzip_gets_the_same_in_less() {
        for (encodings, expected) in [
            ("gzip, deflate, br, zstd", true),
            ("br;q=1.0, GZIP;q=0.5", true),
            ("br, gzip;q=0", false),
            ("gzip;q=0.000", false),
            ("gzip;q=x", false),
            ("identity", false),
            ("xgzip", false),
            ("*", false),
            ("", false),
        ] {
            for asset in ALL {
                let (length, is_gzip, text) = of(asset, encodings);
                // What is very short would only get longer.
                let is_long = asset.text.len() > 1000;
                assert!(is_gzip == (expected && is_long) || !is_long, "{encodings}");
                assert!(text == asset.text && is_gzip == (length < text.len()), "{encodings}");
            }
        }
    }

    #[test]
    fn a_first_look_weighs_little() {
        let weight = |encodings| ALL.map(|asset| of(asset, encodings).0).iter().sum::<usize>();
        let [plain, gzip] = ["", "gzip"].map(weight);
        println!("{plain} bytes, by gzip {gzip}");
        assert!(plain < 80 << 10 && gzip < 25 << 10, "{plain} {gzip}");
    }
}
