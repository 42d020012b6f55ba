//! What may stand before an opening parenthesis: a positive list.
//!
//! Invariant: a name in [`PURE`] is a function of MariaDB and of MySQL, so that on neither of them
//! a stored function of that name is called; and calling it has no effect that a session notices.
//! A name that is not in here calls anything. Each was tried on MariaDB 10.11 and MySQL 9.7, with
//! and without a blank: a server that knows no function of its own says that there is none.
//! MySQL 9.7 says so of MD5, SHA and SHA1; MariaDB 10.11 of ANY_VALUE, REGEXP_LIKE, UUID_TO_BIN and
//! BIN_TO_UUID.

use super::bits::{Asks, Changes};
use super::key::key;

/// What `name(` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Nothing; it may be no call at all.
    Pure,
    /// Nothing if the parenthesis follows at once; with a blank between it is any function.
    PureIfAdjacent,
    /// It asks for something.
    Asks(Asks),
    /// It changes something.
    Changes(Changes),
    /// LAST_INSERT_ID: asks, and with an argument changes.
    LastInsertId,
    /// RELEASE_ALL_LOCKS: asks, and where a statement does nothing else changes.
    ReleaseAllLocks,
    /// RAND: without an argument it asks for the session's own.
    Random,
    /// Anything.
    Unknown,
}

/// What a call of this name does, in any case of letters.
pub(super) fn call(name: &[u8]) -> Call {
    if is_keyword(key(name)) {
        return Call::Pure;
    }
    let mut buffer = [0; LONGEST];
    let Some(lower) = buffer.get_mut(..name.len()) else { return Call::Unknown };
    if lower.is_empty() {
        return Call::Unknown;
    }
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let lower = &*lower;
    let is_in = |names: &[&str], starts: &Starts| {
        let names = &names[starts.of(lower[0])];
        names.binary_search_by(|name| name.as_bytes().cmp(lower)).is_ok()
    };
    if is_in(ADJACENT, &ADJACENT_STARTS) {
        return Call::PureIfAdjacent;
    }
    if is_in(PURE, &PURE_STARTS) || is_in(OF_SOME, &OF_SOME_STARTS) {
        return Call::Pure;
    }
    match EFFECTS.binary_search_by(|(name, _)| name.as_bytes().cmp(lower)) {
        Ok(at) => EFFECTS[at].1,
        Err(_) => Call::Unknown,
    }
}

const LONGEST: usize = 32;

/// Keywords of all servers behind which a parenthesis opens, and no function is called.
fn is_keyword(key: u64) -> bool {
    macro_rules! any {
        ($($word:literal)+) => {{
            $(const _: () = assert!($word.len() <= 8);)+
            [$(const { super::key::key($word) }),+].contains(&key)
        }};
    }
    any!(b"in" b"and" b"or" b"on" b"select" b"values" b"where" b"from" b"join" b"not" b"exists"
        b"any" b"all" b"some" b"using" b"by" b"having" b"limit" b"union" b"except" b"as" b"case"
        b"when" b"then" b"else" b"between" b"like" b"regexp" b"rlike" b"div" b"mod" b"xor" b"is"
        b"over" b"index" b"key" b"distinct" b"interval" b"binary" b"row" b"against" b"match"
        b"set" b"for")
}

