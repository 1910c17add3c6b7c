package sigma

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

type event map[string][]any

func (e event) Field(n string) ([]any, bool) { v, ok := e[n]; return v, ok }
func (e event) Text() []string {
	var all []string
	for _, vs := range e {
		for _, v := range vs {
			all = append(all, text(v))
		}
	}
	return all
}

func rule(t *testing.T, detection string) *Rule {
	t.Helper()
	rs, err := Parse("test", []byte("title: t\nlogsource: {category: process}\ndetection:\n"+detection))
	require.NoError(t, err)
	require.Len(t, rs, 1)
	return rs[0]
}

var shell = event{
	"Image": {"/bin/Bash"}, "CommandLine": {"bash -i"}, "uid": {int64(0)}, "ip": {"10.1.2.3", "::ffff:192.168.0.1"},
	"deleted": {true}, "pct": {`50%\x`},
}

func TestDetection(t *testing.T) {
	for detection, want := range map[string]bool{
		"  s: {Image: /bin/bash}\n  condition: s":                                  true,
		"  s: {Image|cased: /bin/bash}\n  condition: s":                            false,
		"  s: {Image: '/bin/*sh'}\n  condition: s":                                 true,
		"  s: {Image: '/bin/?ash'}\n  condition: s":                                true,
		"  s: {Image: /bin}\n  condition: s":                                       false,
		"  s: {Image|endswith: [/sh, /bash]}\n  condition: s":                      true,
		"  s: {CommandLine|contains|all: [bash, '-i']}\n  condition: s":            true,
		"  s: {CommandLine|contains|all: [bash, '-x']}\n  condition: s":            false,
		"  s: {CommandLine|re: '-[ip]$'}\n  condition: s":                          true,
		"  s: {uid: 0}\n  condition: s":                                            true,
		"  s: {uid|gte: 1}\n  condition: s":                                        false,
		"  s: {ip|cidr: 192.168.0.0/16}\n  condition: s":                           true,
		"  s: {ip|cidr: 172.16.0.0/12}\n  condition: s":                            false,
		"  s: {deleted: true}\n  condition: s":                                     true,
		"  s: {nothere: null}\n  condition: s":                                     true,
		"  s: {uid: null}\n  condition: s":                                         false,
		"  s: {nothere|exists: false, uid|exists: true}\n  condition: s":           true,
		"  s: ['-i', other]\n  condition: s":                                       true,
		"  s: [{Image: no}, {uid: 0}]\n  condition: s":                             true,
		"  a: {uid: 0}\n  b: {uid: 1}\n  condition: a and not b":                   true,
		"  a: {uid: 0}\n  b: {uid: 1}\n  condition: not a or b":                    false,
		"  a: {uid: 0}\n  b: {uid: 1}\n  c: {uid: 2}\n  condition: b and c or a":   true,
		"  a: {uid: 0}\n  b: {uid: 1}\n  c: {uid: 2}\n  condition: b and (c or a)": false,
		"  a_1: {uid: 0}\n  a_2: {uid: 1}\n  condition: 1 of a_*":                  true,
		"  a_1: {uid: 0}\n  a_2: {uid: 1}\n  condition: all of a_*":                false,
		"  a_1: {uid: 0}\n  _off: {uid: 1}\n  condition: all of them":              true,
		`  s: {pct|contains: '%\\x'}` + "\n  condition: s":                         true,
		"  s: {Image|startswith: /bin/, uid: 7}\n  condition: s":                   false,
	} {
		require.Equal(t, want, rule(t, detection).Match(shell), detection)
	}
}

