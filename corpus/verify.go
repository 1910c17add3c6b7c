package corpus

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
)

// Analyze runs the analyzers on a tape and returns, for every output asked for,
// its JSON lines.
type Analyze func(ctx context.Context, tape string, outputs []string) (map[string][]byte, error)

// Result is what became of one case.
type Result struct {
	Case        *Case
	Differences []Difference
	Err         error // the case could not be run
	Elapsed     time.Duration
}

// OK reports whether the case is as expected.
func (r *Result) OK() bool { return r.Err == nil && len(r.Differences) == 0 }

// Verify replays all cases, workers at a time (0 = as many as there are
// processors), and returns their results in the order of the cases. done, if not
// nil, is called after each, from one goroutine at a time.
func Verify(ctx context.Context, cases []*Case, analyze Analyze, workers int, done func(*Result)) ([]*Result, error) {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	results := make([]*Result, len(cases))
	finished := make(chan *Result)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	go func() {
		for i, c := range cases {
			g.Go(func() error {
				results[i] = verifyCase(ctx, c, analyze)
				finished <- results[i]
				return ctx.Err()
			})
		}
		_ = g.Wait()
		close(finished)
	}()
	for r := range finished {
		if done != nil {
			done(r)
		}
	}
	return results, g.Wait()
}

func verifyCase(ctx context.Context, c *Case, analyze Analyze) *Result {
	start := time.Now()
	r := &Result{Case: c}
	r.Differences, r.Err = compare(ctx, c, analyze, nil)
	r.Elapsed = time.Since(start)
	return r
}

// compare says how what the analyzers say now differs from what is expected; then, if
// there is one, is given the file of each expectation, which may be missing then, and
// what they say.
func compare(ctx context.Context, c *Case, analyze Analyze, then func(path string, lines []byte) error) ([]Difference, error) {
	if err := c.checkTape(); err != nil {
		return nil, err
	}
	got, err := analyze(ctx, c.TapePath(), c.Outputs())
	if err != nil {
		return nil, err
	}
	var all []Difference
	for _, out := range c.Outputs() {
		path := filepath.Join(c.Dir, c.Expected[out])
		want, err := os.ReadFile(path)
		if err != nil && !(then != nil && os.IsNotExist(err)) {
			return all, err
		}
		lines, ok := got[out]
		if !ok {
			return all, fmt.Errorf("%s: expected.%s: no analyzer makes such an output", c.Name, out)
		}
		d, err := Diff(out, want, lines)
		if err != nil {
			return all, fmt.Errorf("%s: %w", c.Name, err)
		}
		all = append(all, d...)
		if then == nil {
			continue
		}
		if err := then(path, lines); err != nil {
			return all, err
		}
	}
	return all, nil
}

// Update rewrites the expectations of a case with what the analyzers say now and
// returns what changed.
func Update(ctx context.Context, c *Case, analyze Analyze) ([]Difference, error) {
	return compare(ctx, c, analyze, func(path string, lines []byte) error {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return os.WriteFile(path, lines, 0o644)
	})
}
