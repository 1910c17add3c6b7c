package table

import (
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	pqzstd "github.com/parquet-go/parquet-go/compress/zstd"
)

// WriteParquet writes one table as a Parquet file: T is one of the row types.
func WriteParquet[T any](w io.Writer, rows []T) error {
	// The creator string is fixed: the library would write its build's version
	// control state, and the same story would give different bytes.
	pw := parquet.NewGenericWriter[T](w, parquet.Compression(&pqzstd.Codec{Level: pqzstd.Level(zstd.SpeedDefault)}), parquet.CreatedBy("xentape", "1", "0"))
	if _, err := pw.Write(rows); err != nil {
		return err
	}
	return pw.Close()
}