func TestRefused(t *testing.T) {
	for detection, why := range map[string]string{
		"  s: {a: b}\n  condition: t":                  "no selection",
		"  s: {a: b}\n  condition: s and":              "ends too early",
		"  s: {a: b}\n  condition: (s":                 "not closed",
		"  s: {a: b}\n  condition: s s":                "unexpected",
		"  s: {a: b}\n  condition: s | count() > 3":    "not supported",
		"  s: {a|expand: b}\n  condition: s":           "not supported",
		"  s: {a|re: '('}\n  condition: s":             "missing closing",
		"  s: {a: []}\n  condition: s":                 "empty list",
		"  s: {a: b}\n  timeframe: 5m\n  condition: s": "timeframe",
		"  s: {a: b}\n":                                "empty",
		"  condition: s":                               "no selection",
		"  s: {a: b}\n  condition: 1 of x*":            "no selection is named",
		"  s: {a|cidr: 1.2.3}\n  condition: s":         "no '/'",
		"  s: {a|lt: x}\n  condition: s":               "invalid syntax",
	} {
		_, err := Parse("test", []byte("title: t\ndetection:\n"+detection))
		require.ErrorContains(t, err, why, detection)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("title: t\ndetection:\n  s: {a|contains: b}\n  condition: not (1 of s*) or s\n"))
	f.Add([]byte("title: t\ndetection:\n  s: [a, b]\n  condition: all of them\n---\ntitle: u\ndetection: {s: {a: null}, condition: s}\n"))
	f.Add([]byte("title: good\ndetection:\n  s: [a]\n  condition: all of them\n---\ntitle: bad\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		rs, err := Parse("fuzz", b)
		var bad *RuleError
		if err != nil && !errors.As(err, &bad) {
			require.Empty(t, rs, "no stream of rules, but rules")
		}
		// A bad rule does not take the good ones of its file along: what is given back
		// can be matched, whatever else was refused.
		for _, r := range rs {
			require.Equal(t, r.Match(shell), r.Match(shell))
		}
	})
}

// TestEncodings: what a rule author writes as text is found in its encoded forms.
// The encoded forms here were made with base64(1) and iconv(1).
func TestEncodings(t *testing.T) {
	e := event{"cmd": {"echo L2Jpbi9iYXNoIC1p | base64 -d"}, "wide": {"a\x00b\x00"}, "wide64": {"cABvAHcAZQByAHMAaABlAGwAbAA="}, "dash": {"x /enc y"}, "Image": {"/bin/x"}, "Other": {"/BIN/x", "z"}}
	for detection, want := range map[string]bool{
		"{cmd|base64|contains: '/bin/bash -i'}":             true,
		"{cmd|base64|contains: '/bin/bas'}":                 false,
		"{cmd|base64offset|contains: '/bin/bash'}":          true,
		"{cmd|base64offset|contains: 'n/bash -'}":           true,
		"{cmd|base64offset|contains: 'in/bash -i'}":         true,
		"{cmd|base64offset|contains: '/bin/dash'}":          false,
		"{wide|wide: ab}":                                   true,
		"{wide|utf16be: ab}":                                false,
		"{wide64|wide|base64: powershell}":                  true,
		"{wide64|base64: powershell}":                       false,
		"{dash|windash|contains: ' -enc '}":                 true,
		"{dash|contains: ' -enc '}":                         false,
		"{Image|fieldref: Other}":                           true,
		"{Image|fieldref|all: [Other, cmd]}":                false,
		"{Image|fieldref: nothere}":                         false,
		"{Image|neq: /bin/y}":                               true,
		"{Image|neq: /bin/x}":                               false,
		"{Image|re|i: '^/BIN/'}":                            true,
		"{Image|re: '^/BIN/'}":                              false,
		"{cmd|base64|contains: ['/bin/*', '/bin/bash -i']}": true,
	} {
		require.Equal(t, want, rule(t, "  s: "+detection+"\n  condition: s").Match(e), detection)
	}
}

// TestErrorsNameFileRuleAndField: whoever wrote the rule must find the place.
func TestErrorsNameFileRuleAndField(t *testing.T) {
	rs, err := Parse("rules/ours.yml", []byte("title: bad\nlogsource: {category: process}\ndetection: {s: {Image|expand: '%x%'}, condition: s}\n---\ntitle: good\nlogsource: {category: process}\ndetection: {s: {Image: x}, condition: s}\n"))
	require.Len(t, rs, 1, "the other rule of the file is not lost")
	require.Equal(t, []string{"Image"}, rs[0].Fields)
	require.ErrorContains(t, err, `rules/ours.yml: rule "bad": detection.s: Image: modifier "expand" is not supported`)
	var re *RuleError
	require.ErrorAs(t, err, &re)
	var fe *FieldError
	require.ErrorAs(t, err, &fe)
	require.Equal(t, "Image", fe.Field)
	_, err = Parse("rules/ours.yml", []byte("title: [\n"))
	require.ErrorContains(t, err, "rules/ours.yml: yaml: line 1")
	require.False(t, errors.As(err, &re))
}
