package main

import (
	"bytes"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestExampleConfigurationIsTheDefaults(t *testing.T) {
	text, err := os.ReadFile("service/xentaped.yaml")
	require.NoError(t, err)
	got, err := parseConfig(text)
	require.NoError(t, err)
	want := defaults()
	want.Guests, want.Recipients = []string{}, []string{}
	require.Equal(t, want, *got)
}

func TestManualPagesAreOfThisProgram(t *testing.T) {
	for page, write := range map[string]func(io.Writer) error{
		"xentaped.8":      func(w io.Writer) error { return writeManual(w, newRootCommand(&console{})) },
		"xentaped.yaml.5": writeConfigManual,
	} {
		want, err := os.ReadFile("service/" + page)
		require.NoError(t, err)
		var got bytes.Buffer
		require.NoError(t, write(&got))
		require.Equal(t, string(want), got.String(), "go generate ./cmd/xentaped writes it anew")
	}
}
