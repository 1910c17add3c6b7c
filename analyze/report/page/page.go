// Package page writes the one-file page of a story: swim lanes of processes,
// files and connections on one time axis, with everything it needs inside and
// nothing fetched.
//
// What a guest could have chosen (names, paths, arguments, host names) reaches
// the page only as JSON inside a compressed, base64-encoded data block, and the
// script puts it on the screen only as text nodes and canvas text. The Content
// Security Policy allows exactly the one script and the one style sheet, by hash.
package page

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
)

//go:embed page.js
var script []byte

//go:embed page.css
var style []byte

// None is the index of no process.
const None = -1

// Data is what the page shows. Times are ns since 1970 UTC; 0 = unknown. They
// travel as decimal strings, because a JavaScript number cannot hold them.
type Data struct {
	Title     string    `json:"title"`
	Tape      string    `json:"tape"`
	Root      string    `json:"root"` // Merkle root of the tape, hex
	Version   string    `json:"version"`
	Start     int64     `json:"start,string"`
	End       int64     `json:"end,string"`
	Snapshots []Instant `json:"snapshots"`
	Processes []Process `json:"processes"`
	Files     []File    `json:"files"`
	Conns     []Conn    `json:"conns"`
	Findings  []Finding `json:"findings"`
	Gaps      []Gap     `json:"gaps"`
}

// Instant is a named moment.
type Instant struct {
	Time int64  `json:"t,string"`
	Name string `json:"name"`
}

// Process is one lane. End is 0 for a process that was still alive at the end.
type Process struct {
	PID    int    `json:"pid"`
	PPID   int    `json:"ppid"`
	Parent int    `json:"parent"` // index into Processes, or None
	Name   string `json:"name"`
	Exe    string `json:"exe"`
	Args   string `json:"args"`
	UID    string `json:"uid"`
	Start  int64  `json:"t,string"`
	End    int64  `json:"u,string"`
	Kernel bool   `json:"kernel"`
	Grade  string `json:"grade"`
	Source string `json:"evidence"`
}

// File is one file event, somewhere between Lower and Upper.
type File struct {
	Op      string `json:"op"`
	Path    string `json:"path"`
	Old     string `json:"old"`
	Lower   int64  `json:"t,string"`
	Upper   int64  `json:"u,string"`
	Basis   string `json:"basis"`
	Detail  string `json:"detail"`
	Process int    `json:"process"`
	Grade   string `json:"grade"`
	Source  string `json:"evidence"`
}

// Conn is one connection.
type Conn struct {
	Proto   string `json:"proto"`
	Orig    string `json:"orig"`
	Resp    string `json:"resp"`
	Service string `json:"service"`
	State   string `json:"state"`
	Detail  string `json:"detail"`
	Start   int64  `json:"t,string"`
	End     int64  `json:"u,string"`
	Process int    `json:"process"`
	Grade   string `json:"grade"`
	Source  string `json:"evidence"`
}

// Finding is one conclusion, with what it rests on.
type Finding struct {
	Time      int64  `json:"t,string"`
	Severity  string `json:"severity"`
	Title     string `json:"title"`
	Why       string `json:"why"`
	Processes []int  `json:"processes"`
	Files     []int  `json:"files"`
	Conns     []int  `json:"conns"`
	Source    string `json:"evidence"`
}

// Gap is a time for which something is missing.
type Gap struct {
	Start  int64  `json:"t,string"`
	End    int64  `json:"u,string"`
	Stream string `json:"stream"`
	Why    string `json:"why"`
}

// Write writes the page. The same data gives the same bytes.
func Write(w io.Writer, d *Data) error {
	js, err := json.Marshal(d)
	if err != nil {
		return err
	}
	var z bytes.Buffer
	zw, err := gzip.NewWriterLevel(&z, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := zw.Write(js); err != nil {
		return err
	}
	if err := zw.Close(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, skeleton, hash(script), hash(style), html.EscapeString(d.Title), style,
		base64.StdEncoding.EncodeToString(z.Bytes()), script)
	return err
}

func hash(b []byte) string {
	s := sha256.Sum256(b)
	return base64.StdEncoding.EncodeToString(s[:])
}

const skeleton = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'sha256-%s'; style-src 'sha256-%s'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>%s</title>
<style>%s</style>
</head>
<body>
<header>
<h1 id="title"></h1>
<p id="about"></p>
<form role="search" id="controls">
<label>Search <input type="search" id="q" autocomplete="off" spellcheck="false" placeholder="name, path, address, pid"></label>
<fieldset><legend>Show</legend>
<label><input type="checkbox" name="kind" value="finding" checked> findings</label>
<label><input type="checkbox" name="kind" value="process" checked> processes</label>
<label><input type="checkbox" name="kind" value="file" checked> files</label>
<label><input type="checkbox" name="kind" value="conn" checked> connections</label>
<label><input type="checkbox" id="kernel"> kernel threads</label>
</fieldset>
<span class="buttons">
<button type="button" id="zoomin" aria-label="Zoom in">+</button>
<button type="button" id="zoomout" aria-label="Zoom out">−</button>
<button type="button" id="fit">Whole tape</button>
<button type="button" id="theme">Theme</button>
</span>
</form>
</header>
<main>
<section aria-label="Timeline" id="timeline"><canvas id="lanes" aria-hidden="true"></canvas></section>
<div class="split">
<section aria-label="Events" id="events">
<div id="status" role="status" aria-live="polite"></div>
<div id="grid" role="grid" aria-label="Events in time order" tabindex="0"><div id="rows" role="rowgroup"></div></div>
</section>
<section role="region" aria-label="Selected event" id="detail" aria-live="polite" tabindex="-1"><p>Select an event to see its evidence and its neighbours.</p></section>
</div>
</main>
<noscript><p>This page draws its timeline with the script it contains; allow scripts for this file, or read the JSON lines beside it.</p></noscript>
<script type="text/plain" id="data">%s</script>
<script>%s</script>
</body>
</html>
`
