//! Every kind of header, every way to spoil one, and the laws that hold for all.

use proptest::prelude::*;

use super::*;

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = (rest.len() as u16).to_be_bytes();
    [SIGNATURE_V2, &[command, family], &length, rest].concat()
}

fn tcp(source: &str, destination: &str) -> Header {
    let address = |text: &str| text.parse().expect("an address");
    Header::Tcp(Route { source: address(source), destination: address(destination) })
}

const INET: &[u8] = &[10, 1, 2, 3, 10, 9, 8, 7, 0xD4, 0x31, 0x0C, 0xEA];

fn with_tlvs(tlvs: &[u8]) -> Vec<u8> {
    v2(0x21, 0x11, &[INET, tlvs].concat())
}

/// A header with its own checksum in a TLV, and another TLV behind it.
fn checked() -> Vec<u8> {
    let mut header = with_tlvs(b"\x03\0\x04\0\0\0\0\x04\0\x02\0\0");
    let sum = crc32c(&header).to_be_bytes();
    header[FIXED_V2 + 15..FIXED_V2 + 19].copy_from_slice(&sum);
    header
}

#[test]
fn headers_that_are_understood() {
    let inet = tcp("10.1.2.3:54321", "10.9.8.7:3306");
    let mut inet6 = [0; 36];
    inet6[15] = 1;
    inet6[31] = 2;
    inet6[32..].copy_from_slice(&[0xFF, 0xFF, 0, 0]);
    let table: &[(&[u8], Header)] = &[
        (b"PROXY TCP4 10.1.2.3 10.9.8.7 54321 3306\r\n", inet),
        (
            b"PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n",
            tcp("255.255.255.255:65535", "0.0.0.0:0"),
        ),
        (b"PROXY TCP6 ::1 fe80::2:3 1 2\r\n", tcp("[::1]:1", "[fe80::2:3]:2")),
        (b"PROXY TCP6 ::ffff:1.2.3.4 ::1 1 2\r\n", tcp("[::ffff:1.2.3.4]:1", "[::1]:2")),
        (b"PROXY UNKNOWN\r\n", Header::Own),
        (b"PROXY UNKNOWN ffff::ffff whatever \xEF\xBF\xBD\r\n", Header::Own),
        (&v2(0x21, 0x11, INET), inet),
        (&v2(0x21, 0x21, &inet6), tcp("[::1]:65535", "[::2]:0")),
        (&v2(0x21, 0x31, &[7; 216]), Header::Unix),
        (&v2(0x21, 0x00, b""), Header::Own),
        (&v2(0x21, 0x00, &[9; 77]), Header::Own),
        // LOCAL: whatever else it says.
        (&v2(0x20, 0x00, b""), Header::Own),
        (&v2(0x20, 0xFF, &[9; 5]), Header::Own),
        (&with_tlvs(b"\x04\0\0\xEA\0\x03abc"), inet),
        (&checked(), inet),
        (&v2(0x20, 0x11, &[0; LONGEST_V2 - FIXED_V2]), Header::Own),
    ];
    for (bytes, header) in table {
        let name = String::from_utf8_lossy(bytes);
        assert_eq!(parse(bytes), Ok(Opening::Header(*header, bytes.len())), "{name:?}");
        let followed = [bytes, &b"\r\nPROXY more"[..]].concat();
        assert_eq!(parse(&followed), parse(bytes), "{name:?} with bytes behind it");
    }
}

