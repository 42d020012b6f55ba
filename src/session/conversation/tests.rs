//! What a conversation makes of packets, whatever pieces they come in.

use super::*;
use crate::wire::authentication::CLEAR;
use crate::wire::capability as cap;
use crate::wire::command::code;
use crate::wire::packet::packet;

/// A session that has asked for rows.
fn asked() -> Conversation {
    let mut conversation = Conversation::logging_in(Dialect::new(cap::DEPRECATE_EOF, 0));
    feed(&mut conversation, &packet(2, &[0, 0, 0, 2, 0, 0, 0]));
    let query = packet(0, b"\x03SELECT c FROM t");
    let mut at = 0;
    while conversation.handle_client(&query, &mut at).is_some() {}
    conversation
}

/// Bytes that were consumed.
fn feed(conversation: &mut Conversation, bytes: &[u8]) -> usize {
    let mut at = 0;
    while conversation.handle_server(LinkId::HOME, bytes, &mut at).is_some() {}
    at
}

/// MySQL announces the OK behind OUT parameters in front of them, and not in their last EOF.
#[test]
fn out_parameters_are_followed_by_another_result() {
    let mut conversation = Conversation::logging_in(Dialect::default());
    feed(&mut conversation, &packet(2, &[0, 0, 0, 2, 0, 0, 0]));
    let execute = packet(0, &[code::STMT_EXECUTE, 1, 0, 0, 0, 0, 1, 0, 0, 0]);
    let mut at = 0;
    while conversation.handle_client(&execute, &mut at).is_some() {}
    let definition = b"\x03def\x00\x00\x00\x01b\x00\x0c\x3f\0\x0b\0\0\0\x03\0\0\0\0\0";
    for (sequence, payload) in [
        (1, &[1][..]),
        (2, definition),
        (3, &[0xFE, 0, 0, 0x0A, 0x10]),
        (4, &[0, 0, 42, 0, 0, 0]),
        (5, &[0xFE, 0, 0, 0x02, 0]),
    ] {
        feed(&mut conversation, &packet(sequence, payload));
        assert!(!conversation.is_idle(), "packet {sequence}");
    }
    feed(&mut conversation, &packet(6, &[0, 0, 0, 2, 0, 0, 0]));
    assert_eq!(conversation.turn(), Turn::Command);
    assert!(conversation.is_idle());
}

#[test]
fn rows_in_any_two_pieces_lead_to_the_same_state() {
    let answer = [
        packet(1, &[1]),
        packet(2, b"\x03def\x00\x00\x00\x01c\x00\x0c\x21\0\x68\x01\0\0\xfe\x01\0\0\0\0"),
        packet(3, b"\x03abc"),
        packet(4, &[0xFB]),
        packet(5, &[0]),
        packet(6, &[b"\xFC\x2C\x01".as_slice(), &[b'x'; 300]].concat()),
        packet(7, b"\x01a"),
    ]
    .concat();
    let end = packet(8, &[0xFE, 0, 0, 2, 0, 0, 0]);
    for cut in 0..=answer.len() {
        let mut conversation = asked();
        let taken = feed(&mut conversation, &answer[..cut]);
        assert_eq!(taken + feed(&mut conversation, &answer[taken..]), answer.len());
        assert_eq!(conversation.injection_sequence(), Some(8), "cut at {cut}");
        feed(&mut conversation, &end);
        assert!(conversation.is_idle(), "cut at {cut}");
    }
}

