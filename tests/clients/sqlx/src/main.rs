//! A tour of what sqlx does.
//!
//! Prints what it sees, the same wherever it is connected to. A line of three dots says that it
//! waits for a line on its standard input before it goes on.

use std::env::var;
use std::hash::{DefaultHasher, Hasher as _};

use futures_util::TryStreamExt as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlPoolOptions, MySqlSslMode};
use sqlx::types::time::{Date, PrimitiveDateTime};
use sqlx::{
    AssertSqlSafe, Connection as _, Either, Executor as _, Row as _, query, query_as, raw_sql,
};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const TYPES: &str = "n INT PRIMARY KEY, tiny TINYINT, big BIGINT UNSIGNED, f FLOAT, d DOUBLE, \
    c DECIMAL(20, 5), day DATE, at DATETIME(6), v VARCHAR(50) CHARACTER SET utf8mb4, \
    b VARBINARY(20), e ENUM('x', 'y'), bits BIT(9), t LONGTEXT";

const FIVE: &str =
    "(SELECT 0 i UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4)";

/// The first nine columns of the table, and the others.
type Front = (
    i32,
    Option<i8>,
    Option<u64>,
    Option<f32>,
    Option<f64>,
    Option<Date>,
    Option<PrimitiveDateTime>,
    Option<String>,
);
type Back = (Option<Vec<u8>>, Option<String>, Option<u64>, Option<String>);

fn wait() {
    println!("...");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a line");
}

fn options() -> Result<MySqlConnectOptions, Box<dyn std::error::Error>> {
    let user = bare_options()?.username(&var("ODP_USER")?);
    Ok(user.password(&var("ODP_PASSWORD")?).database(&var("ODP_DATABASE")?))
}

/// Those of a user without a password.
fn bare_options() -> Result<MySqlConnectOptions, Box<dyn std::error::Error>> {
    let options = MySqlConnectOptions::new()
        .host("127.0.0.1")
        .port(var("ODP_PORT")?.parse()?)
        .username("odp_bare");
    Ok(match var("ODP_CA") {
        Ok(ca) => options.ssl_mode(MySqlSslMode::VerifyIdentity).ssl_ca(ca),
        Err(_) => options.ssl_mode(MySqlSslMode::Disabled),
    })
}

