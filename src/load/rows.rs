//! What servers answer, as text that can be compared.

use mysql_async::consts::ColumnFlags;
use mysql_async::{Column, Row, Value};

/// Rows as text, NULL as `NULL`: the same for the text and the binary protocol.
pub(super) type Rows = Vec<Vec<String>>;

pub(super) fn texts(rows: Vec<Row>) -> Rows {
    rows.into_iter().map(|row| row.unwrap_raw().into_iter().map(text).collect()).collect()
}

/// The same, and of what types the columns are.
pub(super) fn with_types(rows: Vec<Row>) -> (Rows, String) {
    let is_unsigned = |column: &Column| column.flags().contains(ColumnFlags::UNSIGNED_FLAG);
    let one = |column: &Column| {
        let sign = if is_unsigned(column) { " unsigned" } else { "" };
        format!("{:?}{sign}", column.column_type())
    };
    let columns = rows.first().map(|row| row.columns_ref().iter().map(one));
    let types: Vec<String> = columns.into_iter().flatten().collect();
    (texts(rows), types.join(", "))
}

fn text(value: Option<Value>) -> String {
    match value {
        None | Some(Value::NULL) => "NULL".into(),
        Some(Value::Bytes(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        Some(Value::Int(number)) => number.to_string(),
        Some(Value::UInt(number)) => number.to_string(),
        Some(Value::Float(number)) => number.to_string(),
        Some(Value::Double(number)) => number.to_string(),
        Some(value @ (Value::Date(..) | Value::Time(..))) => value.as_sql(true),
    }
}
