package table

import (
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"strings"

	_ "modernc.org/sqlite" // the driver, in pure Go
)

// WriteSQLite writes all tables into a new database file at path. The file's
// bytes depend on the rows alone: one transaction, no journal left behind, no
// time in it.
func WriteSQLite(path string, t *Tables) (err error) {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	for _, p := range []string{"PRAGMA page_size=4096", "PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF"} {
		if _, err := db.Exec(p); err != nil {
			return err
		}
	}
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	if err := fill(tx, t); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func fill(tx *sql.Tx, t *Tables) error {
	if err := insert(tx, "processes", t.Processes); err != nil {
		return err
	}
	if err := insert(tx, "files", t.Files); err != nil {
		return err
	}
	if err := insert(tx, "conns", t.Conns); err != nil {
		return err
	}
	if err := insert(tx, "story", t.Story); err != nil {
		return err
	}
	if err := insert(tx, "evidence", t.Evidence); err != nil {
		return err
	}
	for _, q := range []string{"CREATE INDEX evidence_item ON evidence(item)", "CREATE INDEX files_path ON files(path)", "CREATE INDEX conns_resp ON conns(id_resp_h)"} {
		if _, err := tx.Exec(q); err != nil {
			return err
		}
	}
	return nil
}

// insert creates a table of the row type's fields and fills it.
func insert[T any](tx *sql.Tx, name string, rows []T) error {
	typ := reflect.TypeFor[T]()
	var cols, marks []string
	for i := range typ.NumField() {
		f := typ.Field(i)
		kind := "TEXT"
		if f.Type.Kind() != reflect.String {
			kind = "INTEGER"
		}
		cols = append(cols, fmt.Sprintf("%q %s NOT NULL", f.Tag.Get("parquet"), kind))
		marks = append(marks, "?")
	}
	if _, err := tx.Exec(fmt.Sprintf("CREATE TABLE %s (%s)", name, strings.Join(cols, ", "))); err != nil {
		return err
	}
	st, err := tx.Prepare(fmt.Sprintf("INSERT INTO %s VALUES (%s)", name, strings.Join(marks, ",")))
	if err != nil {
		return err
	}
	defer st.Close()
	args := make([]any, typ.NumField())
	for i := range rows {
		v := reflect.ValueOf(&rows[i]).Elem()
		for k := range args {
			args[k] = v.Field(k).Interface()
		}
		if _, err := st.Exec(args...); err != nil {
			return fmt.Errorf("table %s, row %d: %w", name, i+1, err)
		}
	}
	return nil
}
