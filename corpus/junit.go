package corpus

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// The JUnit XML that CI systems read: one test suite, one test case a case.
type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string       `xml:"name,attr"`
	Class   string       `xml:"classname,attr"`
	Time    string       `xml:"time,attr"`
	Failure *junitDetail `xml:"failure,omitempty"`
	Error   *junitDetail `xml:"error,omitempty"`
}

type junitDetail struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes results as JUnit XML.
func WriteJUnit(w io.Writer, results []*Result) error {
	s := junitSuite{Name: "xentape corpus", Tests: len(results)}
	for _, r := range results {
		c := junitCase{Name: r.Case.Name, Class: "corpus", Time: fmt.Sprintf("%.3f", r.Elapsed.Seconds())}
		switch {
		case r.Err != nil:
			s.Errors++
			c.Error = &junitDetail{Message: r.Err.Error()}
		case len(r.Differences) > 0:
			s.Failures++
			var b strings.Builder
			WriteDifferences(&b, r.Differences)
			c.Failure = &junitDetail{Message: fmt.Sprintf("%d findings differ", len(r.Differences)), Text: b.String()}
		}
		s.Cases = append(s.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(s); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// WriteDifferences writes differences for a reader: one line a finding, one line
// below it for every field that changed.
func WriteDifferences(w io.Writer, ds []Difference) {
	sign := map[string]string{"added": "+", "missing": "-", "changed": "~"}
	for _, d := range ds {
		fmt.Fprintf(w, "%s %s %s: %s\n", sign[d.Kind], d.Output, d.Kind, d.Key)
		for _, f := range d.Fields {
			fmt.Fprintf(w, "    %s: expected %s, got %s\n", f.Name, orAbsent(f.Want), orAbsent(f.Got))
		}
	}
}

func orAbsent(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}
