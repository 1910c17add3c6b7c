package network

import (
	"bytes"
	"unicode/utf8"
)

// magics are first bytes that tell a type, under the names libmagic and Zeek
// use. The list is for a forensic eye: what is executable, what is an archive.
var magics = []struct{ prefix, mime string }{
	{"\x7fELF", "application/x-executable"},
	{"MZ", "application/x-dosexec"},
	{"#!/bin/", "text/x-shellscript"},
	{"#!/usr/bin/env bash", "text/x-shellscript"},
	{"#!/usr/bin/env python", "text/x-python"},
	{"#!/usr/bin/python", "text/x-python"},
	{"#!/usr/bin/perl", "text/x-perl"},
	{"\x1f\x8b", "application/x-gzip"},
	{"PK\x03\x04", "application/zip"},
	{"BZh", "application/x-bzip2"},
	{"\xfd7zXZ\x00", "application/x-xz"},
	{"\x28\xb5\x2f\xfd", "application/zstd"},
	{"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"},
	{"Rar!\x1a\x07", "application/x-rar"},
	{"\xed\xab\xee\xdb", "application/x-rpm"},
	{"!<arch>\ndebian", "application/vnd.debian.binary-package"},
	{"\xca\xfe\xba\xbe", "application/java-archive"},
	{"%PDF-", "application/pdf"},
	{"\x89PNG\r\n\x1a\n", "image/png"},
	{"GIF8", "image/gif"},
	{"\xff\xd8\xff", "image/jpeg"},
	{"\x00\x00\x01\x00", "image/x-icon"},
	{"CWS", "application/x-shockwave-flash"},
	{"FWS", "application/x-shockwave-flash"},
	{"wOFF", "application/font-woff"},
	{"0\x82", "application/x-x509-cert"},
}

// markup are what a text may begin with, compared without regard to case.
var markup = []struct{ prefix, mime string }{
	{"<!doctype html", "text/html"},
	{"<html", "text/html"},
	{"<head", "text/html"},
	{"<body", "text/html"},
	{"<script", "text/html"},
	{"<title", "text/html"},
	{"<table", "text/html"},
	{"<svg", "image/svg+xml"},
	{"<?xml", "application/xml"},
}

// sniff guesses the type of a file by its first bytes; "" when they do not say.
func sniff(b []byte) string {
	for _, m := range magics {
		if bytes.HasPrefix(b, []byte(m.prefix)) {
			return m.mime
		}
	}
	text := bytes.TrimLeft(b, " \t\r\n\xef\xbb\xbf")
	for _, m := range markup {
		if len(text) >= len(m.prefix) && bytes.EqualFold(text[:len(m.prefix)], []byte(m.prefix)) {
			return m.mime
		}
	}
	switch {
	case len(b) == 0:
		return ""
	case len(text) > 1 && (text[0] == '{' && bytes.ContainsRune(text, '"') || text[0] == '[' && bytes.ContainsAny(text, `"{]`)):
		return "text/json"
	case isText(b):
		return "text/plain"
	}
	return ""
}

// isText: UTF-8 (its last character may be cut) without control characters.
func isText(b []byte) bool {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			return len(b) < utf8.UTFMax
		}
		if r < 0x20 && r != '\t' && r != '\n' && r != '\r' && r != '\f' && r != 0x1b {
			return false
		}
		b = b[n:]
	}
	return true
}
