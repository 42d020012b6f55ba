//! Texts that are too long to be at hand: they are read while they pass by.

use super::Session;
use crate::session::ids::Directory;
use crate::session::portable::Portable;
use crate::wire::packet::{Header, MAX_PAYLOAD};

impl Session {
    /// The text of the command that was asked last begins there, and is not at hand.
    pub(super) fn begin_rest(&mut self, header: Header, text_at: Option<usize>) {
        if let (Some(portable), Some(at)) = (&mut self.portable, text_at)
            && header.length < MAX_PAYLOAD
        {
            portable.edit(Portable::mark, |portable| portable.begin_rest(at, header.length));
        }
    }

    /// These bytes of the client's are to be judged next.
    #[inline]
    pub(super) fn read_on(&mut self, bytes: &[u8], directory: &dyn Directory) {
        if self.portable.as_ref().is_some_and(|portable| portable.awaits_rest()) {
            self.read_rest(bytes, directory);
        }
    }

    #[cold]
    fn read_rest(&mut self, bytes: &[u8], directory: &dyn Directory) {
        let rest = self.conversation.front.rest_of_packet();
        let link = self.conversation.link_mut(self.conversation.current);
        let Some(portable) = &mut self.portable else { return };
        let programs = directory.programs();
        portable
            .edit(Portable::mark, |portable| portable.handle_rest((bytes, rest), programs, link));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::machine::tests::Bench;
    use crate::session::portable::LoggedInAs;
    use crate::session::snapshot::SessionSnapshot;
    use crate::wire::capability as cap;
    use crate::wire::packet::packet;

    const OK: [u8; 7] = [0, 1, 0, 2, 0, 0, 0];

    #[derive(Clone, Copy, PartialEq)]
    enum Restart {
        Never,
        HalfWay,
    }

    /// Whether a session stays where it is that has asked this, in pieces of this length.
    fn is_kept_by(payload: &[u8], piece: usize, restart: Restart) -> bool {
        let mut bench = Bench::new(cap::QUERY_ATTRIBUTES, 0);
        bench.session.follow(LoggedInAs::default());
        let bytes = packet(0, payload);
        for (at, piece) in bytes.chunks(piece).enumerate() {
            if restart == Restart::HalfWay && at == bytes.len() / piece.len() / 2 {
                let told = serde_json::to_vec(&SessionSnapshot::from(bench.session));
                let read = serde_json::from_slice::<SessionSnapshot>(&told.expect("it is told"));
                bench.session = read.expect("and read").into();
            }
            bench.client(piece);
        }
        assert_eq!(bench.passed[0], bytes, "as it came");
        bench.answers(&[&OK]).asks(b"\x0E").answers(&[&OK]);
        bench.session.portable().is_some_and(Portable::is_pinned)
    }

    #[test]
    fn long_lists_are_read_to_their_end() {
        let rows = ", (1, 'x')".repeat(3000);
        // No attributes, or one of which the name is empty.
        let attribute = [&[1, 1, 0][..], &[1, 0xFD, 0, 0, 1, b'('][..]].concat();
        for (attributes, tail, is_kept) in [
            (&[0, 1][..], "", false),
            (&attribute[..], "", false),
            (&[0, 1], ", (f(1))", true),
            (&[0, 1], "; CALL p()", true),
            (&[0, 1], ", ('open", true),
        ] {
            let text = ["INSERT INTO t VALUES (0, 'a')", &rows, tail].concat();
            let payload = [b"\x03", attributes, text.as_bytes()].concat();
            for piece in [100, 9000, payload.len() + 4] {
                let kept = is_kept_by(&payload, piece, Restart::Never);
                assert_eq!(kept, is_kept, "{tail:?} by {piece}");
            }
            assert!(is_kept_by(&payload, 100, Restart::HalfWay), "of the rest nothing is known");
        }
    }
}
