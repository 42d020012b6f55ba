//! Where does this answer end?
/// Bytes.
pub const HEAD: usize = 22;