/// Where both connections are plain, a password that is asked for in clear is the caller's
/// affair: as the first thing in an exchange or later, however the bytes come.
#[test]
fn questions_for_passwords_in_clear_are_held() {
    let switch = |name: &[u8], number| packet(number, &[b"\xfe", name, b"\0"].concat());
    let native = switch(b"mysql_native_password", 1);
    for name in [&b"mysql_clear_password"[..], b"mysql_clear", b"mysql_clearly"] {
        let is_clear = name == CLEAR;
        for (before, number) in [(&[][..], 1), (&native[..], 3)] {
            let mut conversation = asked();
            feed(&mut conversation, &packet(1, &[0, 0, 0, 2, 0, 0, 0]));
            conversation.link_mut(LinkId::HOME).hold_exchanges(Held::InClear);
            let (mut said, mut at) = (packet(0, b"\x11me\0\0p\0"), 0);
            while conversation.handle_client(&said, &mut at).is_some() {}
            feed(&mut conversation, before);
            if !before.is_empty() {
                (said, at) = (packet(2, b"answer"), 0);
                while conversation.handle_client(&said, &mut at).is_some() {}
                assert_eq!(at, said.len());
            }
            let asked = switch(name, number);
            let taken = (1..=asked.len()).map(|end| {
                let mut at = 0;
                let asked = &asked[..end];
                while conversation.handle_server(LinkId::HOME, asked, &mut at).is_some() {}
                at
            });
            // What is consumed is not handed in again.
            let taken = taken.take_while(|at| *at == 0).count();
            assert_eq!(taken == asked.len(), is_clear, "{}", name.escape_ascii());
            assert_eq!(conversation.is_exchange_due(), is_clear);
            if is_clear {
                assert_eq!(conversation.injection_sequence(), Some(number));
            }
        }
    }
}

/// A session between two commands, whose home is asked two things by us.
fn on_errand() -> Conversation {
    let mut conversation = Conversation::logging_in(Dialect::new(cap::DEPRECATE_EOF, 0));
    assert!(!conversation.begin_errand(), "its log-in is under way");
    feed(&mut conversation, &packet(2, &[0, 0, 0, 2, 0, 0, 0]));
    let reader = conversation.add(Link::idle(Dialect::default(), ServerStatus::Unknown));
    assert!(conversation.turn_to(reader) && conversation.begin_errand());
    assert_eq!(conversation.current(), LinkId::HOME);
    conversation.ask_errand(Reply::ResultSets);
    conversation.ask_errand(Reply::ResultSets);
    conversation
}

/// A row, then an error, with warnings and other flags than before.
fn told() -> Vec<u8> {
    [
        packet(1, &[1]),
        packet(2, b"\x03def\x00\x00\x00\x01c\x00\x0c\x21\0\x68\x01\0\0\xfe\x01\0\0\0\0"),
        packet(3, b"\x03abc"),
        packet(4, &[0xFE, 0, 0, 0x23, 0, 7, 0]),
        packet(1, b"\xFF\x48\x04#42000No"),
    ]
    .concat()
}

#[test]
fn what_is_heard_on_an_errand_leaves_the_session_as_it_was() {
    let told = told();
    for cut in 0..=told.len() {
        let mut conversation = on_errand();
        let (status, reader) = (conversation.status(), LinkId::at(1));
        let mut heard = conversation.hear_errand(&told[..cut]).expect("that is an answer");
        let is_over = conversation.clone().end_errand(reader);
        assert_eq!(is_over, cut == told.len(), "{cut}");
        heard += conversation.hear_errand(&told[heard..]).expect("that is one, too");
        assert_eq!(heard, told.len(), "{cut}");
        assert!(conversation.is_on_errand() && conversation.end_errand(reader), "{cut}");
        assert_eq!((conversation.status(), conversation.current()), (status, reader), "{cut}");
        assert!(conversation.is_idle() && !conversation.is_on_errand(), "{cut}");
    }
}

#[test]
fn an_errand_hears_its_answers_and_no_more() {
    let mut conversation = on_errand();
    let all = [told(), packet(0, b"\xFF\x48\x04#08S01Bye")].concat();
    assert_eq!(conversation.hear_errand(&all), Some(told().len()));
    let mut conversation = on_errand();
    assert_eq!(conversation.hear_errand(&packet(1, b"\xFBfile")), None, "a file is wanted");
    conversation.abandon_errand();
    assert!(conversation.is_idle() && !conversation.is_on_errand());
}
