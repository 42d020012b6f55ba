//! ERR_Packet: "ERR packets sent before the handshake have no sql_state".

/// The payload. Its state is the five characters of an SQLSTATE, if the client is to get one.
pub fn err(code: u16, state: Option<&str>, message: &str) -> Vec<u8> {
    let [low, high] = code.to_le_bytes();
    let mut out = Vec::with_capacity(9 + message.len());
    out.extend([0xFF, low, high]);
    if let Some(state) = state {
        out.push(b'#');
        out.extend(state.as_bytes());
    }
    out.extend(message.as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_code_state_and_text() {
        assert_eq!(err(1203, Some("42000"), "Too many"), b"\xff\xb3\x04#42000Too many");
    }

    #[test]
    fn before_the_greeting_there_is_no_sqlstate() {
        assert_eq!(err(1043, None, "Bad"), b"\xff\x13\x04Bad");
    }
}
