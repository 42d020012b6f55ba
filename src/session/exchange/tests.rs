//! Exchanges as servers and clients have them, over legs of every kind.

use proptest::prelude::*;

use super::*;
use crate::wire::authentication::NATIVE;

/// Not secure, the client's, the server's, both.
const LEGS: [Legs; 4] = [
    Legs { client: false, server: false },
    Legs { client: true, server: false },
    Legs { client: false, server: true },
    Legs { client: true, server: true },
];

const PASSWORD: &[u8] = b"swordfish\0";
const OURS: &[u8] = b"sealed for us: ";
const THEIRS: &[u8] = b"sealed for them: ";

/// RSA that can be read: who has put what under which key.
struct Plain {
    has_own: bool,
}

impl Rsa for Plain {
    type Key = ();

    fn parse(&self, pem: &[u8]) -> Option<()> {
        (pem == b"their key").then_some(())
    }

    fn encrypt(&self, (): &(), password: &[u8], _: &[u8]) -> Option<Secret> {
        (password.len() < 100).then(|| Zeroizing::new([THEIRS, &hidden(password)].concat()))
    }

    fn own_pem(&self) -> Option<&str> {
        self.has_own.then_some("our key")
    }

    fn decrypt(&self, sent: &[u8], _: &[u8]) -> Option<Secret> {
        sent.strip_prefix(OURS).map(|sent| Zeroizing::new(hidden(sent)))
    }
}

/// So that a password is not found where it is sealed.
fn hidden(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ 0xA5).collect()
}

/// What one says, and what is to be done then.
enum Line {
    Server(Vec<u8>, Act),
    Client(Vec<u8>, Act),
    OwnKey(Act),
}

fn to_client(payload: &[u8]) -> Act {
    Act::TellClient(payload.to_vec())
}

fn to_server(payload: &[u8]) -> Act {
    Act::TellServer(secret(payload))
}

fn play(name: &str, legs: Legs, begun: &[u8], lines: Vec<Line>) -> Exchange<()> {
    let mut exchange = Exchange::new(legs).begun(begun, b"challenge");
    let mut rsa = Plain { has_own: false };
    for (at, line) in lines.into_iter().enumerate() {
        let (found, expected) = match line {
            Line::Server(payload, act) => (exchange.handle_server(&payload, &rsa), act),
            Line::Client(payload, act) => {
                assert!(exchange.awaits_client(), "{name}, {legs:?}, line {at}");
                (exchange.handle_client(Zeroizing::new(payload), &rsa), act)
            }
            Line::OwnKey(act) => {
                rsa.has_own = true;
                (exchange.handle_own_key(&rsa), act)
            }
        };
        assert_eq!(found, Ok(expected), "{name}, {legs:?}, line {at}");
    }
    exchange
}

fn passed_to_client(payload: &[u8]) -> Line {
    Line::Server(payload.to_vec(), to_client(payload))
}

fn passed_to_server(payload: &[u8]) -> Line {
    Line::Client(payload.to_vec(), to_server(payload))
}

fn switch(plugin: &[u8]) -> Vec<u8> {
    [b"\xfe", plugin, b"\0abcdefghijklmnopqrst\0"].concat()
}

fn ok() -> Line {
    Line::Server(vec![0, 0, 0, 2, 0, 0, 0], Act::Settle)
}

/// Of all plugins but two a server's and a client's words are the same over any legs.
#[test]
fn answers_to_challenges_travel_as_they_are() {
    for legs in LEGS {
        for (plugin, length) in [(NATIVE, 20), (CACHING_SHA2, 32)] {
            let name = String::from_utf8_lossy(plugin);
            let mut lines =
                vec![passed_to_client(&switch(plugin)), passed_to_server(&vec![7; length])];
            if plugin == CACHING_SHA2 {
                lines.push(passed_to_client(&more_data(FAST_OK)));
            }
            lines.push(ok());
            let exchange = play(&name, legs, b"", lines);
            assert_eq!(exchange.proof(), Proof::Given);
        }
        let nothing = vec![passed_to_client(&switch(NATIVE)), passed_to_server(b""), ok()];
        assert_eq!(play("no password", legs, b"", nothing).proof(), Proof::None);
        assert_eq!(play("not asked", legs, NATIVE, vec![ok()]).proof(), Proof::None);
    }
}

