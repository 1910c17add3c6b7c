package sigma

import (
	"encoding/base64"
	"errors"
	"strings"
	"unicode/utf16"
)

// encode applies the modifiers that change a value, in the order in which the
// rule has them. literal is true when the result is bytes, in which * and ? mean
// themselves.
func encode(s string, order []string) (values []string, literal bool, err error) {
	values = []string{s}
	for _, m := range order {
		switch m {
		case "wide", "utf16", "utf16le", "utf16be":
			values, literal = each(values, func(s string) []string { return []string{wide(plainText(s, literal), m)} }), true
		case "base64":
			values, literal = each(values, func(s string) []string {
				return []string{base64.StdEncoding.EncodeToString([]byte(plainText(s, literal)))}
			}), true
		case "base64offset":
			values, literal = each(values, func(s string) []string { return shifted(plainText(s, literal)) }), true
		case "windash":
			if literal {
				return nil, false, errors.New("windash must come before an encoding")
			}
			values = each(values, dashes)
		}
	}
	return values, literal, nil
}

func each(in []string, f func(string) []string) []string {
	var out []string
	for _, s := range in {
		out = append(out, f(s)...)
	}
	return out
}

// plainText undoes the escapes of a Sigma string, unless it is bytes already.
func plainText(s string, literal bool) string {
	if literal {
		return s
	}
	return strings.NewReplacer(`\*`, "*", `\?`, "?", `\\`, `\`).Replace(s)
}

func wide(s, as string) string {
	var b strings.Builder
	if as == "utf16" { // with its byte order mark
		b.WriteString("\xff\xfe")
	}
	for _, u := range utf16.Encode([]rune(s)) {
		if as == "utf16be" {
			b.Write([]byte{byte(u >> 8), byte(u)})
		} else {
			b.Write([]byte{byte(u), byte(u >> 8)})
		}
	}
	return b.String()
}

// shifted are the three ways a string reads in base64, by its position in the
// encoded bytes; characters that other bytes have a part in are left out.
func shifted(s string) []string {
	start, end := [3]int{0, 2, 3}, [3]int{0, -3, -2}
	var out []string
	for i := range 3 {
		e := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(" ", i) + s))
		stop := len(e) + end[(len(s)+i)%3]
		if start[i] < stop {
			out = append(out, e[start[i]:stop])
		}
	}
	return out
}

// dashes are the value with each form of a flag's first character: - and /, and
// the dashes that editors make of it.
func dashes(s string) []string {
	out := []string{s}
	for _, from := range []string{"-", "/"} {
		for _, to := range []string{"-", "/", "\u2013", "\u2014", "\u2015"} {
			t := swap(s, from, to)
			if t != s {
				out = append(out, t)
			}
		}
	}
	return out
}

// swap replaces a character where a word begins with it.
func swap(s, from, to string) string {
	if rest, ok := strings.CutPrefix(s, from); ok {
		s = to + rest
	}
	return strings.ReplaceAll(s, " "+from, " "+to)
}