/// The corpus of spoilt headers, each with the answer it must get.
#[test]
fn headers_that_are_refused() {
    let long = [b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat();
    let mut wrong_sum = checked();
    wrong_sum[FIXED_V2 + 4] ^= 1;
    let table: &[(&[u8], Malformed)] = &[
        (b"PROXY TCP4 10.1.2.3 10.9.8.7 54321\r\n", Malformed::Line),
        (b"PROXY TCP4 10.1.2.3 10.9.8.7 54321 3306 1\r\n", Malformed::Line),
        (b"PROXY TCP4 10.1.2.3 10.9.8.7 54321 3306 \r\n", Malformed::Line),
        (b"PROXY TCP4  10.1.2.3 10.9.8.7 54321 3306\r\n", Malformed::Line),
        (b"PROXY TCP4 10.1.2.3\t10.9.8.7 54321 3306\r\n", Malformed::Line),
        (b"PROXY TCP4 10.1.2.300 10.9.8.7 54321 3306\r\n", Malformed::Line),
        (b"PROXY TCP4 10.1.2 10.9.8.7 54321 3306\r\n", Malformed::Line),
        (b"PROXY TCP4 010.1.2.3 10.9.8.7 54321 3306\r\n", Malformed::Line),
        (b"PROXY TCP4 ::1 ::1 54321 3306\r\n", Malformed::Line),
        (b"PROXY TCP6 10.1.2.3 10.9.8.7 54321 3306\r\n", Malformed::Line),
        (b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", Malformed::Line),
        (b"PROXY TCP4 10.1.2.3 10.9.8.7 65536 3306\r\n", Malformed::Line),
        (b"PROXY TCP4 10.1.2.3 10.9.8.7 -1 3306\r\n", Malformed::Line),
        (b"PROXY TCP4 10.1.2.3 10.9.8.7 +1 3306\r\n", Malformed::Line),
        (b"PROXY TCP4 10.1.2.3 10.9.8.7 01 3306\r\n", Malformed::Line),
        (b"PROXY tcp4 10.1.2.3 10.9.8.7 1 2\r\n", Malformed::Line),
        (b"PROXY UDP4 10.1.2.3 10.9.8.7 1 2\r\n", Malformed::Line),
        (b"PROXY \xFF\xFE\r\n", Malformed::Line),
        (b"PROXY \r\n", Malformed::Line),
        (b"PROXY  UNKNOWN\r\n", Malformed::Line),
        (b"PROXY TCP4 10.1.2.3 10.9.8.7 1 2\n\r\n", Malformed::Line),
        (&long, Malformed::Endless),
        (&v2(0x22, 0x11, INET), Malformed::Command(0x22)),
        (&v2(0x11, 0x11, INET), Malformed::Command(0x11)),
        (&v2(0x00, 0x11, INET), Malformed::Command(0x00)),
        (&v2(0x21, 0x12, INET), Malformed::Family(0x12)),
        (&v2(0x21, 0x10, INET), Malformed::Family(0x10)),
        (&v2(0x21, 0x41, INET), Malformed::Family(0x41)),
        (&v2(0x21, 0x11, &INET[..11]), Malformed::Short),
        (&v2(0x21, 0x11, b""), Malformed::Short),
        (&v2(0x21, 0x21, &[0; 35]), Malformed::Short),
        (&v2(0x21, 0x31, &[0; 215]), Malformed::Short),
        (&with_tlvs(b"\x04"), Malformed::Short),
        (&with_tlvs(b"\x04\0"), Malformed::Short),
        (&with_tlvs(b"\x04\0\x05abcd"), Malformed::Short),
        (&with_tlvs(b"\x03\0\x04\0\0\0\0"), Malformed::Checksum),
        (&with_tlvs(b"\x03\0\x02\0\0"), Malformed::Checksum),
        (&wrong_sum, Malformed::Checksum),
        (&v2(0x21, 0x11, &[0; LONGEST_V2 - FIXED_V2 + 1]), Malformed::Long(LONGEST_V2 + 1)),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xFF\xFF", Malformed::Long(65551)),
    ];
    for (bytes, refused) in table {
        assert_eq!(parse(bytes).as_ref(), Err(refused), "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn what_is_no_header() {
    // A login response and an SSLRequest have the number 1, where a header has `X` or LF; and they
    // are shorter than a header's first bytes would say.
    let table: [&[u8]; 9] = [
        b"\x20\0\0\x01\x85\xA6",
        b"PRO\x01\x85\xA6",
        b"\r\n\r\x01\x85\xA6",
        b"PROXYTCP4 ",
        b"proxy UNKNOWN\r\n",
        b"\r\n\r\n\0\r\nQUIT\r",
        b"\r\n\r\n\r\n",
        b"GET / HTTP/1.1",
        b"\x16\x03\x01",
    ];
    for bytes in table {
        assert_eq!(parse(bytes), Ok(Opening::Other), "{:?}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(parse(b""), Ok(Opening::More(6)));
}

#[test]
fn the_checksum_is_crc_32c() {
    assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
}

#[test]
fn ends_of_two_families_are_written_as_one() {
    let address = |text: &str| text.parse().expect("an address");
    let route = Route { source: address("1.2.3.4:5"), destination: address("[::1]:6") };
    let mapped = tcp("[::ffff:1.2.3.4]:5", "[::1]:6");
    for bytes in [encode_v1(Some(route)), encode_v2(Some(route))] {
        assert_eq!(parse(&bytes), Ok(Opening::Header(mapped, bytes.len())));
    }
}

/// Reads as a careful reader does: never a byte more than is the header's for certain.
fn read_carefully(stream: &[u8]) -> (Result<Opening, Malformed>, usize) {
    let mut have = 0;
    loop {
        match parse(&stream[..have]) {
            Ok(Opening::More(n)) if have < stream.len() => have = (have + n).min(stream.len()),
            other => return (other, have),
        }
    }
}

fn any_route() -> impl Strategy<Value = Route> {
    let v4 = (any::<[u8; 4]>(), any::<[u8; 4]>())
        .prop_map(|(from, to)| (IpAddr::from(from), IpAddr::from(to)));
    let v6 = (any::<[u8; 16]>(), any::<[u8; 16]>())
        .prop_map(|(from, to)| (IpAddr::from(from), IpAddr::from(to)));
    let ends = prop_oneof![v4, v6];
    (ends, any::<u16>(), any::<u16>()).prop_map(|((from, to), source, destination)| Route {
        source: SocketAddr::new(from, source),
        destination: SocketAddr::new(to, destination),
    })
}

/// Headers, spoilt headers, and anything.
fn any_stream() -> impl Strategy<Value = Vec<u8>> {
    let route = proptest::option::of(any_route());
    let sound = (route, any::<bool>()).prop_map(|(route, text)| match text {
        true => encode_v1(route),
        false => encode_v2(route),
    });
    let sound = prop_oneof![sound, Just(checked())];
    let change = (any::<proptest::sample::Index>(), any::<u8>());
    let spoilt = (sound.clone(), change).prop_map(|(mut bytes, (at, byte))| {
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes
    });
    let stream = prop_oneof![sound, spoilt, proptest::collection::vec(any::<u8>(), 0..40)];
    (stream, proptest::collection::vec(any::<u8>(), 0..20))
        .prop_map(|(stream, behind)| [stream, behind].concat())
}

proptest! {
    #[test]
    fn what_is_encoded_is_understood(route in any_route()) {
        for bytes in [encode_v1(Some(route)), encode_v2(Some(route))] {
            let expected = Opening::Header(Header::Tcp(route), bytes.len());
            prop_assert_eq!(parse(&bytes), Ok(expected));
        }
    }

    #[test]
    fn any_prefix_says_the_same_or_waits(stream in any_stream()) {
        let whole = parse(&stream);
        for cut in 0..stream.len() {
            let part = parse(&stream[..cut]);
            let waits = matches!(part, Ok(Opening::More(1..)));
            prop_assert!(waits || part == whole, "{} of {:?}: {:?}", cut, stream, part);
        }
    }

    #[test]
    fn a_careful_reader_takes_nothing_from_behind(stream in any_stream()) {
        let (answer, have) = read_carefully(&stream);
        prop_assert_eq!(&answer, &parse(&stream[..have]));
        if let Ok(Opening::Header(_, length)) = answer {
            prop_assert_eq!(length, have);
        }
        if !matches!(answer, Ok(Opening::More(_))) {
            prop_assert_eq!(answer, parse(&stream));
        }
    }
}

#[test]
fn a_connection_of_our_own_says_so() {
    for bytes in [encode_v1(None), encode_v2(None)] {
        assert_eq!(parse(&bytes), Ok(Opening::Header(Header::Own, bytes.len())));
    }
}