/// A server whose cache is cold wants the password itself.
#[test]
fn a_cold_cache_is_warmed_over_any_legs() {
    let full = more_data(FULL);
    let sealed = [OURS, &hidden(PASSWORD)].concat();
    let for_them = [THEIRS, &hidden(PASSWORD)].concat();
    for legs in LEGS {
        let lines = match (legs.client, legs.server) {
            (true, true) => vec![passed_to_client(&full), passed_to_server(PASSWORD), ok()],
            // Between themselves.
            (false, false) => vec![
                passed_to_client(&full),
                passed_to_server(CACHING_SHA2_KEY),
                passed_to_client(&more_data(b"their key")),
                passed_to_server(&for_them),
                ok(),
            ],
            (true, false) => vec![
                Line::Server(full.clone(), to_server(CACHING_SHA2_KEY)),
                Line::Server(more_data(b"their key"), to_client(&full)),
                Line::Client(PASSWORD.to_vec(), to_server(&for_them)),
                ok(),
            ],
            (false, true) => vec![
                passed_to_client(&full),
                Line::Client(CACHING_SHA2_KEY.to_vec(), Act::MakeOwnKey),
                Line::OwnKey(to_client(&more_data(b"our key"))),
                Line::Client(sealed.clone(), to_server(PASSWORD)),
                ok(),
            ],
        };
        play("cold", legs, CACHING_SHA2, lines);
    }
}

#[test]
fn sha256_is_turned_where_one_leg_is_secure() {
    let sealed = [OURS, &hidden(PASSWORD)].concat();
    let for_them = [THEIRS, &hidden(PASSWORD)].concat();
    let ask = passed_to_client(&switch(SHA256));
    play(
        "to RSA",
        LEGS[1],
        b"",
        vec![
            ask,
            Line::Client(PASSWORD.to_vec(), to_server(SHA256_KEY)),
            Line::Server(more_data(b"their key"), to_server(&for_them)),
            ok(),
        ],
    );
    play(
        "from RSA",
        LEGS[2],
        b"",
        vec![
            passed_to_client(&switch(SHA256)),
            Line::Client(SHA256_KEY.to_vec(), Act::MakeOwnKey),
            Line::OwnKey(to_client(&more_data(b"our key"))),
            Line::Client(sealed, to_server(PASSWORD)),
            ok(),
        ],
    );
}

#[test]
fn what_cannot_go_on_says_why() {
    let rsa = Plain { has_own: true };
    let after = |legs, plugin: &[u8], told: &[u8]| {
        let mut exchange = Exchange::new(legs).begun(plugin, b"challenge");
        (exchange.handle_server(told, &rsa), exchange)
    };
    for (legs, plugin, is_refused) in [
        (LEGS[0], CLEAR, true),
        (LEGS[1], CLEAR, true),
        (LEGS[2], CLEAR, true),
        (LEGS[3], CLEAR, false),
        (LEGS[0], DIALOG, false),
        (LEGS[1], DIALOG, true),
        (LEGS[2], DIALOG, false),
    ] {
        let broken =
            Broken::ClearPassword { plugin: plugin.to_vec(), is_client_secure: legs.client };
        let told = switch(plugin);
        let expected = if is_refused { Err(broken) } else { Ok(to_client(&told)) };
        assert_eq!(after(legs, b"", &told).0, expected, "{legs:?}");
    }
    // A server's verdict in place of its key: the client is not asked for its password.
    for told in [&b"\xff\x15\x04#28000no"[..], &more_data(b"no key"), &[0, 0, 0]] {
        let (act, mut exchange) = after(LEGS[1], CACHING_SHA2, &more_data(FULL));
        assert_eq!(act, Ok(to_server(CACHING_SHA2_KEY)));
        assert!(!exchange.awaits_client() && exchange.awaits_server());
        assert_eq!(exchange.handle_server(told, &rsa), Err(Broken::NoKey));
    }
    let (_, mut exchange) = after(LEGS[1], CACHING_SHA2, &more_data(FULL));
    exchange.handle_server(&more_data(b"their key"), &rsa).expect("it is a key");
    let long = exchange.handle_client(Zeroizing::new(vec![b'x'; 100]), &rsa);
    assert_eq!(long, Err(Broken::TooLong));
    let (_, mut exchange) = after(LEGS[2], CACHING_SHA2, &more_data(FULL));
    let foreign = exchange.handle_client(secret(b"sealed for another"), &rsa);
    assert_eq!(foreign, Err(Broken::ForeignKey));
}

