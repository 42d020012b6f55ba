//! Literals and names that mean the same whatever sql_mode and character sets are in force.
//!
//! Invariant: nothing here is ended, changed or read otherwise because of NO_BACKSLASH_ESCAPES,
//! ANSI_QUOTES, EMPTY_STRING_IS_NULL or a client's character set.

/// A name in backquotes, which no mode changes.
pub fn put_name(out: &mut Vec<u8>, name: &[u8]) {
    out.push(b'`');
    for &byte in name {
        if byte == b'`' {
            out.push(b'`');
        }
        out.push(byte);
    }
    out.push(b'`');
}

/// `X'…'`.
pub fn put_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend(b"X'");
    for &byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
    out.push(b'\'');
}

/// A string literal in UTF-8: in quotes where nothing in it could be taken otherwise.
pub fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    let is_plain = |&byte: &u8| matches!(byte, b' '..=b'~') && byte != b'\'' && byte != b'\\';
    // Without it the literal is converted to character_set_connection, and few variables can be
    // set in ucs2.
    out.extend(b"_utf8mb4 ");
    // An empty literal in quotes is NULL under EMPTY_STRING_IS_NULL, one in digits is not.
    if text.is_empty() || !text.iter().all(is_plain) {
        return put_hex(out, text);
    }
    out.push(b'\'');
    out.extend(text);
    out.push(b'\'');
}

/// How a question to a session begins: MySQL's max_execution_time may be a millisecond. To others
/// it is a comment.
pub const SELECT: &str = "SELECT /*+ MAX_EXECUTION_TIME(60000) */ ";

/// How one to MariaDB begins whose answer must be whole: under a small max_join_size,
/// sql_select_limit or max_statement_time, tables of information_schema are refused, or cut without
/// a word. max_join_size itself is left alone: when it is put back, sql_big_selects is not what it
/// was.
pub const UNCUT: &str = "SET STATEMENT sql_select_limit=DEFAULT, max_statement_time=0, \
    sql_big_selects=1 FOR ";

/// A SELECT of expressions, one row, as UTF-8 that no character set of the session changes.
///
/// MariaDB converts numbers too to character_set_results, and MySQL's CAST of a number to bytes
/// makes characters of character_set_connection first: so both conversions are said.
pub fn bytes_of<T: AsRef<str>>(expressions: &[T]) -> Vec<u8> {
    let mut sql = String::from(SELECT);
    for (at, expression) in expressions.iter().enumerate() {
        if at > 0 {
            sql += ", ";
        }
        sql += "CAST(CONVERT(";
        sql += expression.as_ref();
        sql += " USING utf8mb4) AS BINARY)";
    }
    // sql_select_limit may be 0.
    sql += " LIMIT 1";
    sql.into_bytes()
}

/// Whether it can stand in a statement as it is: the name of a variable, character set, collation.
pub fn is_word(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Whether it is a number that can stand in a statement as it is.
pub fn is_number(text: &[u8]) -> bool {
    let has_digit = text.iter().any(u8::is_ascii_digit);
    has_digit && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e'))
}
