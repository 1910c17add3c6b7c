package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// expectation is what a reader of a recording must be told, and may be.
type expectation struct {
	findings []string // rules that must fire
	also     []string // rules that may: what they tell of is there at some moments only
}

// assignment is a line of "recording", which the lab's scripts source.
var assignment = regexp.MustCompile(`(?m)^([a-z]+)="([^"]*)"$`)

// read takes the expectation from the file in which `record` says what it recorded.
func (e *expectation) read(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	known := false
	for _, m := range assignment.FindAllStringSubmatch(string(b), -1) {
		switch words := strings.Fields(m[2]); m[1] {
		case "findings":
			e.findings, known = words, true
		case "also":
			e.also = words
		}
	}
	if !known {
		return fmt.Errorf("%s: no line findings=…: what is to be found?", path)
	}
	return nil
}

// alarms are the severities that ask a person to look.
var alarms = []string{"medium", "high", "critical"}

// compareFindings asks that every rule expected fires, and that nothing else
// raises an alarm.
func compareFindings(e expectation, items []storyItem) *report {
	r := &report{name: "findings"}
	for _, rule := range e.findings {
		fired := slices.ContainsFunc(items, func(it storyItem) bool { return it.Kind == "finding" && it.Rule == rule })
		if fired {
			r.matched++
		} else {
			r.differ("no finding of rule %s", rule)
		}
	}
	quiet := true
	for _, it := range items {
		if it.Kind != "finding" || !slices.Contains(alarms, it.Severity) {
			continue
		}
		if !slices.Contains(e.findings, it.Rule) && !slices.Contains(e.also, it.Rule) {
			r.differ("%s finding of rule %s, which nothing in the scenario explains: %s", it.Severity, it.Rule, it.Summary)
			quiet = false
		}
	}
	// That nothing is said of a quiet day was compared, if anything was said at all.
	if len(e.findings) == 0 && quiet && len(items) > 0 {
		r.matched++
	}
	return r
}