/// Pure functions of every server, of a name that no stored function can have.
const PURE: &[&str] = &[
    "abs",
    "acos",
    "addtime",
    "aes_decrypt",
    "aes_encrypt",
    "ascii",
    "asin",
    "atan",
    "atan2",
    "avg",
    "benchmark",
    "bin",
    "bit_count",
    "bit_length",
    "ceil",
    "ceiling",
    "char",
    "char_length",
    "character_length",
    "charset",
    "coalesce",
    "coercibility",
    "collation",
    "compress",
    "concat",
    "concat_ws",
    "conv",
    "convert",
    "convert_tz",
    "cos",
    "cot",
    "crc32",
    "current_date",
    "current_role",
    "current_time",
    "current_timestamp",
    "current_user",
    "database",
    "date",
    "datediff",
    "datetime",
    "day",
    "dayname",
    "dayofmonth",
    "dayofweek",
    "dayofyear",
    "decimal",
    "default",
    "degrees",
    "distinctrow",
    "elt",
    "exp",
    "export_set",
    "extractvalue",
    "field",
    "find_in_set",
    "floor",
    "format",
    "from_base64",
    "from_days",
    "from_unixtime",
    "get_format",
    "greatest",
    "hex",
    "hour",
    "if",
    "ifnull",
    "inet6_aton",
    "inet6_ntoa",
    "inet_aton",
    "inet_ntoa",
    "insert",
    "instr",
    "intersect",
    "is_ipv4",
    "is_ipv4_compat",
    "is_ipv4_mapped",
    "is_ipv6",
    "isnull",
    "json_array",
    "json_array_append",
    "json_array_insert",
    "json_contains",
    "json_contains_path",
    "json_depth",
    "json_extract",
    "json_insert",
    "json_keys",
    "json_length",
    "json_merge",
    "json_merge_patch",
    "json_merge_preserve",
    "json_object",
    "json_overlaps",
    "json_pretty",
    "json_quote",
    "json_remove",
    "json_replace",
    "json_search",
    "json_set",
    "json_type",
    "json_unquote",
    "json_valid",
    "json_value",
    "last_day",
    "lcase",
    "least",
    "left",
    "length",
    "ln",
    "localtime",
    "localtimestamp",
    "locate",
    "log",
    "log10",
    "log2",
    "lower",
    "lpad",
    "ltrim",
    "make_set",
    "makedate",
    "maketime",
    "mbrcontains",
    "mbrdisjoint",
    "mbrequals",
    "mbrintersects",
    "mbroverlaps",
    "mbrtouches",
    "mbrwithin",
    "microsecond",
    "minute",
    "mod",
    "month",
    "monthname",
    "name_const",
    "nullif",
    "oct",
    "octet_length",
    "ord",
    "partition",
    "period_add",
    "period_diff",
    "pi",
    "pow",
    "power",
    "quarter",
    "quote",
    "radians",
    "random_bytes",
    "regexp_instr",
    "regexp_replace",
    "regexp_substr",
    "repeat",
    "replace",
    "reverse",
    "right",
    "round",
    "rpad",
    "rtrim",
    "schema",
    "sec_to_time",
    "second",
    "sha2",
    "sign",
    "sin",
    "sleep",
    "soundex",
    "space",
    "sqrt",
    "st_area",
    "st_asbinary",
    "st_asgeojson",
    "st_astext",
    "st_aswkb",
    "st_aswkt",
    "st_buffer",
    "st_centroid",
    "st_contains",
    "st_convexhull",
    "st_crosses",
    "st_difference",
    "st_dimension",
    "st_disjoint",
    "st_distance",
    "st_distance_sphere",
    "st_endpoint",
    "st_envelope",
    "st_equals",
    "st_exteriorring",
    "st_geomcollfromtext",
    "st_geometryfromtext",
    "st_geometryfromwkb",
    "st_geometryn",
    "st_geometrytype",
    "st_geomfromgeojson",
    "st_geomfromtext",
    "st_geomfromwkb",
    "st_interiorringn",
    "st_intersection",
    "st_intersects",
    "st_isclosed",
    "st_isempty",
    "st_issimple",
    "st_length",
    "st_linefromtext",
    "st_linefromwkb",
    "st_linestringfromtext",
    "st_numgeometries",
    "st_numinteriorrings",
    "st_numpoints",
    "st_overlaps",
    "st_pointfromtext",
    "st_pointfromwkb",
    "st_pointn",
    "st_polyfromtext",
    "st_polyfromwkb",
    "st_polygonfromtext",
    "st_srid",
    "st_startpoint",
    "st_symdifference",
    "st_touches",
    "st_union",
    "st_within",
    "st_x",
    "st_y",
    "str_to_date",
    "straight_join",
    "strcmp",
    "substring_index",
    "subtime",
    "tan",
    "time",
    "time_format",
    "time_to_sec",
    "timediff",
    "timestamp",
    "timestampadd",
    "timestampdiff",
    "to_base64",
    "to_days",
    "to_seconds",
    "truncate",
    "ucase",
    "uncompress",
    "uncompressed_length",
    "unhex",
    "unix_timestamp",
    "updatexml",
    "upper",
    "user",
    "utc_date",
    "utc_time",
    "utc_timestamp",
    "uuid",
    "varchar",
    "week",
    "weekday",
    "weekofyear",
    "weight_string",
    "year",
    "yearweek",
];

/// Pure ones of some servers. On others a stored function may have the name, as MD5 may since MySQL
/// 9.6: who gives it that one means the same.
const OF_SOME: &[&str] = &[
    "add_months",
    "any_value",
    "asbinary",
    "astext",
    "aswkb",
    "aswkt",
    "bin_to_uuid",
    "chr",
    "column_add",
    "column_check",
    "column_create",
    "column_delete",
    "column_exists",
    "column_get",
    "column_json",
    "column_list",
    "crc32c",
    "decode",
    "des_decrypt",
    "des_encrypt",
    "encode",
    "encrypt",
    "format_bytes",
    "format_pico_time",
    "geometrycollection",
    "geometryfromtext",
    "geomfromtext",
    "grouping",
    "is_uuid",
    "json_compact",
    "json_detailed",
    "json_equals",
    "json_exists",
    "json_loose",
    "json_normalize",
    "json_query",
    "json_schema_valid",
    "json_storage_free",
    "json_storage_size",
    "lengthb",
    "linefromtext",
    "linestring",
    "mbrcoveredby",
    "mbrcovers",
    "md5",
    "median",
    "multilinestring",
    "multipoint",
    "multipolygon",
    "natural_sort_key",
    "nvl",
    "nvl2",
    "old_password",
    "password",
    "percentile_cont",
    "percentile_disc",
    "point",
    "pointfromtext",
    "polyfromtext",
    "polygon",
    "regexp_like",
    "sformat",
    "sha",
    "sha1",
    "st_asmvt",
    "st_boundary",
    "st_collect",
    "st_frechetdistance",
    "st_geohash",
    "st_hausdorffdistance",
    "st_isring",
    "st_isvalid",
    "st_latfromgeohash",
    "st_latitude",
    "st_lineinterpolatepoint",
    "st_longfromgeohash",
    "st_longitude",
    "st_makeenvelope",
    "st_pointfromgeohash",
    "st_pointonsurface",
    "st_relate",
    "st_simplify",
    "st_swapxy",
    "st_transform",
    "st_validate",
    "sys_guid",
    "to_char",
    "to_vector",
    "uuid_to_bin",
    "uuid_v4",
    "uuid_v7",
    "vec_distance",
    "vec_distance_cosine",
    "vec_distance_euclidean",
    "vec_fromtext",
    "vec_totext",
];

