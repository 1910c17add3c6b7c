//go:build linux && !amd64

package sandbox

import (
	"errors"
	"fmt"
	"runtime"
)

func filterCalls(*Rules) error {
	return fmt.Errorf("the filter is written for amd64, this is %s: %w", runtime.GOARCH, errors.ErrUnsupported)
}