async fn types(one: &mut MySqlConnection) -> Outcome {
    one.execute("DROP TABLE IF EXISTS t").await?;
    one.execute(raw_sql(AssertSqlSafe(format!("CREATE TABLE t ({TYPES})")))).await?;
    let inserted = query("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(1)
        .bind(-7i8)
        .bind(u64::MAX)
        .bind(0.5f32)
        .bind(1e300)
        .bind("-12345.67890")
        .bind("2026-02-28")
        .bind("2026-02-28 01:02:03.456789")
        .bind("naïve 🐬")
        .bind(&b"\x00\xff'\\"[..])
        .bind("y")
        .bind(257u64)
        .bind("long ".repeat(1000))
        .execute(&mut *one)
        .await?;
    println!("{}", inserted.rows_affected());
    query("INSERT INTO t (n) VALUES (?)").bind(2).execute(&mut *one).await?;
    for n in 1..=3 {
        let front = "SELECT n, tiny, big, f, d, day, at, v FROM t WHERE n = ?";
        let found: Vec<Front> = query_as(front).bind(n).fetch_all(&mut *one).await?;
        println!("{found:?}");
        wait();
        let back = "SELECT b, e, bits, t FROM t WHERE n = ?";
        let found: Vec<Back> = query_as(back).bind(n).fetch_all(&mut *one).await?;
        println!("{found:?}");
    }
    Ok(())
}

async fn count(one: &mut MySqlConnection) -> Outcome {
    let (count,): (i64,) = query_as("SELECT COUNT(*) FROM t").fetch_one(one).await?;
    println!("{count} rows");
    Ok(())
}

async fn transactions(one: &mut MySqlConnection) -> Outcome {
    let mut transaction = one.begin().await?;
    query("INSERT INTO t (n, v) VALUES (?, 'gone')").bind(3).execute(&mut *transaction).await?;
    wait();
    transaction.rollback().await?;
    count(one).await?;
    let mut transaction = one.begin().await?;
    query("INSERT INTO t (n, v) VALUES (?, 'kept')").bind(4).execute(&mut *transaction).await?;
    wait();
    transaction.commit().await?;
    count(one).await
}

/// Rows that are read while nothing of them is kept, with a wait in the middle.
async fn large(one: &mut MySqlConnection) -> Outcome {
    let sql = format!(
        "SELECT n, REPEAT('x', 20000 + n) AS v FROM (SELECT a.i + 5 * b.i + 25 * c.i AS n \
         FROM {FIVE} a, {FIVE} b, {FIVE} c) r ORDER BY n"
    );
    let (mut hasher, mut rows) = (DefaultHasher::new(), 0);
    let mut stream = query(AssertSqlSafe(sql)).fetch(one);
    while let Some(row) = stream.try_next().await? {
        hasher.write(row.try_get::<String, _>("v")?.as_bytes());
        rows += 1;
        if rows == 20 {
            wait();
        }
    }
    println!("{rows} rows, {:x}", hasher.finish());
    Ok(())
}

async fn many_results(one: &mut MySqlConnection) -> Outcome {
    one.execute("DROP PROCEDURE IF EXISTS two").await?;
    raw_sql("CREATE PROCEDURE two() BEGIN SELECT 1; SELECT 2, 'b'; END").execute(&mut *one).await?;
    for sql in ["SELECT 1; SET @a = 5; SELECT 4, 2", "CALL two()"] {
        let mut results = raw_sql(sql).fetch_many(&mut *one);
        while let Some(result) = results.try_next().await? {
            match result {
                Either::Left(end) => println!("{end:?}"),
                Either::Right(row) => println!("{:?} of {}", row.try_get::<i32, _>(0)?, row.len()),
            }
        }
    }
    Ok(())
}

async fn errors(one: &mut MySqlConnection) -> Outcome {
    for sql in ["SELECT * FROM nowhere", "SELECT FROM", "INSERT INTO t (n) VALUES (1)"] {
        println!("{:?}", query(sql).execute(&mut *one).await.err());
        println!("{:?}", raw_sql(sql).execute(&mut *one).await.err());
    }
    Ok(())
}

async fn session(one: &mut MySqlConnection) -> Outcome {
    one.execute("SET @kept = 'yes'").await?;
    wait();
    let (kept,): (String,) = query_as("SELECT @kept").fetch_one(&mut *one).await?;
    println!("{kept}");
    one.ping().await?;
    one.clear_cached_statements().await?;
    Ok(())
}

async fn pool() -> Outcome {
    let pool = MySqlPoolOptions::new().max_connections(4).connect_with(options()?).await?;
    let mut held = Vec::new();
    for n in 0..4 {
        let mut connection = pool.acquire().await?;
        query("SET @n = ?").bind(n).execute(&mut *connection).await?;
        held.push(connection);
    }
    wait();
    for connection in &mut held {
        let (n,): (i64,) = query_as("SELECT @n").fetch_one(&mut **connection).await?;
        println!("{n}");
    }
    drop(held);
    pool.close().await;
    Ok(())
}

/// sqlx answers nothing where there is no password, and takes every question for one about it.
async fn without_a_password(one: &mut MySqlConnection) -> Outcome {
    one.execute("DROP USER IF EXISTS odp_bare").await?;
    one.execute("CREATE USER odp_bare").await?;
    let mut bare = MySqlConnection::connect_with(&bare_options()?).await?;
    let (user,): (String,) = query_as("SELECT USER()").fetch_one(&mut bare).await?;
    println!("{user}");
    wait();
    bare.ping().await?;
    bare.close().await?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let mut one = MySqlConnection::connect_with(&options()?).await?;
    wait();
    types(&mut one).await?;
    transactions(&mut one).await?;
    large(&mut one).await?;
    many_results(&mut one).await?;
    errors(&mut one).await?;
    session(&mut one).await?;
    one.close().await?;
    pool().await?;
    let mut one = MySqlConnection::connect_with(&options()?).await?;
    without_a_password(&mut one).await?;
    one.close().await?;
    println!("done");
    Ok(())
}