/// Pure ones that servers know only with the parenthesis right behind them.
const ADJACENT: &[&str] = &[
    "adddate",
    "bit_and",
    "bit_or",
    "bit_xor",
    "cast",
    "count",
    "cume_dist",
    "curdate",
    "curtime",
    "date_add",
    "date_format",
    "date_sub",
    "dense_rank",
    "extract",
    "first_value",
    "group_concat",
    "json_arrayagg",
    "json_objectagg",
    "lag",
    "last_value",
    "lead",
    "max",
    "mid",
    "min",
    "now",
    "nth_value",
    "ntile",
    "percent_rank",
    "position",
    "rank",
    "row_number",
    "session_user",
    "std",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "subdate",
    "substr",
    "substring",
    "sum",
    "sysdate",
    "system_user",
    "trim",
    "var_pop",
    "var_samp",
    "variance",
];

static PURE_STARTS: Starts = Starts::new(PURE);
static ADJACENT_STARTS: Starts = Starts::new(ADJACENT);
static OF_SOME_STARTS: Starts = Starts::new(OF_SOME);

/// Where in a sorted list the names begin that start with each letter.
struct Starts([usize; 27]);

impl Starts {
    const fn new(names: &[&str]) -> Self {
        let mut starts = [0; 27];
        let mut letter = 0;
        while letter < 26 {
            let mut end = starts[letter];
            while end < names.len() && names[end].as_bytes()[0] == b'a' + letter as u8 {
                end += 1;
            }
            starts[letter + 1] = end;
            letter += 1;
        }
        Self(starts)
    }

    fn of(&self, letter: u8) -> std::ops::Range<usize> {
        match letter {
            b'a'..=b'z' => {
                let at = usize::from(letter - b'a');
                self.0[at]..self.0[at + 1]
            }
            _ => 0..0,
        }
    }
}

/// Known ones that are not pure, of whichever server.
const EFFECTS: &[(&str, Call)] = &[
    ("connection_id", Call::Asks(Asks::SERVER)),
    ("found_rows", Call::Asks(Asks::DIAGNOSTICS.with(Asks::FOUND_ROWS))),
    ("get_lock", Call::Changes(Changes::USER_LOCK_TAKEN)),
    ("is_free_lock", Call::Asks(Asks::SERVER)),
    ("is_used_lock", Call::Asks(Asks::SERVER)),
    ("last_insert_id", Call::LastInsertId),
    ("lastval", Call::Asks(Asks::SEQUENCE)),
    ("load_file", Call::Asks(Asks::SERVER)),
    ("master_gtid_wait", Call::Asks(Asks::SERVER)),
    ("master_pos_wait", Call::Asks(Asks::SERVER)),
    ("nextval", Call::Changes(Changes::SEQUENCE)),
    ("ps_current_thread_id", Call::Asks(Asks::SERVER)),
    ("rand", Call::Random),
    ("release_all_locks", Call::ReleaseAllLocks),
    // What it gives back may not be the last one.
    ("release_lock", Call::Asks(Asks::SERVER)),
    ("row_count", Call::Asks(Asks::DIAGNOSTICS.with(Asks::ROW_COUNT))),
    ("setval", Call::Changes(Changes::SEQUENCE)),
    ("source_pos_wait", Call::Asks(Asks::SERVER)),
    ("uuid_short", Call::Asks(Asks::SERVER)),
    ("version", Call::Asks(Asks::SERVER)),
    ("wait_for_executed_gtid_set", Call::Asks(Asks::SERVER)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_and_nothing_is_in_two_of_them() {
        let effects: Vec<&str> = EFFECTS.iter().map(|(name, _)| *name).collect();
        for list in [PURE, ADJACENT, OF_SOME, &effects] {
            assert!(list.is_sorted_by(|a, b| a < b), "{list:?}");
            assert!(list.iter().all(|name| name.len() <= LONGEST));
        }
        let all: Vec<&str> = [PURE, ADJACENT, OF_SOME, &effects].concat();
        let distinct: std::collections::BTreeSet<&str> = all.iter().copied().collect();
        assert_eq!(all.len(), distinct.len());
    }
}
