// A tour of what Go's go-sql-driver does.
//
// Prints what it sees, the same wherever it is connected to. A line of three dots says that it
// waits for a line on its standard input before it goes on.
package main

import (
	"bufio"
	"context"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/go-sql-driver/mysql"
)

const types = "n INT PRIMARY KEY, tiny TINYINT, big BIGINT UNSIGNED, f FLOAT, d DOUBLE, " +
	"c DECIMAL(20, 5), day DATE, at DATETIME(6), span TIME(6), y YEAR, " +
	"v VARCHAR(50) CHARACTER SET utf8mb4, b VARBINARY(20), e ENUM('x', 'y'), s SET('p', 'q'), " +
	"bits BIT(9), j JSON, t LONGTEXT"

var (
	input = bufio.NewReader(os.Stdin)
	ctx   = context.Background()
	row   = []any{1, -7, uint64(1<<64 - 1), 0.5, 1e300, "-12345.67890", "2026-02-28",
		"2026-02-28 01:02:03.456789", "-30:00:00.000005", 2026, "naïve 🐬",
		[]byte{0, 255, 39, 92}, "y", "p,q", []byte{1, 1}, `{"a": [1, null]}`,
		strings.Repeat("long ", 1000)}
)

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func wait() {
	fmt.Println("...")
	must(input.ReadString('\n'))
}

func open(interpolate bool) *sql.DB {
	config := mysql.NewConfig()
	config.Net, config.Addr = "tcp", "127.0.0.1:"+os.Getenv("ODP_PORT")
	config.User, config.Passwd = os.Getenv("ODP_USER"), os.Getenv("ODP_PASSWORD")
	config.DBName = os.Getenv("ODP_DATABASE")
	config.MultiStatements, config.AllowAllFiles = true, true
	config.InterpolateParams = interpolate
	if ca := os.Getenv("ODP_CA"); ca != "" {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(must(os.ReadFile(ca)))
		check(mysql.RegisterTLSConfig("ours", &tls.Config{RootCAs: pool, ServerName: "localhost"}))
		config.TLSConfig = "ours"
	}
	return must(sql.Open("mysql", config.FormatDSN()))
}

// Prints every row of every result.
func show(rows *sql.Rows, err error) {
	check(err)
	defer rows.Close()
	for {
		columns := must(rows.Columns())
		for rows.Next() {
			cells := make([]sql.RawBytes, len(columns))
			places := make([]any, len(columns))
			for i := range cells {
				places[i] = &cells[i]
			}
			check(rows.Scan(places...))
			for _, cell := range cells {
				fmt.Printf("%q ", cell)
			}
			fmt.Println()
		}
		check(rows.Err())
		if !rows.NextResultSet() {
			break
		}
		fmt.Println("next")
	}
	check(rows.Err())
}

func affected(result sql.Result, err error) {
	check(err)
	fmt.Println(must(result.RowsAffected()), must(result.LastInsertId()))
}

func commonTypes(one *sql.Conn) {
	affected(one.ExecContext(ctx, "DROP TABLE IF EXISTS t"))
	affected(one.ExecContext(ctx, "CREATE TABLE t ("+types+")"))
	marks := "(?" + strings.Repeat(", ?", len(row)-1) + ")"
	affected(one.ExecContext(ctx, "INSERT INTO t VALUES "+marks, row...))
	affected(one.ExecContext(ctx, "INSERT INTO t (n) VALUES (?)", 2))
	show(one.QueryContext(ctx, "SELECT * FROM t ORDER BY n"))
	statement := must(one.PrepareContext(ctx, "SELECT * FROM t WHERE n = ?"))
	for n := 1; n <= 3; n++ {
		show(statement.Query(n))
		wait()
	}
	check(statement.Close())
}

func transactions(one *sql.Conn) {
	tx := must(one.BeginTx(ctx, nil))
	affected(tx.Exec("INSERT INTO t (n, v) VALUES (3, 'gone')"))
	wait()
	check(tx.Rollback())
	tx = must(one.BeginTx(ctx, nil))
	affected(tx.Exec("UPDATE t SET v = ? WHERE n = ?", "kept", 2))
	wait()
	show(tx.Query("SELECT v FROM t WHERE n = 2"))
	check(tx.Commit())
	show(one.QueryContext(ctx, "SELECT COUNT(*) FROM t"))
}

// Rows that are read while nothing of them is kept, with a wait in the middle.
func large(one *sql.Conn) {
	five := "(SELECT 0 i UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4)"
	from := "SELECT a.i + 5 * b.i + 25 * c.i AS n FROM " + five + " a, " + five + " b, " + five + " c"
	rows := must(one.QueryContext(ctx, "SELECT n, REPEAT(CHAR(65 + n % 26), 30000) FROM ("+from+
		") r WHERE n >= ? ORDER BY n", 0))
	defer rows.Close()
	digest, count := sha1.New(), 0
	for ; rows.Next(); count++ {
		var number, text sql.RawBytes
		check(rows.Scan(&number, &text))
		digest.Write(number)
		digest.Write(text)
		if count == 20 {
			wait()
		}
	}
	check(rows.Err())
	fmt.Printf("%d %x\n", count, digest.Sum(nil))
}

func manyResults(one *sql.Conn) {
	affected(one.ExecContext(ctx, "DROP PROCEDURE IF EXISTS two"))
	affected(one.ExecContext(ctx, "CREATE PROCEDURE two() BEGIN SELECT 1; SELECT 2, 'b'; END"))
	show(one.QueryContext(ctx, "SELECT 1; SELECT 5, 2"))
	show(one.QueryContext(ctx, "CALL two()"))
}

func failures(one *sql.Conn) {
	for _, text := range []string{"SELECT * FROM nowhere", "SELECT FROM", "INSERT INTO t (n) VALUES (1)"} {
		_, err := one.ExecContext(ctx, text)
		var told *mysql.MySQLError
		fmt.Println(errors.As(err, &told), err)
	}
}

func file(one *sql.Conn) {
	affected(one.ExecContext(ctx, "DELETE FROM t"))
	affected(one.ExecContext(ctx, "LOAD DATA LOCAL INFILE '"+os.Getenv("ODP_FILE")+"' INTO TABLE t (n, v)"))
	show(one.QueryContext(ctx, "SELECT COUNT(*), SUM(n), MAX(v) FROM t"))
}

func session(one *sql.Conn) {
	affected(one.ExecContext(ctx, "SET @kept = 'yes'"))
	wait()
	show(one.QueryContext(ctx, "SELECT @kept"))
	check(one.PingContext(ctx))
}

func pool(db *sql.DB) {
	db.SetMaxOpenConns(5)
	db.SetMaxIdleConns(5)
	for range 2 {
		var sums [10]int
		var group sync.WaitGroup
		for n := range sums {
			group.Go(func() { check(db.QueryRow("SELECT ? + COUNT(*) FROM t", n).Scan(&sums[n])) })
		}
		group.Wait()
		fmt.Println(sums)
		wait()
	}
	check(db.Ping())
}

func main() {
	for _, interpolate := range []bool{false, true} {
		db := open(interpolate)
		one := must(db.Conn(ctx))
		wait()
		for _, part := range []func(*sql.Conn){commonTypes, transactions, large, manyResults, failures, file, session} {
			part(one)
		}
		check(one.Close())
		pool(db)
		check(db.Close())
	}
	fmt.Println("done")
}
