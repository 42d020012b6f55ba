//! An admin port that answers by a script: just enough of the protocol for the tests.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::port::AdminPort;
use crate::config::ServerAddress;

/// What the port does at the next command, or instead of waiting for one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// SHOW RESTART has this task_id, state and detail.
    Task(u64, &'static str, &'static str),
    /// RESTART is answered with OK and the id of a task.
    Accepted(u8),
    /// RESTART is answered with an error.
    Refused(&'static str),
    /// The connection ends.
    HangUp,
}

/// A listening port and its script.
pub(crate) struct FakeAdmin {
    port: u16,
}

impl FakeAdmin {
    /// Listens until the runtime of the test ends.
    pub(crate) async fn start(steps: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("127.0.0.1 has a free port");
        let port = listener.local_addr().expect("a listener has an address").port();
        tokio::spawn(async move {
            let mut steps = steps.into_iter();
            while let Ok((stream, _)) = listener.accept().await {
                let mut talk = Talk { stream, sequence: 0 };
                talk.log_in().await;
                while let Some(step) = steps.next()
                    && !matches!(step, Step::HangUp)
                {
                    talk.answer(step).await;
                }
            }
        });
        Self { port }
    }

    /// How to reach it.
    pub(crate) fn port(&self) -> AdminPort {
        let address = ServerAddress::Tcp { host: "127.0.0.1".into(), port: self.port };
        AdminPort::new(&address, "root", None, None)
    }
}

struct Talk {
    stream: TcpStream,
    sequence: u8,
}

impl Talk {
    async fn log_in(&mut self) {
        let mut greeting = b"\x0a5.7.0-fake\0\x01\0\0\0abcdefgh\0".to_vec();
        // PROTOCOL_41, SECURE_CONNECTION, PLUGIN_AUTH; utf8mb4; AUTOCOMMIT; 21 bytes of scramble.
        greeting.extend(b"\x00\x82\x2d\x02\0\x08\0\x15\0\0\0\0\0\0\0\0\0\0");
        greeting.extend(b"ijklmnopqrst\0mysql_native_password\0");
        self.send(&greeting).await;
        self.receive().await;
        self.send(b"\0\0\0\x02\0\0\0").await;
    }

    async fn answer(&mut self, step: Step) {
        let command = self.receive().await;
        let asked = String::from_utf8_lossy(command.get(1..).unwrap_or_default());
        match step {
            Step::Accepted(task) => {
                assert_eq!(asked, "RESTART");
                self.send(&[0, 0, task, 2, 0, 0, 0]).await;
            }
            Step::Refused(why) => {
                assert_eq!(asked, "RESTART");
                self.send(&[b"\xff\x51\x04#HY000", why.as_bytes()].concat()).await;
            }
            Step::Task(id, state, detail) => {
                assert_eq!(asked, "SHOW RESTART");
                let row = [id.to_string(), state.into(), detail.into()];
                self.send_rows(&["task_id", "state", "detail"], &row).await;
            }
            Step::HangUp => {}
        }
    }

    async fn send_rows(&mut self, columns: &[&str], row: &[String]) {
        self.send(&[columns.len() as u8]).await;
        for name in columns {
            let mut column = lengthened(&["def", "", "", "", name, ""]);
            column.extend(b"\x0c\x2d\0\xff\0\0\0\xfd\0\0\0\0\0");
            self.send(&column).await;
        }
        self.send(b"\xfe\0\0\x02\0").await;
        if !row.is_empty() {
            let row: Vec<&str> = row.iter().map(String::as_str).collect();
            self.send(&lengthened(&row)).await;
        }
        self.send(b"\xfe\0\0\x02\0").await;
    }

    async fn send(&mut self, payload: &[u8]) {
        let length = (payload.len() as u32).to_le_bytes();
        let header = [length[0], length[1], length[2], self.sequence];
        self.sequence = self.sequence.wrapping_add(1);
        let _ = self.stream.write_all(&[&header, payload].concat()).await;
    }

    /// The next packet; the client's QUIT and its end look like an empty one.
    async fn receive(&mut self) -> Vec<u8> {
        let mut header = [0; 4];
        if self.stream.read_exact(&mut header).await.is_err() {
            return vec![0];
        }
        self.sequence = header[3].wrapping_add(1);
        let length = u32::from_le_bytes([header[0], header[1], header[2], 0]);
        let mut payload = vec![0; length as usize];
        let _ = self.stream.read_exact(&mut payload).await;
        payload
    }
}

fn lengthened(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| [&[text.len() as u8], text.as_bytes()].concat()).collect()
}