#[test]
fn first_answers_that_may_go_on() {
    let (native, sha2) = ([7; 20], [7; 32]);
    let cases: [(&[u8], &[u8], [bool; 4]); 12] = [
        (NATIVE, &native, [true; 4]),
        (CACHING_SHA2, &sha2, [true; 4]),
        (b"", &native, [true; 4]),
        (SHA256, PASSWORD, [true, false, false, true]),
        (SHA256, b"\x01", [true, false, false, true]),
        (SHA256, b"\0", [true; 4]),
        (CACHING_SHA2, PASSWORD, [true, false, true, true]),
        (CLEAR, PASSWORD, [false, false, false, true]),
        (CLEAR, b"", [false, false, false, true]),
        (DIALOG, PASSWORD, [true, false, true, true]),
        (DIALOG, b"", [true, false, true, true]),
        (b"whatever", PASSWORD, [true, false, true, true]),
    ];
    for (plugin, answer, expected) in cases {
        let found = LEGS.map(|legs| legs.may_begin(plugin, answer));
        assert_eq!(found, expected, "{}: {answer:?}", String::from_utf8_lossy(plugin));
    }
}

/// Packets that mean something to somebody, and others.
fn packets() -> impl Strategy<Value = Vec<u8>> {
    let plugins = [NATIVE, CACHING_SHA2, SHA256, CLEAR, DIALOG];
    prop_oneof![
        prop::sample::select(plugins.map(switch).to_vec()),
        prop::sample::select(vec![
            more_data(FAST_OK),
            more_data(FULL),
            more_data(b"their key"),
            more_data(b"no key"),
            b"\x02Password: ".to_vec(),
        ]),
        prop::collection::vec(any::<u8>(), 0..6),
    ]
}

proptest! {
    /// Whatever a server says, the password of a client that trusts its secure leg is in nothing
    /// that an insecure server hears.
    #[test]
    fn no_password_in_clear_leaves_a_secure_leg(told in prop::collection::vec(packets(), 1..12)) {
        let rsa = Plain { has_own: true };
        let mut exchange = Exchange::new(LEGS[1]);
        for payload in told {
            let Ok(act) = exchange.handle_server(&payload, &rsa) else { break };
            let said = match &act {
                Act::Settle => break,
                // A client says it in clear only where a plugin does.
                Act::TellClient(_) if exchange.awaits_client() => {
                    let is_clear =
                        exchange.plugin == SHA256 || matches!(exchange.state, State::Clear(()));
                    let answer = if is_clear { PASSWORD.to_vec() } else { vec![7; 20] };
                    exchange.handle_client(Zeroizing::new(answer), &rsa)
                }
                _ => Ok(act),
            };
            if let Ok(Act::TellServer(heard)) = said {
                let is_in = heard.windows(PASSWORD.len()).any(|window| window == PASSWORD);
                prop_assert!(!is_in, "{}", heard.escape_ascii());
            }
        }
    }
}

/// Behind FAST_OK clients expect the end, so it waits for what else is asked of them.
#[test]
fn the_word_that_an_answer_was_right_can_be_held() {
    let rsa = Plain { has_own: false };
    let exchange = || Exchange::<()>::new(LEGS[0]).begun(CACHING_SHA2, b"challenge");
    let (fast_ok, ok) = (more_data(FAST_OK), [0, 0, 0, 2, 0, 0, 0]);
    let mut passed = exchange();
    assert_eq!(passed.handle_server(&fast_ok, &rsa), Ok(to_client(&fast_ok)));
    assert_eq!((passed.handle_server(&ok, &rsa), passed.holds_fast_ok()), (Ok(Act::Settle), false));
    let mut held = exchange().holding_fast_ok();
    assert_eq!((held.handle_server(&fast_ok, &rsa), held.awaits_client()), (Ok(Act::Wait), false));
    assert_eq!((held.handle_server(&ok, &rsa), held.holds_fast_ok()), (Ok(Act::Settle), true));
    // What a cold cache wants is asked at once.
    let mut cold = exchange().holding_fast_ok();
    let full = more_data(FULL);
    assert_eq!(cold.handle_server(&full, &rsa), Ok(to_client(&full)));
    assert!(cold.awaits_client() && !cold.holds_fast_ok());
}
